import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { GridFtpClient } from '../../src/gridftp/client.ts'
import { FtpReplyError } from '../../src/gridftp/client-errors.ts'
import type { TransferOptions } from '../../src/gridftp/client-types.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { sourceOf } from '../support/client-stage.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

/** A server on this machine with anonymous login. */
export interface ServerForClient {
  /** @default '127.0.0.1' */
  readonly host?: string
  readonly port: number
  /** Folder on the server in which the tests may write. */
  readonly root: string
  readonly stop: () => Promise<void>
}

/** Declares a test: `test` itself, or one that may be skipped. */
export type DeclareTest = (name: string, body: () => Promise<void>) => void

/** Sizes of the files that are carried; more than a socket holds only where time allows. */
const SIZES = [0, 1, 65_535, 3_000_000]
const WAYS: Record<string, TransferOptions> = {
  'stream mode': { mode: 'S' },
  'extended block mode, 1 stream': { mode: 'E', streams: 1 },
  'extended block mode, 4 streams': { mode: 'E', streams: 4, blockBytes: 100_000 }
}

/** What GridFtpClient must be able to do with any server. */
export function testOwnClient(
  declare: DeclareTest,
  startServer: () => Promise<ServerForClient | undefined>,
  moreSizes: readonly number[] = []
): void {
  let server: ServerForClient | undefined
  let client: GridFtpClient | undefined
  let folder = ''

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'blobswarm-own-client-'))
    server = await startServer()
  })

  afterEach(() => client?.close())

  afterAll(async () => {
    await server?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const remote = (name: string): string => `${server?.root}/${name}`
  const loggedIn = async (): Promise<GridFtpClient> => {
    client = new GridFtpClient({ clock: systemClock })
    await client.connect({ host: server?.host ?? '127.0.0.1', port: server?.port ?? 0 })
    await client.login()
    return client
  }

  for (const [way, options] of Object.entries(WAYS)) {
    for (const size of [...SIZES, ...moreSizes]) {
      declare(`${way}: carries ${size} bytes both ways`, async () => {
        const bytes = sampleBytes(size)
        const up = join(folder, 'up')
        const down = join(folder, 'down')
        await writeFile(up, bytes)
        const ftp = await loggedIn()

        const sent = await ftp.put(up, remote('image'), options)
        const got = await ftp.get(remote('image'), down, options)

        expect([sent.bytes, got.bytes, await ftp.size(remote('image'))]).toEqual([size, size, size])
        expect(sha256(await readFile(down))).toBe(sha256(bytes))
      })
    }
  }

  declare('changes between the modes in one session', async () => {
    const bytes = sampleBytes(300_000)
    const taken = Buffer.alloc(bytes.byteLength)
    const ftp = await loggedIn()

    for (const mode of ['E', 'S', 'E', 'E', 'S'] as const) {
      await ftp.put(sourceOf(bytes), remote('modes'), { mode })
      await ftp.get(remote('modes'), (offset, part) => taken.set(part, offset), { mode })

      expect(sha256(taken)).toBe(sha256(bytes))
      taken.fill(0)
    }
  })

  declare('hears markers and progress', async () => {
    const preliminary: number[] = []
    const progress: number[] = []
    const ftp = await loggedIn()

    await ftp.put(sourceOf(Buffer.alloc(3_000_000)), remote('zeros'), {
      onPreliminary: ({ code }) => preliminary.push(code),
      onProgress: ({ bytes }) => progress.push(bytes)
    })

    expect(preliminary.slice(0, 3)).toEqual([150, 112, 112])
    expect(progress.at(-1)).toBe(3_000_000)
  })

  declare('lists a folder', async () => {
    const ftp = await loggedIn()
    await ftp.command(`MKD ${remote('listed')}`)
    await ftp.command(`MKD ${remote('listed/inner')}`)
    await ftp.put(sourceOf(sampleBytes(7)), remote('listed/a b'))

    const entries = await ftp.list(remote('listed'))

    const found = entries.map(({ name, type, bytes }) => `${type} ${name} ${bytes}`).toSorted()
    expect(found).toEqual([expect.stringMatching(/^directory inner /), 'file a b 7'])
    expect(entries.every(({ modifiedMs = 0 }) => modifiedMs > 1.7e12)).toBe(true)
  })

  declare('goes on after a refusal', async () => {
    const bytes = sampleBytes(5)
    const ftp = await loggedIn()
    await ftp.command(`MKD ${remote('taken')}`)

    await expect(ftp.get(remote('nowhere'), () => undefined)).rejects.toBeInstanceOf(FtpReplyError)
    await expect(ftp.put(sourceOf(bytes), remote('taken'))).rejects.toBeInstanceOf(FtpReplyError)
    await ftp.put(sourceOf(bytes), remote('after'))

    expect(await ftp.size(remote('after'))).toBe(5)
  })

  declare('goes on after its source or its sink failed', async () => {
    const bytes = sampleBytes(3_000_000)
    const ftp = await loggedIn()
    const source = {
      bytes: bytes.byteLength,
      read: async (offset: number, length: number) => {
        if (offset >= MIB) throw new Error('bad sector')
        return bytes.subarray(offset, offset + length)
      }
    }
    await ftp.put(sourceOf(bytes), remote('whole'))

    for (const mode of ['S', 'E'] as const) {
      await expect(ftp.put(source, remote(`broken${mode}`), { mode })).rejects.toThrow('bad sector')
      await expect(ftp.get(remote('whole'), failingSink, { mode })).rejects.toThrow('disk full')
    }

    expect(await ftp.size(remote('whole'))).toBe(3_000_000)
  })
}

function failingSink(): void {
  throw new Error('disk full')
}
