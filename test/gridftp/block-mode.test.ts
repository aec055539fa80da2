import { once } from 'node:events'
import type { Socket } from 'node:net'
import { describe, expect, test } from '@jest/globals'
import { BlockDecoder } from '../../src/gridftp/mode-e.ts'
import { MODE_E_CLOSE, MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'
import {
  block,
  type DataListener,
  openData,
  type RawFtp,
  untilClosed,
  untilCutOff
} from '../support/raw-ftp.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

const EOD = block(MODE_E_EOD, 0)
const eof = (count: number): Buffer => block(MODE_E_EOF + MODE_E_EOD, count)

async function blockSession(stage: GridFtpStage): Promise<RawFtp> {
  const raw = await stage.login()
  await raw.command('MODE E')
  return raw
}

function text(stage: GridFtpStage, path: string): string | undefined {
  const content = stage.storage.content(path)
  return content === undefined ? undefined : Buffer.from(content).toString()
}

describe('upload', () => {
  test('over three connections, out of order, with an early EOF and a late connection', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const port = await raw.passive()
    const first = await openData(port)

    first.write(eof(3)) // before the STOR, before the data
    const started = await raw.command('STOR image')
    const second = await openData(port)
    second.write(Buffer.concat([block(0, 6, 'world'), EOD]))
    const third = await openData(port)
    third.write(Buffer.concat([block(0, 5, ' '), block(MODE_E_EOD, 0, 'hello')]))

    expect(started).toMatch(/^150 /)
    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(text(stage, '/image')).toBe('hello world')
  })

  test('sends a marker at once, every interval, and right before the end', async () => {
    const clock = new ManualClock()
    await using stage = await GridFtpStage.open({ clock, markerIntervalMs: 5000 })
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())
    await raw.command('STOR image')

    const atOnce = await raw.reply()
    clock.advance(5000)
    const later = await raw.reply()
    data.write(Buffer.concat([block(0, 0, 'hello'), eof(1)]))
    const last = await raw.reply()

    expect(atOnce).toMatch(/^112-Perf Marker\n Timestamp: {2}0.0\n[^]*Transferred: 0\n/)
    expect(later).toMatch(/^112-Perf Marker\n Timestamp: {2}5.0\n[^]*Transferred: 0\n/)
    expect(last).toMatch(/^112-Perf Marker\n[^]*Transferred: 5\n Total Stripe Count: 1\n112 End/)
    expect(await raw.reply()).toBe('111 Range Marker 0-5')
    expect(await raw.reply()).toMatch(/^226 /)
  })

  test.each([
    ['an empty file', [eof(1)], ''],
    ['one byte', [block(0, 0, 'x'), eof(1)], 'x'],
    ['empty blocks in between', [block(0, 9), block(0, 0, 'ab'), block(0, 2), eof(1)], 'ab'],
    ['a gap', [block(0, 3, 'x'), eof(1)], '\0\0\0x']
  ])('%s', async (_name, blocks, expected) => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())

    raw.send('STOR image\r\n')
    data.write(Buffer.concat(blocks))

    expect(await raw.finalReply()).toMatch(/^150 /)
    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(text(stage, '/image')).toBe(expected)
  })

  test('megabytes in odd pieces over four connections', async () => {
    await using stage = await GridFtpStage.open({ queueBytes: MIB })
    const raw = await blockSession(stage)
    const port = await raw.passive()
    const bytes = sampleBytes(9 * MIB)
    const sockets = await Promise.all(
      [port, port, port, port].map(async (to) => await openData(to))
    )

    raw.send('STOR image\r\n')
    for (let offset = 0, index = 0; offset < bytes.byteLength; offset += 77_777, index += 1) {
      sockets[index % 4]?.write(block(0, offset, bytes.subarray(offset, offset + 77_777)))
    }
    for (const [index, socket] of sockets.entries()) socket.write(index === 1 ? eof(4) : EOD)
    await raw.finalReply()

    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(sha256(stage.storage.content('/image') ?? new Uint8Array())).toBe(sha256(bytes))
  })

  test('ESTO counts from its offset, REST does not', async () => {
    const storage = new MemoryDsi()
    storage.put('/image', Buffer.from('0123456789'))
    await using stage = await GridFtpStage.open({ storage })
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())

    raw.send('ESTO A 4 image\r\n')
    data.write(Buffer.concat([block(0, 0, 'ab'), eof(1)]))
    const replies = [await raw.finalReply(), await raw.finalReply()]
    await raw.command('REST 8')
    raw.send('STOR image\r\n')
    data.write(Buffer.concat([block(0, 8, 'yz'), eof(1)]))
    replies.push(await raw.finalReply(), await raw.finalReply())

    expect(replies.map((reply) => reply.slice(0, 3))).toEqual(['150', '226', '125', '226'])
    expect(text(stage, '/image')).toBe('0123ab67yz')
  })
})

