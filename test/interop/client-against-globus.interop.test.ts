import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import { GridFtpClient } from '../../src/gridftp/client.ts'
import { FtpReplyError } from '../../src/gridftp/client-errors.ts'
import type { TransferOptions } from '../../src/gridftp/client-types.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { type GlobusServer, startGlobusServer } from '../support/globus-server.ts'
import { findProgram, testWith } from '../support/programs.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

const SERVER = 'globus-gridftp-server'
const SIZES = [0, 1, 65_535, 3_000_000, 20 * 1024 * 1024]
const WAYS: Record<string, TransferOptions> = {
  'stream mode': { mode: 'S' },
  'extended block mode, 1 stream': { mode: 'E', streams: 1 },
  'extended block mode, 4 streams': { mode: 'E', streams: 4, blockBytes: 100_000 }
}

describe('our client against globus-gridftp-server', () => {
  let server: GlobusServer
  let client: GridFtpClient | undefined

  beforeAll(async () => {
    if (findProgram(SERVER) !== undefined) server = await startGlobusServer()
  })

  afterEach(() => client?.close())

  afterAll(async () => server?.stop())

  const loggedIn = async (): Promise<GridFtpClient> => {
    client = new GridFtpClient({ clock: systemClock })
    await client.connect({ host: '127.0.0.1', port: server.port })
    await client.login()
    return client
  }

  for (const [way, options] of Object.entries(WAYS)) {
    for (const size of SIZES) {
      testWith(SERVER, `${way}: carries ${size} bytes both ways`, async () => {
        const bytes = sampleBytes(size)
        const path = join(server.folder, 'image')
        const local = join(server.folder, 'local')
        await writeFile(local, bytes)
        const ftp = await loggedIn()

        const sent = await ftp.put(local, path, options)
        const got = await ftp.get(path, `${local}.copy`, options)

        expect([sent.bytes, got.bytes, await ftp.size(path)]).toEqual([size, size, size])
        expect(sha256(await readFile(path))).toBe(sha256(bytes))
        expect(sha256(await readFile(`${local}.copy`))).toBe(sha256(bytes))
      })
    }
  }

  testWith(SERVER, 'changes between the modes in one session', async () => {
    const bytes = sampleBytes(300_000)
    const path = join(server.folder, 'modes')
    const parts = Buffer.alloc(bytes.byteLength)
    const ftp = await loggedIn()

    for (const mode of ['E', 'S', 'E', 'E', 'S'] as const) {
      const source = {
        bytes: bytes.byteLength,
        read: async (offset: number, length: number) => bytes.subarray(offset, offset + length)
      }
      await ftp.put(source, path, { mode })
      await ftp.get(path, (offset, part) => parts.set(part, offset), { mode })

      expect(sha256(parts)).toBe(sha256(bytes))
      parts.fill(0)
    }
  })

  testWith(SERVER, 'hears markers and progress', async () => {
    const preliminary: number[] = []
    const progress: number[] = []
    const ftp = await loggedIn()
    const source = {
      bytes: 3_000_000,
      read: async (_: number, length: number) => Buffer.alloc(length)
    }

    await ftp.put(source, join(server.folder, 'zeros'), {
      onPreliminary: ({ code }) => preliminary.push(code),
      onProgress: ({ bytes }) => progress.push(bytes)
    })

    expect(preliminary).toEqual([150, 112, 112, 111])
    expect(progress.at(-1)).toBe(3_000_000)
  })

  testWith(SERVER, 'lists a folder', async () => {
    const ftp = await loggedIn()
    await ftp.command(`MKD ${server.folder}/listed`)
    await ftp.command(`MKD ${server.folder}/listed/inner`)
    await writeFile(join(server.folder, 'listed', 'a b'), 'seven b')

    const entries = await ftp.list(`${server.folder}/listed`)

    const found = entries.map(({ name, type, bytes }) => `${type} ${name} ${bytes}`).toSorted()
    expect(found[1]).toBe('file a b 7')
    expect(found[0]).toMatch(/^directory inner /)
    expect(entries.every(({ modifiedMs = 0 }) => modifiedMs > 1.7e12)).toBe(true)
  })

  testWith(SERVER, 'goes on after a refusal', async () => {
    const ftp = await loggedIn()
    const path = join(server.folder, 'after')
    const source = { bytes: 5, read: async () => Buffer.from('hello') }

    await expect(ftp.put(source, '/nonexistent/x')).rejects.toBeInstanceOf(FtpReplyError)
    await expect(ftp.get('/nonexistent/x', () => undefined)).rejects.toMatchObject({
      command: 'RETR /nonexistent/x',
      replyCode: 500
    })
    await ftp.put(source, path)

    expect(await readFile(path, 'utf8')).toBe('hello')
  })
})
