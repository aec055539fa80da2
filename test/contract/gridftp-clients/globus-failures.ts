import { writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { MIB } from '../../../src/lib/bytes.ts'
import { RunningProgram, testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { digestOf, type GetBench } from './bench.ts'
import { fileUrl, globusUrlCopy, runGlobus } from './globus-run.ts'

/** What is refused, and says so; and what the client does then. */
export function testGlobusFailures(bench: GetBench): void {
  testWith('globus-url-copy', 'a missing file is refused with its name', async () => {
    const { url, local } = bench()

    const plain = await runGlobus('', [url('/nowhere.raw'), fileUrl(local('none'))])
    const relative = await runGlobus('-rp -p 2', [url('/nowhere.raw'), fileUrl(local('none'))])

    expect([plain.exitCode, relative.exitCode]).toEqual([1, 1])
    expect(plain.stderr).toMatch(/550.*nowhere\.raw/)
    expect(relative.stderr).toMatch(/550.*nowhere\.raw/)
  })

  testWith('globus-url-copy', '-c: goes on after a file that is missing', async () => {
    const { server, url, local } = bench()
    await writeFile(local('there'), 'there')
    await globusUrlCopy('', fileUrl(local('there')), url('/there'))
    await writeFile(
      local('list-of-urls'),
      `${url('/not-there')} ${url('/copy-of-nothing')}\n${url('/there')} ${url('/copy')}\n`
    )

    const run = await runGlobus(`-c -f ${local('list-of-urls')}`, [])

    expect(run.exitCode).toBe(1)
    expect(await digestOf(server, '/copy')).toBe(sha256(Buffer.from('there')))
    expect(await server.readFile('/copy-of-nothing')).toBeUndefined()
  })

  testWith('globus-url-copy', '-rst: tries again until the file is there', async () => {
    const { server, url, local } = bench()
    const flags = '-dbg -rst -rst-interval 1 -rst-retries 20'.split(' ')
    const urls = [url('/late.raw'), url('/late-copy.raw')]
    const late = new RunningProgram('globus-url-copy', [...flags, ...urls])
    await late.printed(/550 .*late\.raw/)
    await writeFile(local('late'), sampleBytes(100_000))

    await globusUrlCopy('', fileUrl(local('late')), url('/late.raw'))

    expect((await late.ended()).exitCode).toBe(0)
    expect(await digestOf(server, '/late-copy.raw')).toBe(sha256(sampleBytes(100_000)))
  })

  const refused = {
    '-dmn file -dmp a=b': /^501 .*ESTO/m,
    '-dst-fsstack file': /^50\d /m,
    '-data-cred auto': /^50\d /m
  }
  for (const [options, answer] of Object.entries(refused)) {
    testWith('globus-url-copy', `${options}: is refused, and nothing is stored`, async () => {
      const { server, url, local } = bench()
      await writeFile(local('refused'), 'refused')

      const run = await runGlobus(options, [fileUrl(local('refused')), url('/refused.raw')])

      expect(run.exitCode).toBe(1)
      expect(run.replies).toMatch(answer)
      expect(await server.readFile('/refused.raw')).toBeUndefined()
    })
  }
}

/** What is left of an upload in extended block mode whose client was killed. */
export function testKilledGlobusUrlCopy(bench: GetBench): void {
  testWith('globus-url-copy', 'kill -9 in the middle of an upload publishes nothing', async () => {
    const { server, url } = bench()
    const failed = server.uploadFailed('/killed.raw')
    const upload = new RunningProgram(
      'globus-url-copy',
      ['-p', '2', '-bs', '65536', '-', url('/killed.raw')],
      { keepsInputOpen: true }
    )

    // More than sockets and the server's queue can hold: some of it is in the storage by then.
    for (let index = 0; index < 48; index += 1) await upload.feed(sampleBytes(MIB, index))
    upload.kill()
    await upload.ended()
    await failed

    expect(await server.readFile('/killed.raw')).toBeUndefined()
    expect(await server.leftovers()).toEqual([])
  })
}