describe('connections that stay open', () => {
  test('carry the next file without PASV, each with its own EOD again', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const port = await raw.passive()
    const [one, two] = await Promise.all([openData(port), openData(port)])
    const send = async (name: string, content: string): Promise<string> => {
      one.write(Buffer.concat([block(0, 0, content), EOD]))
      two.write(eof(2))
      const started = await raw.command(`STOR ${name}`)
      await raw.finalReply()
      return started
    }

    const started = [await send('first', 'a'), await send('second', 'b'), await send('third', 'c')]

    expect(started.map((reply) => reply.slice(0, 3))).toEqual(['150', '125', '125'])
    expect(text(stage, '/third')).toBe('c')
  })

  test('may carry the next files before the first is answered', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())
    const files = Array.from({ length: 20 }, (_, index) => `file ${index}`)

    data.write(Buffer.concat(files.flatMap((name) => [block(0, 0, name), eof(1)])))
    raw.send(files.map((name) => `STOR ${name}\r\n`).join(''))
    const replies: string[] = []
    while (replies.length < 40) replies.push((await raw.finalReply()).slice(0, 3))

    expect(replies.filter((code) => code === '226')).toHaveLength(20)
    expect(files.map((name) => text(stage, `/${name}`))).toEqual(files)
  })

  test('more of them may join for the next file on the same port', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const port = await raw.passive()
    const one = await openData(port)
    one.write(Buffer.concat([block(0, 0, 'a'), eof(1)]))
    await raw.command('STOR first')
    await raw.finalReply()

    const two = await openData(port)
    one.write(Buffer.concat([block(0, 0, 'a'), eof(2)]))
    two.write(Buffer.concat([block(0, 1, 'b'), EOD]))
    await raw.command('STOR second')

    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(text(stage, '/second')).toBe('ab')
  })

  test('are closed when their sender says so, and others may come', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const port = await raw.passive()
    const one = await openData(port)
    const closed = untilClosed(one)
    one.write(Buffer.concat([block(0, 0, 'a'), block(MODE_E_EOF + MODE_E_EOD + MODE_E_CLOSE, 1)]))
    await raw.command('STOR first')
    await raw.finalReply()
    await closed

    const two = await openData(port)
    two.write(Buffer.concat([block(0, 0, 'b'), eof(1)]))
    const started = await raw.command('STOR second')

    expect(started).toMatch(/^150 /)
    expect(await raw.finalReply()).toMatch(/^226 /)
  })

  test('are dropped by a change of the mode', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())
    data.write(eof(1))
    await raw.command('STOR first')
    await raw.finalReply()
    const closed = untilClosed(data)

    await raw.command('MODE S')

    await closed
  })
})

/** An upload that fails with this reply and leaves nothing. */
async function failsWith(send: (port: number) => Promise<void>, expected: RegExp): Promise<void> {
  await using stage = await GridFtpStage.open()
  const raw = await blockSession(stage)
  const port = await raw.passive()
  await raw.command('STOR image')
  await send(port)

  expect(await raw.finalReply()).toMatch(expected)
  expect(text(stage, '/image')).toBeUndefined()
  expect(stage.storage.openUploads).toBe(0)
  expect(await raw.command('NOOP')).toMatch(/^200 /)
}

