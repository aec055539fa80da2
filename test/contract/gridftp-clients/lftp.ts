import { readFile, rm, writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { digestFolder, digestTree, writeTree } from '../../support/folder-tree.ts'
import { runOk, testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { type Bench, digestOf, type GetBench, SIZES, TREE } from './bench.ts'

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
}

async function lftp({ server, local }: Bench, commands: string): Promise<string> {
  const settings = 'set net:max-retries 1; set net:timeout 10; set cmd:fail-exit yes; '
  const open = `open -u anonymous,blobswarm@ -p ${server.port} 127.0.0.1; `
  return runOk('lftp', ['--norc', '-c', `${settings}${open}${commands}`], {
    env: { HOME: local('.') }
  })
}
