import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect } from '@jest/globals'
import { runOk, testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { type Bench, digestOf, type GetBench, type OwnServer } from './bench.ts'

const SCRIPT = fileURLToPath(new URL('../../fixtures/ftplib-session.py', import.meta.url))

/** Python's own FTP client. */
export function testFtplib(bench: GetBench): void {
  testWith('python3', 'storbinary and retrbinary: whole, from an offset, at the end', async () => {
    const { server, local } = bench()
    const bytes = sampleBytes(3_000_000, 31)
    await writeFile(local('python.raw'), bytes)

    const found = await session(bench(), 'files')

    const expected = Buffer.concat([bytes, Buffer.from('end')])
    expected.set(Buffer.from('patch'), 10)
    expect(found).toEqual({ size: 3_000_003, rest: 2_999_000, quit: '221' })
    expect(sha256(await readFile(local('python.copy')))).toBe(sha256(bytes))
    expect(await digestOf(server, '/python.raw')).toBe(sha256(expected))
  })

  testWith('python3', 'nlst, retrlines and mlsd: lines end with CR LF once', async () => {
    const found = await session(bench(), 'lists')

    expect(found).toEqual({
      pwd: '/py lists',
      names: ['größe.txt', 'inner', 'lines.txt'],
      lines: ['größe.txt', 'inner'],
      facts: {
        '.': { type: 'cdir', size: '0' },
        '..': { type: 'pdir', size: '0' },
        inner: { type: 'dir', size: '0' },
        'größe.txt': { type: 'file', size: '7' }
      },
      text: ['one', 'two'],
      quit: '221'
    })
  })

  testWith('python3', 'mkd, rename, delete and rmd', async () => {
    const found = await session(bench(), 'names')

    const refused = { full: '550', missing: '550', gone: '550' }
    expect(found).toEqual({ made: '/py names', renamed: '250', ...refused, quit: '221' })
  })

  testWith('python3', 'abort: ends a download and not the session', async () => {
    const found = await session(bench(), 'abort')

    expect(found).toEqual({ aborted: '426', second: '226', size: 20_000_000, quit: '221' })
  })

  for (const host of ['127.0.0.1', '::1']) {
    testWith('python3', `active mode, ${host}`, async () => {
      const { local, another } = bench()
      const bytes = sampleBytes(300_000, 32)
      await writeFile(local('python.raw'), bytes)
      const server = await another({ host })

      const found = await session(bench(), 'active', server)

      expect(found).toEqual({ size: 300_000, quit: '221' })
      expect(sha256(await readFile(local('python.copy')))).toBe(sha256(bytes))
    })
  }
}

/** Runs one case of the script. @returns what it found out. */
async function session(
  { server, local }: Bench,
  name: string,
  { host = '127.0.0.1', port }: OwnServer = server
): Promise<unknown> {
  const printed = await runOk('python3', [SCRIPT, host, String(port), name, local('.')])
  return JSON.parse(printed)
}