describe('bad uploads publish nothing, and the session goes on', () => {
  test('cut inside a block', async () => {
    await failsWith(async (port) => {
      const data = await openData(port)
      data.end(block(0, 0, 'hello').subarray(0, 20))
    }, /^426 Data connection ended inside a block/)
  })

  test('cut between blocks', async () => {
    await failsWith(async (port) => {
      const data = await openData(port)
      data.end(block(0, 0, 'hello'))
    }, /^426 Data connection ended before its EOD/)
  })

  test('reset', async () => {
    await failsWith(async (port) => {
      const data = await openData(port)
      data.write(block(0, 0, 'hello'), () => data.resetAndDestroy())
    }, /^426 Data connection ended/)
  })

  test('an EOF that announces too few EODs', async () => {
    await failsWith(async (port) => {
      const [one, two] = await Promise.all([openData(port), openData(port)])
      one.write(Buffer.concat([block(0, 0, 'a'), EOD]))
      two.write(Buffer.concat([block(0, 1, 'b')]))
      two.write(eof(1))
    }, /^426 .*(EOD|announced)/)
  })

  test('two EOFs', async () => {
    await failsWith(async (port) => {
      const data = await openData(port)
      data.write(Buffer.concat([block(MODE_E_EOF, 2), eof(2)]))
    }, /^426 .*second EOF/)
  })

  test('a header that cannot be', async () => {
    await failsWith(async (port) => {
      const data = await openData(port)
      data.write(Buffer.concat([block(0, 0, 'a'), Buffer.alloc(17, 0xb7)]))
    }, /^426 MODE E header is malformed/)
  })

  test('an EOF that announces too many EODs', async () => {
    const clock = new ManualClock()
    const { promise: written, resolve } = Promise.withResolvers<void>()
    const storage = new MemoryDsi({ beforeWrite: async () => resolve() })
    await using stage = await GridFtpStage.open({ storage, clock, dataTimeoutMs: 1000 })
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    data.write(Buffer.concat([block(0, 0, 'hello'), eof(2)]))
    await written
    await new Promise(setImmediate) // the queue hears of it

    clock.advance(1000)

    expect(await raw.finalReply()).toBe('426 Nothing moved for 1000 ms.')
    expect(text(stage, '/image')).toBeUndefined()
  })

  test('a refused one: what its client sent already is not taken for the next file', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())
    const closed = untilClosed(data)
    data.write(Buffer.concat([block(0, 0, 'hello'), eof(1)]))

    const refused = await raw.command('STOR /')
    await closed

    expect(refused).toBe('550 /: is a directory')
    expect(await raw.command('STOR image')).toMatch(/^425 /)
  })

  test('fewer bytes than announced', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())
    await raw.command('ALLO 6')
    await raw.command('STOR image')

    data.write(Buffer.concat([block(0, 0, 'hello'), eof(1)]))

    expect(await raw.finalReply()).toMatch(/^426 5 bytes arrived where ALLO announced 6/)
    expect(text(stage, '/image')).toBeUndefined()
  })

  test('a client that goes after its last EOD and before the answer', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const storage = new MemoryDsi({ beforeWrite: async () => await promise })
    await using stage = await GridFtpStage.open({ storage })
    const raw = await blockSession(stage)
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    const logged = stage.logger.next(/STOR .* failed: ERR_FTP_TRANSFER_ABORTED/)
    data.end(Buffer.concat([block(0, 0, 'hello'), eof(1)]))
    raw.socket.end()
    await once(raw.socket, 'finish')

    resolve()
    await logged

    expect(storage.content('/image')).toBeUndefined()
    expect(storage.openUploads).toBe(0)
  })
})

describe('connections that do not count', () => {
  test('a stranger is cut off, an empty one is ignored', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await blockSession(stage)
    const port = await raw.passive()
    await raw.command('STOR image')

    await untilCutOff(port, '127.0.0.2')
    const empty = await openData(port)
    empty.end()
    await untilClosed(empty)
    const data = await openData(port)
    data.write(Buffer.concat([block(0, 0, 'hello'), eof(1)]))

    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(text(stage, '/image')).toBe('hello')
  })

  test('more than a session may have are cut off', async () => {
    await using stage = await GridFtpStage.open({ maxDataSockets: 2 })
    const raw = await blockSession(stage)
    const port = await raw.passive()
    const data = await Promise.all([openData(port), openData(port)])

    await untilCutOff(port, '127.0.0.1')
    data[0].write(Buffer.concat([block(0, 0, 'a'), eof(2)]))
    data[1].write(EOD)
    await raw.command('STOR image')

    expect(await raw.finalReply()).toMatch(/^226 /)
  })
})

/** Decodes one file from connections of the server, which stay open. */
async function receive(sockets: readonly Socket[], bytes: Buffer): Promise<number[]> {
  const counts: number[] = []
  const reading = sockets.map(async (socket) => {
    const decoder = new BlockDecoder({
      onPayload: (offset, piece) => bytes.set(piece, offset),
      onEodCount: (count) => counts.push(count)
    })
    while (!decoder.isEnded) {
      const piece: unknown = socket.read()
      if (piece === null) await once(socket, 'readable')
      else decoder.push(piece as Buffer)
    }
  })
  await Promise.all(reading)
  return counts
}

