import { mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { digestFolder, digestTree, writeTree } from '../../support/folder-tree.ts'
import { runOk, testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { type Bench, digestOf, type GetBench, ODD_NAMES, SIZES, TREE } from './bench.ts'

/** Files, trees, and the session commands around them. */
export function testLftp(bench: GetBench): void {
  for (const size of SIZES) {
    testWith('lftp', `put and get: ${size} bytes`, async () => {
      const { server, local } = bench()
      const bytes = sampleBytes(size, size + 2)
      await writeFile(local('lftp'), bytes)
      await rm(local('lftp.copy'), { force: true })

      await lftp(bench(), `put ${local('lftp')} -o /lftp.raw`)
      await lftp(bench(), `get /lftp.raw -o ${local('lftp.copy')}`)

      expect(await digestOf(server, '/lftp.raw')).toBe(sha256(bytes))
      expect(sha256(await readFile(local('lftp.copy')))).toBe(sha256(bytes))
    })
  }

  testWith('lftp', 'mirror -R and mirror: a tree of folders', async () => {
    const { server, local } = bench()
    await writeTree(local('mirror'), TREE)
    await rm(local('mirror.copy'), { recursive: true, force: true })

    await lftp(bench(), `mirror -R ${local('mirror')} /mirror`)
    await lftp(bench(), `mirror /mirror ${local('mirror.copy')}`)

    for (const [path, bytes] of Object.entries(TREE)) {
      expect([path, await digestOf(server, `/mirror/${path}`)]).toEqual([path, sha256(bytes)])
    }
    expect(await digestFolder(local('mirror.copy'))).toEqual(digestTree(TREE))
  })

  testWith('lftp', 'mirror -R and mirror: names of every kind', async () => {
    const { local } = bench()
    const tree = { ...ODD_NAMES, 'd"ouble': sampleBytes(7) }
    await writeTree(local('odd-names'), tree)
    await rm(local('odd-names.copy'), { recursive: true, force: true })

    await lftp(bench(), `mirror -R ${local('odd-names')} "/odd names"`)
    await lftp(bench(), `mirror "/odd names" ${local('odd-names.copy')}`)

    expect(await digestFolder(local('odd-names.copy'))).toEqual(digestTree(tree))
  })

  testWith('lftp', 'pget, ls, mv and rm', async () => {
    const { server, local } = bench()
    const bytes = sampleBytes(3_000_000)
    await writeFile(local('many'), bytes)
    await rm(local('many.copy'), { force: true })
    await lftp(bench(), `mkdir -p /many/in; put ${local('many')} -o /many/in/a.raw`)

    await lftp(bench(), `pget -n 3 /many/in/a.raw -o ${local('many.copy')}`)
    const listed = await lftp(bench(), 'ls /many/in')
    await lftp(bench(), 'mv /many/in/a.raw /many/b.raw; rmdir /many/in; cls -1 /many')

    expect(sha256(await readFile(local('many.copy')))).toBe(sha256(bytes))
    expect(listed).toMatch(/3000000 .* a\.raw/)
    expect(await server.readFile('/many/in/a.raw')).toBeUndefined()
    expect(await digestOf(server, '/many/b.raw')).toBe(sha256(bytes))
    await lftp(bench(), 'rm /many/b.raw')
    expect(await server.readFile('/many/b.raw')).toBeUndefined()
  })

  testWith('lftp', 'put -c and get -c: go on with a broken upload and download', async () => {
    const { server, local } = bench()
    const bytes = sampleBytes(800_000, 5)
    await writeFile(local('on'), bytes)
    await writeFile(local('on.copy'), bytes.subarray(0, 300_000))
    await lftp(bench(), `put ${local('on.copy')} -o /on.raw`)

    await lftp(bench(), `put -c ${local('on')} -o /on.raw`)
    await lftp(bench(), `get -c /on.raw -o ${local('on.copy')}`)

    expect(await digestOf(server, '/on.raw')).toBe(sha256(bytes))
    expect(sha256(await readFile(local('on.copy')))).toBe(sha256(bytes))
  })

  testWith('lftp', 'mput, mget, cat, find, du, mrm and rm -r', async () => {
    const { server, local } = bench()
    await writeTree(local('group'), TREE)
    await rm(local('group.copy'), { recursive: true, force: true })
    await mkdir(local('group.copy'))

    await lftp(bench(), `mkdir -p /group; lcd ${local('group')}; mput -O /group *.bin *.txt`)
    await lftp(bench(), `mput -d -O /group ${local('group')}/inner/*.bin`)
    await lftp(bench(), `lcd ${local('group.copy')}; cd /group; mget *.bin`)
    const shown = await lftp(bench(), 'cat /group/one.bin; find /group; du -a /group')
    await lftp(bench(), 'mrm /group/*.bin; mv /group/empty.txt /group/e.txt; rm -r /group')

    const { 'one.bin': one, 'with space.bin': spaced } = TREE
    expect(sha256(await readFile(local('group.copy/one.bin')))).toBe(sha256(one))
    expect(sha256(await readFile(local('group.copy/with space.bin')))).toBe(sha256(spaced))
    expect(shown).toMatch(/^\/group\/with space\.bin$/m)
    expect(await server.readFile('/group/e.txt')).toBeUndefined()
  })

  testWith('lftp', 'mirror again: nothing is transferred, times and modes were kept', async () => {
    const { local } = bench()
    await writeTree(local('same'), TREE)
    await rm(local('same.copy'), { recursive: true, force: true })
    await utimes(local('same/one.bin'), 1_600_000_000, 1_600_000_000)
    await lftp(bench(), `mirror -R ${local('same')} /same`)

    const up = await lftp(bench(), `mirror -R --verbose=3 ${local('same')} /same`)
    await lftp(bench(), `mirror --parallel=3 --use-pget-n=2 /same ${local('same.copy')}`)
    const down = await lftp(bench(), `mirror --verbose=3 /same ${local('same.copy')}`)

    expect([up, down]).toEqual([
      expect.not.stringMatching(/Transferring file/),
      expect.not.stringMatching(/Transferring file/)
    ])
    expect((await stat(local('same.copy/one.bin'))).mtimeMs).toBe(1.6e12)
    expect(await digestFolder(local('same.copy'))).toEqual(digestTree(TREE))
  })

  testWith('lftp', 'mirror -R --delete --parallel: what is gone goes there too', async () => {
    const { server, local } = bench()
    await writeTree(local('gone'), TREE)
    await lftp(bench(), `mirror -R --parallel=4 ${local('gone')} /gone`)
    await rm(local('gone/one.bin'))
    await rm(local('gone/inner'), { recursive: true })

    await lftp(bench(), `mirror -R --delete ${local('gone')} /gone`)

    expect(await server.readFile('/gone/one.bin')).toBeUndefined()
    expect(await server.readFile('/gone/inner/deeper/last.bin')).toBeUndefined()
    expect(await digestOf(server, '/gone/empty.txt')).toBe(sha256(TREE['empty.txt']))
  })

  testWith('lftp', 'active mode, and a folder listed by LIST alone', async () => {
    const { local } = bench()
    const bytes = sampleBytes(200_000, 8)
    await writeFile(local('port'), bytes)
    await rm(local('port.copy'), { recursive: true, force: true })
    const plain = 'set ftp:passive-mode off; set ftp:use-mlsd off; set ftp:use-feat off; '

    await lftp(bench(), `${plain}mkdir -p /port; put ${local('port')} -o /port/a.raw`)
    await lftp(bench(), `${plain}mirror /port ${local('port.copy')}`)

    expect(sha256(await readFile(local('port.copy/a.raw')))).toBe(sha256(bytes))
  })
}

async function lftp({ server, local }: Bench, commands: string): Promise<string> {
  const settings = 'set net:max-retries 1; set net:timeout 10; set cmd:fail-exit yes; '
  const open = `open -u anonymous,blobswarm@ -p ${server.port} 127.0.0.1; `
  return runOk('lftp', ['--norc', '-c', `${settings}${open}${commands}`], {
    env: { HOME: local('.') }
  })
}
