import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { afterEach, describe, expect, test } from '@jest/globals'
import { FtpConnectionError, SourceTruncatedError } from '../../src/gridftp/client-errors.ts'
import type { UploadSource } from '../../src/gridftp/client-files.ts'
import { MODE_E_CLOSE, MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { clearStages, closeOf, logIn, parseBlocks, sourceOf } from '../support/client-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

afterEach(clearStages)

describe('an upload', () => {
  test('in stream mode ends with the end of its connection', async () => {
    const bytes = sampleBytes(300_000)
    let received = ''
    const { client, server } = await logIn(async (session) => {
      const arrive = await session.passive()
      await session.on('ALLO 300000', '502 unknown')
      await session.on('STOR /image', '150 go')
      received = sha256(await buffer(await arrive()))
      session.say('226 done')
    })

    const result = await client.put(sourceOf(bytes), '/image', { mode: 'S', blockBytes: 65_536 })
    await server.played

    expect(received).toBe(sha256(bytes))
    expect(result).toEqual({ bytes: 300_000, reply: { code: 226, lines: ['done'] } })
  })

  test('in extended block mode announces every end and that its connections close', async () => {
    const bytes = sampleBytes(1_000_001)
    const streams: ReturnType<typeof parseBlocks>[] = []
    const { client, server } = await logIn(async (session) => {
      await session.on('MODE E', '200 fine')
      const arrive = await session.passive()
      await session.on('ALLO', '200 fine')
      await session.on('STOR', '150 go')
      const sockets = await Promise.all([arrive(), arrive(), arrive()])
      streams.push(
        ...(await Promise.all(sockets.map(async (socket) => buffer(socket)))).map(parseBlocks)
      )
      session.say('226 done')
    })

    await client.put(sourceOf(bytes), '/image', { streams: 3, blockBytes: 100_000 })
    await server.played

    const whole = Buffer.alloc(bytes.byteLength)
    for (const { payload, offset } of streams.flat().filter(({ count }) => count > 0)) {
      whole.set(payload, offset)
    }
    const ends = streams
      .map((blocks) => blocks.at(-1))
      .toSorted((a, b) => (a?.flags ?? 0) - (b?.flags ?? 0))
    expect(sha256(whole)).toBe(sha256(bytes))
    expect(streams.flat().filter(({ count }) => count > 0)).toHaveLength(11)
    expect(ends.map((end) => end?.flags)).toEqual([
      MODE_E_EOD | MODE_E_CLOSE,
      MODE_E_EOD | MODE_E_CLOSE,
      MODE_E_EOF | MODE_E_EOD | MODE_E_CLOSE
    ])
    expect(ends[2]?.offset).toBe(3)
  })

  test('holds at most two blocks for each stream', async () => {
    const blockBytes = 8 * MIB
    const bytes = 12 * blockBytes
    const secondRead = Promise.withResolvers<void>()
    let [reads, sent, most] = [0, 0, 0]
    const { client, server } = await logIn(async (session) => {
      const arrive = await session.passive()
      await session.on('ALLO', '200 fine')
      await session.on('STOR', '150 go')
      const socket = await arrive()
      await secondRead.promise
      for await (const _ of socket);
      session.say('226 done')
    })
    const source: UploadSource = {
      bytes,
      read: async (_offset, length) => {
        reads += 1
        most = Math.max(most, reads - sent)
        if (reads === 2) secondRead.resolve()
        return Buffer.alloc(length)
      }
    }

    await client.put(source, '/image', { mode: 'S', blockBytes, onProgress: () => (sent += 1) })
    await server.played

    expect([reads, sent, most]).toEqual([12, 12, 2])
  })

  test('ends with the reply of a server that refuses it, and the session goes on', async () => {
    const { client, server } = await logIn(async (session) => {
      await session.passive()
      await session.on('ALLO', '200 fine')
      await session.on('STOR', '553-no', '553 read only')
      await session.on('NOOP', '200 still here')
    })

    const refused = client.put(sourceOf(sampleBytes(10 * MIB)), '/image', { mode: 'S' })

    await expect(refused).rejects.toMatchObject({
      code: 'ERR_FTP_REPLY',
      command: 'STOR /image',
      replyCode: 553,
      text: 'no\nread only'
    })
    await client.command('NOOP')
    await server.played
  })

  test('stops when the server fails in the middle without reading on', async () => {
    const { client, server } = await logIn(async (session) => {
      await session.on('MODE E', '200 fine')
      const arrive = await session.passive()
      await session.on('ALLO', '200 fine')
      await session.on('STOR', '150 go')
      await once(await arrive(), 'readable')
      session.say('552 disk full')
      await session.on('NOOP', '200 still here')
    })

    const failed = client.put(sourceOf(sampleBytes(32 * MIB)), '/image')

    await expect(failed).rejects.toMatchObject({ replyCode: 552 })
    await client.command('NOOP')
    await server.played
  })

  test('whose source fails resets its connection, so that nobody takes it for whole', async () => {
    let ended = ''
    const { client, server } = await logIn(async (session) => {
      const arrive = await session.passive()
      await session.on('ALLO', '200 fine')
      await session.on('STOR', '150 go')
      ended = await closeOf(await arrive())
      session.say('426 broken')
      await session.on('NOOP', '200 still here')
    })
    const source: UploadSource = {
      bytes: 3 * MIB,
      read: async (offset, length) => {
        if (offset >= MIB) throw new Error('bad sector')
        return Buffer.alloc(length)
      }
    }

    await expect(client.put(source, '/image', { mode: 'S' })).rejects.toThrow('bad sector')
    await client.command('NOOP')
    await server.played

    expect(ended).toBe('ECONNRESET')
  })

  test('of a source that is shorter than it said fails', async () => {
    const { client } = await logIn(async (session) => {
      const arrive = await session.passive()
      await session.on('ALLO 100', '200 fine')
      await session.on('STOR', '150 go')
      await closeOf(await arrive())
      session.say('426 broken')
    })
    const source = {
      bytes: 100,
      read: async (offset: number) => Buffer.alloc(offset === 0 ? 60 : 0)
    }

    const failed = client.put(source, '/image', { mode: 'S' })

    await expect(failed).rejects.toThrow(SourceTruncatedError)
    await expect(failed).rejects.toMatchObject({ offset: 60 })
  })

  test('gives up on a server that does not explain a broken data connection', async () => {
    const clock = new ManualClock()
    const { client, server } = await logIn(
      async (session) => {
        const arrive = await session.passive()
        await session.on('ALLO', '200 fine')
        await session.on('STOR', '150 go')
        await closeOf(await arrive())
      },
      { clock }
    )
    const source = {
      bytes: 100,
      read: async () => {
        throw new Error('bad sector')
      }
    }

    const failed = client.put(source, '/image', { mode: 'S' })
    await server.played
    clock.advance(10_000)

    await expect(failed).rejects.toThrow('bad sector')
    await expect(client.command('NOOP')).rejects.toThrow(/no reply within 10000 ms/)
  })

  test('that is aborted looks like a client that died', async () => {
    const abort = new AbortController()
    const ends: string[] = []
    const { client, server } = await logIn(async (session) => {
      await session.on('MODE E', '200 fine')
      const arrive = await session.passive()
      await session.on('ALLO', '200 fine')
      await session.on('STOR', '150 go')
      const sockets = await Promise.all([arrive(), arrive()])
      await Promise.all(sockets.map(async (socket) => once(socket, 'readable')))
      abort.abort(new Error('enough'))
      ends.push(...(await Promise.all(sockets.map(closeOf))))
    })

    const aborted = client.put(sourceOf(sampleBytes(64 * MIB)), '/image', { signal: abort.signal })

    await expect(aborted).rejects.toThrow('enough')
    await server.played
    expect(ends).toEqual(['ECONNRESET', 'ECONNRESET'])
    await expect(client.size('/image')).rejects.toThrow('enough')
  })

  test('that was aborted before it began asks nothing', async () => {
    const { client, server } = await logIn(async (session) => {
      await session.on('NOOP', '200 first command')
    })
    const signal = AbortSignal.abort(new Error('too late'))

    await expect(client.put('/nowhere', '/image', { signal })).rejects.toThrow('too late')
    await client.command('NOOP')
    await server.played
  })

  test('fails when the server goes away', async () => {
    const { client } = await logIn(async (session) => {
      const arrive = await session.passive()
      await session.on('ALLO', '200 fine')
      await session.on('STOR', '150 go')
      const socket = await arrive()
      await once(socket, 'readable')
      session.socket.destroy()
      socket.destroy()
    })

    const failed = client.put(sourceOf(sampleBytes(32 * MIB)), '/image', { mode: 'S' })

    await expect(failed).rejects.toThrow(FtpConnectionError)
  })

  test('refuses impossible options', async () => {
    const { client } = await logIn(async () => undefined)
    const source = sourceOf(new Uint8Array())

    await expect(client.put(source, '/x', { streams: 0 })).rejects.toThrow(RangeError)
    await expect(client.put(source, '/x', { streams: 65 })).rejects.toThrow(RangeError)
    await expect(client.put(source, '/x', { blockBytes: 0 })).rejects.toThrow(RangeError)
  })
})
