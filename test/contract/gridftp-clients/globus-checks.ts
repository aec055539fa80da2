import { readFile, utimes, writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { writeTree } from '../../support/folder-tree.ts'
import { testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { digestOf, type GetBench } from './bench.ts'
import { fileUrl, globusUrlCopy } from './globus-run.ts'

/** Copying only what changed, and comparing afterwards. */
export function testGlobusChecks(bench: GetBench): void {
  testWith('globus-url-copy', '-sync: only what changed is copied', async () => {
    const { server, url, local } = bench()
    await writeTree(local('sync'), { 'a.raw': sampleBytes(10, 1), 'b.raw': sampleBytes(10, 2) })
    await globusUrlCopy('-r -cd', fileUrl(local('sync/')), url('/sync/'))
    await writeTree(local('sync'), { 'b.raw': sampleBytes(20, 3) })

    const run = await globusUrlCopy('-r -cd -sync', fileUrl(local('sync/')), url('/sync/'))

    expect(run.sent().match(/^STOR .*/gm)).toEqual(['STOR /sync/b.raw'])
    expect(await digestOf(server, '/sync/a.raw')).toBe(sha256(sampleBytes(10, 1)))
    expect(await digestOf(server, '/sync/b.raw')).toBe(sha256(sampleBytes(20, 3)))
  })

  // The file that changed has the size that it had and an older time, so only level 3 sees it.
  const seen = { 0: null, 1: null, 2: null, 3: ['STOR /level/b.raw'] }
  for (const [level, stored] of Object.entries(seen)) {
    testWith('globus-url-copy', `-sync-level ${level}: what it looks at`, async () => {
      const { url, local } = bench()
      await writeTree(local('level'), { 'a.raw': sampleBytes(10, 1), 'b.raw': sampleBytes(10, 2) })
      await globusUrlCopy('-r -cd', fileUrl(local('level/')), url('/level/'))
      await writeFile(local('level/b.raw'), sampleBytes(10, 3))
      await utimes(local('level/a.raw'), 1000, 1000)
      await utimes(local('level/b.raw'), 1000, 1000)

      const run = await globusUrlCopy(
        `-r -cd -sync -sync-level ${level}`,
        fileUrl(local('level/')),
        url('/level/')
      )

      expect(run.sent().match(/^STOR .*/gm)).toEqual(stored)
    })
  }

  for (const options of ['', '-p 2', '-r -cd']) {
    testWith('globus-url-copy', `-verify-checksum ${options}: both ways`, async () => {
      const { url, local } = bench()
      const isFolder = options.includes('-r')
      const end = isFolder ? '/' : '/a.raw'
      await writeTree(local('sums'), { 'a.raw': sampleBytes(1_000_000, 9) })
      await globusUrlCopy('-r -cd', fileUrl(local('sums/')), url('/sums/'))

      const all = `-verify-checksum ${options}`
      const up = await globusUrlCopy(all, fileUrl(local(`sums${end}`)), url(`/sums${end}`))
      const down = await globusUrlCopy(
        all,
        url(`/sums${end}`),
        fileUrl(local(isFolder ? 'sums.copy/' : 'sums.a'))
      )

      expect([up.sent(), down.sent()]).toEqual([
        expect.stringMatching(/^CKSM MD5 0 -1 \/sums\/a\.raw$/m),
        expect.stringMatching(/^CKSM MD5 0 -1 \/sums\/a\.raw$/m)
      ])
      const copy = await readFile(local(isFolder ? 'sums.copy/a.raw' : 'sums.a'))
      expect(sha256(copy)).toBe(sha256(sampleBytes(1_000_000, 9)))
    })
  }
}
