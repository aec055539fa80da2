import { readFile, rm, writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { digestFolder, digestTree, writeTree } from '../../support/folder-tree.ts'
import { runOk, testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { digestOf, type GetBench, ODD_NAMES, SIZES, TREE } from './bench.ts'
import { fileUrl, globusUrlCopy } from './globus-run.ts'

const GLOBUS_WAYS = {
  'one stream': '',
  '-p 4 -bs 1M -fast': '-p 4 -bs 1048576 -fast',
  '-p 2 -bs 4M': '-p 2 -bs 4194304'
}

/** Files, folders and parts, between a local disk and the server. */
export function testGlobusUrlCopy(bench: GetBench): void {
  for (const [way, options] of Object.entries(GLOBUS_WAYS)) {
    for (const size of SIZES) {
      testWith('globus-url-copy', `${way}: ${size} bytes both ways`, async () => {
        const { server, url, local } = bench()
        const bytes = sampleBytes(size, size)
        await writeFile(local('up'), bytes)

        await globusUrlCopy(options, fileUrl(local('up')), url('/globus'))
        await globusUrlCopy(options, url('/globus'), fileUrl(local('down')))

        expect(await digestOf(server, '/globus')).toBe(sha256(bytes))
        expect(sha256(await readFile(local('down')))).toBe(sha256(bytes))
      })
    }
  }

  testFolders(bench)
  testLists(bench)
  testParts(bench)
}

function testFolders(bench: GetBench): void {
  const ways = ['-r -cd', '-r -cd -fast', '-r -cd -p 2', '-r -cd -cc 3 -p 2 -fast', '-r -cd -pp']
  for (const options of ways) {
    testWith('globus-url-copy', `${options}: a tree of folders both ways`, async () => {
      const { server, url, local } = bench()
      const remote = `/tree${options.replaceAll(' ', '')}`
      await writeTree(local('tree'), TREE)
      await rm(local('tree.copy'), { recursive: true, force: true })

      await globusUrlCopy(options, fileUrl(local('tree/')), url(`${remote}/`))
      await globusUrlCopy(options, url(`${remote}/`), fileUrl(local('tree.copy/')))

      for (const [path, bytes] of Object.entries(TREE)) {
        expect([path, await digestOf(server, `${remote}/${path}`)]).toEqual([path, sha256(bytes)])
      }
      expect(await digestFolder(local('tree.copy'))).toEqual(digestTree(TREE))
    })
  }

  testWith('globus-url-copy', '-fast -r: one data connection for all, both ways', async () => {
    const { url, local } = bench()
    await writeTree(local('fast'), TREE)
    await rm(local('fast.copy'), { recursive: true, force: true })

    const put = await globusUrlCopy('-r -cd -fast', fileUrl(local('fast/')), url('/fast/'))
    const got = await globusUrlCopy('-r -cd -fast', url('/fast/'), fileUrl(local('fast.copy/')))

    expect([put.sent().match(/^PASV$/gm), put.sent().match(/^STOR /gm)?.length]).toEqual([
      ['PASV'],
      5
    ])
    expect([got.sent().match(/^PORT /gm), got.sent().match(/^(?:RETR|MLSD) /gm)?.length]).toEqual([
      ['PORT '],
      8
    ])
    expect(await digestFolder(local('fast.copy'))).toEqual(digestTree(TREE))
  })

  testWith('globus-url-copy', '-r: names of every kind, both ways', async () => {
    const { url, local } = bench()
    await writeTree(local('odd'), ODD_NAMES)
    await rm(local('odd.copy'), { recursive: true, force: true })

    await globusUrlCopy('-r -cd -fast', fileUrl(local('odd/')), url('/odd/'))
    await globusUrlCopy('-r -cd -pp', url('/odd/'), url('/odd too/'))
    await globusUrlCopy('-r -cd', url('/odd too/'), fileUrl(local('odd.copy/')))

    expect(await digestFolder(local('odd.copy'))).toEqual(digestTree(ODD_NAMES))
  })

  testWith('globus-url-copy', 'wildcards and a list of URLs', async () => {
    const { server, url, local } = bench()
    await writeTree(local('some'), {
      'a1.raw': sampleBytes(11, 1),
      'a2.raw': sampleBytes(12, 2),
      'b.raw': sampleBytes(13, 3)
    })
    await globusUrlCopy('-cd', fileUrl(local('some/a*')), url('/some/'))
    await writeFile(
      local('pairs'),
      `# two of them\n${url('/some/a1.raw')} ${url('/some/c1.raw')}\n` +
        `"${fileUrl(local('some/b.raw'))}" ${url('/some/c2.raw')}\n`
    )

    await runOk('globus-url-copy', ['-f', local('pairs')])

    expect(await server.readFile('/some/b.raw')).toBeUndefined()
    expect(await digestOf(server, '/some/a2.raw')).toBe(sha256(sampleBytes(12, 2)))
    expect(await digestOf(server, '/some/c1.raw')).toBe(sha256(sampleBytes(11, 1)))
    expect(await digestOf(server, '/some/c2.raw')).toBe(sha256(sampleBytes(13, 3)))
  })
}

function testLists(bench: GetBench): void {
  for (const options of ['-list', '-fast -list']) {
    testWith('globus-url-copy', `${options}: the names in a folder`, async () => {
      const { url, local } = bench()
      await writeTree(local('list'), { 'a b.raw': sampleBytes(5), 'inner/c.raw': sampleBytes(6) })
      await globusUrlCopy('-r -cd', fileUrl(local('list/')), url('/listed/'))

      const printed = await runOk('globus-url-copy', [...options.split(' '), url('/listed/')])

      expect(printed).toMatch(/^ +a b\.raw *$/m)
      expect(printed).toMatch(/^ +inner\/ *$/m)
    })
  }

  testWith('globus-url-copy', '-do: what would be transferred, without a transfer', async () => {
    const { server, url, local } = bench()
    await writeTree(local('dump'), TREE)
    await globusUrlCopy('-r -cd', fileUrl(local('dump/')), url('/dump/'))

    await globusUrlCopy(`-r -do ${local('dumped')}`, url('/dump/'), url('/other-place/'))

    const dumped = await readFile(local('dumped'), 'utf8')
    expect(dumped.match(/\/dump\/\S+\.(?:bin|txt)/g)).toHaveLength(5)
    expect(await server.readFile('/other-place/one.bin')).toBeUndefined()
  })
}

function testParts(bench: GetBench): void {
  testWith('globus-url-copy', '-off -len: a part of a file both ways', async () => {
    const { server, url, local } = bench()
    const bytes = sampleBytes(1_000_000)
    await writeFile(local('whole'), bytes)
    await globusUrlCopy('', fileUrl(local('whole')), url('/partial'))
    const expected = Buffer.from(bytes)
    expected.fill(7, 300_000)
    await writeFile(local('patch'), expected)

    for (const [index, options] of ['', '-p 3 -fast '].entries()) {
      const part = local(`part${index}`)
      await globusUrlCopy(`${options}-off 1000 -len 600000`, url('/partial'), fileUrl(part))
      expect(sha256((await readFile(part)).subarray(-600_000))).toBe(
        sha256(bytes.subarray(1000, 601_000))
      )
    }
    await globusUrlCopy('-off 300000', fileUrl(local('patch')), url('/partial'))

    expect(await digestOf(server, '/partial')).toBe(sha256(expected))
  })

  testWith('globus-url-copy', '-off -p: a patch in extended blocks', async () => {
    const { server, url, local } = bench()
    const bytes = sampleBytes(2_000_000, 8)
    await writeFile(local('before'), bytes)
    await globusUrlCopy('-p 2', fileUrl(local('before')), url('/patched'))
    const expected = Buffer.from(bytes)
    expected.fill(9, 1_234_567)
    await writeFile(local('after'), expected)

    const { sent } = await globusUrlCopy(
      '-off 1234567 -p 3 -bs 100000',
      fileUrl(local('after')),
      url('/patched')
    )

    expect(sent()).toMatch(/^ESTO A 1234567 /m)
    expect(await digestOf(server, '/patched')).toBe(sha256(expected))
  })
}