/** A server with one file. */
async function stageWith(bytes: Uint8Array): Promise<GridFtpStage> {
  const storage = new MemoryDsi()
  storage.put('/folder/image', bytes)
  return await GridFtpStage.open({ storage })
}

/** A session in mode E with its own port. */
async function listening(stage: GridFtpStage, count: number): Promise<[RawFtp, DataListener]> {
  const raw = await blockSession(stage)
  await raw.command(`OPTS RETR Parallelism=${count},${count},${count};`)
  return [raw, await raw.active()]
}

describe('download', () => {
  test.each([
    [0, 1],
    [1, 4],
    [3_000_000, 1],
    [3_000_000, 4]
  ])('of %d bytes over %d connections, twice over the same ones', async (length, count) => {
    const bytes = sampleBytes(length)
    await using stage = await stageWith(bytes)
    const [raw, listener] = await listening(stage, count)
    const content = [Buffer.alloc(length), Buffer.alloc(length)] as const

    raw.send('RETR folder/image\r\n')
    const sockets = await listener.connections(count)
    const counts = await receive(sockets, content[0])
    const replies = [await raw.reply(), await raw.reply(), await raw.command('RETR folder/image')]
    counts.push(...(await receive(sockets, content[1])))
    replies.push(await raw.reply())

    expect(counts).toEqual([count, count])
    expect(replies.map((reply) => reply.slice(0, 3))).toEqual(['150', '226', '125', '226'])
    expect(content.map(sha256)).toEqual([sha256(bytes), sha256(bytes)])
    expect(listener.connectionCount).toBe(count)
    expect(stage.storage.openReads).toBe(0)
  })

  test('of a range: ERET counts from its offset, REST does not', async () => {
    await using stage = await stageWith(Buffer.from('0123456789'))
    const [raw, listener] = await listening(stage, 1)
    const partial = Buffer.alloc(4, '.')
    const rest = Buffer.alloc(10, '.')

    raw.send('ERET P 3 4 folder/image\r\n')
    const sockets = await listener.connections(1)
    await receive(sockets, partial)
    await raw.reply()
    await raw.reply()
    await raw.command('REST 7')
    await raw.command('RETR folder/image')
    await receive(sockets, rest)

    expect(partial.toString()).toBe('3456')
    expect(rest.toString()).toBe('.......789')
  })

  test('of a listing', async () => {
    await using stage = await stageWith(Buffer.from('x'))
    const [raw, listener] = await listening(stage, 2)
    const content = Buffer.alloc(7)

    raw.send('NLST folder\r\n')
    await receive(await listener.connections(2), content)

    expect(content.toString()).toBe('image\r\n')
    await raw.reply()
    expect(await raw.reply()).toMatch(/^226 /)
  })

  test('connects again when the client has closed the connections', async () => {
    await using stage = await stageWith(Buffer.from('content'))
    const [raw, listener] = await listening(stage, 1)
    const content = Buffer.alloc(7)
    raw.send('RETR folder/image\r\n')
    const [first] = await listener.connections(1)
    if (first === undefined) return
    await receive([first], Buffer.alloc(7))
    await raw.reply()
    await raw.reply()

    const closed = once(first, 'close')
    first.resume()
    first.end()
    await closed
    raw.send('RETR folder/image\r\n')
    const [, second] = await listener.connections(2)
    if (second !== undefined) await receive([second], content)

    expect(content.toString()).toBe('content')
    expect(await raw.reply()).toMatch(/^150 /)
  })

  test('ends with 425 when nobody listens', async () => {
    await using stage = await stageWith(Buffer.from('content'))
    const [raw, listener] = await listening(stage, 2)
    listener.close()

    expect(await raw.command('RETR folder/image')).toMatch(/^425 Cannot connect to 127.0.0.1/)
    expect(stage.storage.openReads).toBe(0)
  })

  test('ends with 426 when the client closes one of the connections', async () => {
    await using stage = await stageWith(sampleBytes(16 * MIB))
    const [raw, listener] = await listening(stage, 2)

    raw.send('RETR folder/image\r\n')
    const [one] = await listener.connections(2)
    one?.destroy()
    await raw.reply()

    expect(await raw.reply()).toMatch(/^426 Data connection broke/)
    expect(stage.storage.openReads).toBe(0)
  })
})
