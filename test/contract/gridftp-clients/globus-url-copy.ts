import { readFile, rm, writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { MIB } from '../../../src/lib/bytes.ts'
import { digestFolder, digestTree, writeTree } from '../../support/folder-tree.ts'
import { RunningProgram, run, runOk, testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { digestOf, type GetBench, SIZES, TREE, urlOf } from './bench.ts'

const GLOBUS_WAYS = {
  'one stream': '',
  '-p 4 -bs 1M -fast': '-p 4 -bs 1048576 -fast',
  '-p 2 -bs 4M': '-p 2 -bs 4194304'
}

/**
 * Options that change what goes over the control connection. Without -sbs: globus-url-copy 10.12 then
 * leaves the end of an upload out (the Globus server stores 1,100,000 of 1,500,000 bytes and says 226).
 */
const OTHER_OPTIONS = [
  '-stripe',
  '-stripe -p 3',
  '-tcp-bs 262144 -p 2',
  '-ipv6',
  '-ipv6 -p 2',
  '-vb -p 2',
  '-rst -p 2',
  '-bs 1000 -p 8'
]

/** Between a local disk and the server. */
export function testGlobusUrlCopy(bench: GetBench): void {
  for (const [way, options] of Object.entries(GLOBUS_WAYS)) {
    for (const size of SIZES) {
      testWith('globus-url-copy', `${way}: ${size} bytes both ways`, async () => {
        const { server, url, local } = bench()
        const bytes = sampleBytes(size, size)
        await writeFile(local('up'), bytes)

        await globusUrlCopy(options, `file://${local('up')}`, url('/globus'))
        await globusUrlCopy(options, url('/globus'), `file://${local('down')}`)

        expect(await digestOf(server, '/globus')).toBe(sha256(bytes))
        expect(sha256(await readFile(local('down')))).toBe(sha256(bytes))
      })
    }
  }

  for (const options of OTHER_OPTIONS) {
    testWith('globus-url-copy', `${options}: both ways`, async () => {
      const { server, url, local } = bench()
      const bytes = sampleBytes(1_500_000, 3)
      await writeFile(local('other'), bytes)

      await globusUrlCopy(options, `file://${local('other')}`, url('/other'))
      await globusUrlCopy(options, url('/other'), `file://${local('other.copy')}`)

      expect(await digestOf(server, '/other')).toBe(sha256(bytes))
      expect(sha256(await readFile(local('other.copy')))).toBe(sha256(bytes))
    })
  }

  for (const options of ['-r -cd', '-r -cd -fast', '-r -cd -p 2', '-r -cd -cc 3 -p 2 -fast']) {
    testWith('globus-url-copy', `${options}: a tree of folders both ways`, async () => {
      const { server, url, local } = bench()
      const remote = `/tree${options.replaceAll(' ', '')}`
      await writeTree(local('tree'), TREE)
      await rm(local('tree.copy'), { recursive: true, force: true })

      await globusUrlCopy(options, `file://${local('tree')}/`, url(`${remote}/`))
      await globusUrlCopy(options, url(`${remote}/`), `file://${local('tree.copy')}/`)

      for (const [path, bytes] of Object.entries(TREE)) {
        expect([path, await digestOf(server, `${remote}/${path}`)]).toEqual([path, sha256(bytes)])
      }
      expect(await digestFolder(local('tree.copy'))).toEqual(digestTree(TREE))
    })
  }

  for (const options of ['-list', '-fast -list']) {
    testWith('globus-url-copy', `${options}: the names in a folder`, async () => {
      const { url, local } = bench()
      await writeTree(local('list'), { 'a b.raw': sampleBytes(5), 'inner/c.raw': sampleBytes(6) })
      await globusUrlCopy('-r -cd', `file://${local('list')}/`, url('/listed/'))

      const printed = await runOk('globus-url-copy', [...options.split(' '), url('/listed/')])

      expect(printed).toMatch(/^ +a b\.raw *$/m)
      expect(printed).toMatch(/^ +inner\/ *$/m)
    })
  }

  testWith('globus-url-copy', '-off -len: a part of a file both ways', async () => {
    const { server, url, local } = bench()
    const bytes = sampleBytes(1_000_000)
    await writeFile(local('whole'), bytes)
    await globusUrlCopy('', `file://${local('whole')}`, url('/partial'))
    const expected = Buffer.from(bytes)
    expected.fill(7, 300_000)
    await writeFile(local('patch'), expected)

    for (const [index, options] of ['', '-p 3 -fast '].entries()) {
      const part = local(`part${index}`)
      await globusUrlCopy(`${options}-off 1000 -len 600000`, url('/partial'), `file://${part}`)
      expect(sha256((await readFile(part)).subarray(-600_000))).toBe(
        sha256(bytes.subarray(1000, 601_000))
      )
    }
    await globusUrlCopy('-off 300000', `file://${local('patch')}`, url('/partial'))

    expect(await digestOf(server, '/partial')).toBe(sha256(expected))
  })

  testWith('globus-url-copy', '-stripe -sbs: a download in blocks of that size', async () => {
    const { url, local } = bench()
    const bytes = sampleBytes(1_500_000, 5)
    await writeFile(local('striped'), bytes)
    await globusUrlCopy('', `file://${local('striped')}`, url('/striped'))

    const options = '-stripe -p 3 -sbs 100000'
    await globusUrlCopy(options, url('/striped'), `file://${local('striped.copy')}`)

    expect(sha256(await readFile(local('striped.copy')))).toBe(sha256(bytes))
  })

  testWith('globus-url-copy', '-sync: only what changed is copied', async () => {
    const { server, url, local } = bench()
    await writeTree(local('sync'), { 'a.raw': sampleBytes(10, 1), 'b.raw': sampleBytes(10, 2) })
    await globusUrlCopy('-r -cd', `file://${local('sync')}/`, url('/sync/'))
    await writeTree(local('sync'), { 'b.raw': sampleBytes(20, 3) })

    await globusUrlCopy('-r -cd -sync', `file://${local('sync')}/`, url('/sync/'))

    expect(await digestOf(server, '/sync/a.raw')).toBe(sha256(sampleBytes(10, 1)))
    expect(await digestOf(server, '/sync/b.raw')).toBe(sha256(sampleBytes(20, 3)))
  })

  testWith('globus-url-copy', 'refuses a missing file with its name', async () => {
    const { url, local } = bench()

    const result = await run('globus-url-copy', [url('/nowhere.raw'), `file://${local('none')}`])

    expect(result.exitCode).toBe(1)
    expect(result.stderr).toMatch(/550.*nowhere\.raw/)
  })
}

/** Between two servers; the bytes do not pass through the client. */
export function testThirdParty(bench: GetBench): void {
  for (const options of ['', '-p 4', '-p 4 -fast', '-pp -r', '-pp -r -p 2 -fast']) {
    testWith('globus-url-copy', `third party ${options || 'stream'}`, async () => {
      const { server, url, local, another } = bench()
      const target = await another()
      await writeTree(local('third'), TREE)
      await globusUrlCopy('-r -cd', `file://${local('third')}/`, url('/third/'))

      if (options.includes('-r')) {
        await globusUrlCopy(`-cd ${options}`, url('/third/'), urlOf(target, '/third/'))
      } else {
        for (const path of Object.keys(TREE)) {
          await globusUrlCopy(
            `-cd ${options}`,
            url(`/third/${path}`),
            urlOf(target, `/third/${path}`)
          )
        }
      }

      for (const path of Object.keys(TREE)) {
        const copied = await digestOf(target, `/third/${path}`)
        expect([path, copied]).toEqual([path, await digestOf(server, `/third/${path}`)])
      }
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

async function globusUrlCopy(options: string, from: string, to: string): Promise<void> {
  const flags = options.split(' ').filter((flag) => flag !== '')
  await runOk('globus-url-copy', [...flags, from, to])
}
