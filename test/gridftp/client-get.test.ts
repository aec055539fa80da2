import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { FtpReplyError } from '../../src/gridftp/client-errors.ts'
import type { DownloadSink } from '../../src/gridftp/client-files.ts'
import {
  MODE_E_EOD,
  MODE_E_EOF,
  MODE_E_HEADER_BYTES,
  MODE_E_RESTART
} from '../../src/gridftp/mode-e-header.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { block, clearStages, closeOf, logIn } from '../support/client-stage.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'
import type { ScriptedSession } from '../support/scripted-ftp-server.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-client-'))
})

afterEach(async () => {
  await clearStages()
  await rm(folder, { recursive: true, force: true })
})

/** Plays a download up to its 150; makes the data connections. */
async function askForBlocks(
  session: ScriptedSession
): Promise<(localAddress?: string) => Promise<Socket>> {
  await session.on('SIZE', '213 10')
  await session.on('MODE E', '200 fine')
  await session.on('OPTS RETR Parallelism=2,2,2;', '200 fine')
  const connect = await session.active()
  await session.on('RETR', '150 go')
  return connect
}

/** A sink of ten bytes that shows what it took. */
function collect(): { readonly bytes: Buffer; readonly sink: DownloadSink } {
  const bytes = Buffer.alloc(10, '.')
  return { bytes, sink: (offset, part) => bytes.set(part, offset) }
}

function failingSink(): void {
  throw new Error('disk full')
}

describe('a download', () => {
  test('in stream mode ends with its connection', async () => {
    const bytes = sampleBytes(500_000)
    const totals = new Set<number | undefined>()
    const { client, server } = await logIn(async (session) => {
      await session.on('SIZE', '213 500000')
      const arrive = await session.passive()
      await session.on('RETR /image', '150 go')
      const socket = await arrive()
      session.say('226 done')
      socket.end(bytes)
    })
    const target = join(folder, 'image')

    await client.get('/image', target, {
      mode: 'S',
      onProgress: ({ totalBytes }) => totals.add(totalBytes)
    })
    await server.played

    expect(sha256(await readFile(target))).toBe(sha256(bytes))
    expect([...totals]).toEqual([500_000])
  })

  test('takes blocks out of order, an early EOF and connections that come late', async () => {
    const { client, server } = await logIn(async (session) => {
      const connect = await askForBlocks(session)
      const first = await connect()
      first.write(block(MODE_E_EOF | MODE_E_EOD, 3))
      const second = await connect()
      second.write(block(0, 7, 'hij'))
      second.write(block(MODE_E_RESTART, 0, 'not part of it'))
      second.write(block(0, 0))
      session.say('226 done')
      second.write(block(MODE_E_EOD, 0, 'ab'))
      const third = await connect()
      const bytes = Buffer.concat([block(0, 2, 'cdefg'), block(MODE_E_EOD, 0)])
      for (const byte of bytes) third.write(Buffer.of(byte))
    })
    const { bytes, sink } = collect()

    const result = await client.get('/image', sink)
    await server.played

    expect(bytes.toString()).toBe('abcdefghij')
    expect(result.bytes).toBe(10)
  })

  test('of an empty file', async () => {
    const { client } = await logIn(async (session) => {
      const connect = await askForBlocks(session)
      const socket = await connect()
      socket.write(block(MODE_E_EOF | MODE_E_EOD, 1))
      session.say('226 done')
    })
    const target = join(folder, 'empty')

    await client.get('/image', target)

    expect(await readFile(target)).toHaveLength(0)
  })

  test('drops a connection from another address', async () => {
    const { client, server } = await logIn(async (session) => {
      const connect = await askForBlocks(session)
      const stranger = await connect('127.0.0.2')
      stranger.write(block(MODE_E_EOF | MODE_E_EOD, 1))
      await closeOf(stranger)
      const friend = await connect()
      friend.write(block(0, 0, '0123456789'))
      friend.write(block(MODE_E_EOF | MODE_E_EOD, 1))
      session.say('226 done')
    })
    const { bytes, sink } = collect()

    await client.get('/image', sink)
    await server.played

    expect(bytes.toString()).toBe('0123456789')
  })

  for (const [what, blocks] of [
    ['a connection that ends before its EOD', [block(0, 0, '01234')]],
    ['half a block', [block(0, 0, '01234').subarray(0, 19)]],
    ['an offset beyond 2^53', [Buffer.alloc(MODE_E_HEADER_BYTES, 0xff).fill(0, 0, 1)]]
  ] as const) {
    test(`fails at ${what}, and leaves no file`, async () => {
      const { client } = await logIn(async (session) => {
        const connect = await askForBlocks(session)
        const socket = await connect()
        for (const bytes of blocks) socket.write(bytes)
        socket.end()
        session.say('226 done')
      })
      const target = join(folder, 'image')
      await writeFile(target, 'what was there')

      const failed = client.get('/image', target)

      await expect(failed).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_(FTP_DATA_CONNECTION|MALFORMED)$/)
      })
      expect(await readdir(folder)).toEqual(['image'])
      expect(await readFile(target, 'utf8')).toBe('what was there')
    })
  }

  for (const [what, counts] of [
    ['more ends than were announced', [undefined, undefined, 1]],
    ['an end of file that announces no ends', [0]],
    ['two ends of file', [2, 2]],
    ['more connections announced than it accepts', [65]]
  ] as const) {
    test(`fails at ${what}`, async () => {
      const { client } = await logIn(async (session) => {
        const connect = await askForBlocks(session)
        for (const count of counts) {
          const socket = await connect()
          const flags = count === undefined ? MODE_E_EOD : MODE_E_EOF | MODE_E_EOD
          socket.write(block(flags, count ?? 0))
        }
        session.say('226 done')
      })

      await expect(client.get('/image', () => undefined)).rejects.toThrow(MalformedError)
    })
  }

  test('says what the server said when it failed in the middle', async () => {
    const { client } = await logIn(async (session) => {
      const connect = await askForBlocks(session)
      const socket = await connect()
      socket.write(block(0, 0, '01234'))
      socket.end()
      session.say('451 bad sector')
    })

    const failed = client.get('/image', () => undefined)

    await expect(failed).rejects.toThrow(FtpReplyError)
    await expect(failed).rejects.toThrow('RETR /image: 451 bad sector')
  })

  test('fails with what the sink threw', async () => {
    const { client, server } = await logIn(async (session) => {
      await session.on('SIZE', '550 unknown')
      const arrive = await session.passive()
      await session.on('RETR', '150 go')
      const socket = await arrive()
      socket.write('bytes')
      await closeOf(socket)
      session.say('426 broken')
      await session.on('NOOP', '200 still here')
    })

    await expect(client.get('/image', failingSink, { mode: 'S' })).rejects.toThrow('disk full')
    await client.command('NOOP')
    await server.played
  })

  test('reads on only when the sink has taken what came', async () => {
    let [open, most] = [0, 0]
    const { client } = await logIn(async (session) => {
      await session.on('SIZE', '213 1000000')
      const arrive = await session.passive()
      await session.on('RETR', '150 go')
      const socket = await arrive()
      socket.end(sampleBytes(1_000_000))
      session.say('226 done')
    })

    const result = await client.get(
      '/image',
      async () => {
        open += 1
        most = Math.max(most, open)
        await new Promise((resolve) => setImmediate(resolve))
        open -= 1
      },
      { mode: 'S' }
    )

    expect(result.bytes).toBe(1_000_000)
    expect(most).toBe(1)
  })
})
