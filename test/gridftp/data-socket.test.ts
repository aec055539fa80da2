import { once } from 'node:events'
import { connect, createServer, type Server, Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { DataSocket } from '../../src/gridftp/data-socket.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { readAll } from '../support/raw-ftp.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

let server: Server
let near: Socket
let far: Socket
beforeEach(async () => {
  server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const accepted = once(server, 'connection')
  far = connect(port, '127.0.0.1')
  ;[near] = (await accepted) as [Socket]
})
afterEach(() => {
  far.destroy()
  near.destroy()
  server.close()
})

const never = new AbortController().signal

/** Collects what a socket reads, and how it ends. */
function collect(socket: DataSocket): { text: () => string; ended: Promise<Error | undefined> } {
  const parts: Uint8Array[] = []
  const ended = Promise.withResolvers<Error | undefined>()
  socket.startReading({
    onData: (bytes) => parts.push(Buffer.from(bytes)), // they are only lent
    onEnd: ended.resolve
  })
  return { text: () => Buffer.concat(parts).toString(), ended: ended.promise }
}

test('reads nothing before it is told to, then everything up to the end', async () => {
  const socket = new DataSocket(near)
  far.end('early bytes')

  const reading = collect(socket)

  expect(await reading.ended).toBeUndefined()
  expect(reading.text()).toBe('early bytes')
})

test('gives the next reader what the one before left', async () => {
  const socket = new DataSocket(near)
  const first = Promise.withResolvers<string>()
  far.end('first|second')
  socket.startReading({
    onData: (bytes) => {
      socket.stopReading(bytes.subarray(6))
      first.resolve(Buffer.from(bytes.subarray(0, 6)).toString())
    },
    onEnd: () => first.reject(new Error('read on'))
  })

  const before = await first.promise
  const next = collect(socket)

  expect(before).toBe('first|')
  expect(await next.ended).toBeUndefined()
  expect(next.text()).toBe('second')
})

test('reads nothing while it is paused, and everything in order after that', async () => {
  const socket = new DataSocket(near)
  const bytes = sampleBytes(3 * MIB)
  const room = Promise.withResolvers<void>()
  const paused = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<Error | undefined>()
  const parts: Buffer[] = []
  let whilePaused = 0
  socket.startReading({
    onData: (lent) => {
      parts.push(Buffer.from(lent))
      if (parts.length > 1) return
      socket.pauseUntil(room.promise)
      whilePaused = parts.length
      paused.resolve()
    },
    onEnd: ended.resolve
  })
  far.end(bytes)

  await paused.promise
  for (let turn = 0; turn < 5; turn++) await nextTurn()
  const readMeanwhile = parts.length - whilePaused
  room.resolve()

  expect(await ended.promise).toBeUndefined()
  expect(readMeanwhile).toBe(0)
  expect(sha256(Buffer.concat(parts))).toBe(sha256(bytes))
})

test('keeps what it reads right after it was told to stop', async () => {
  const socket = new DataSocket(near)
  far.write('for the second')
  socket.startReading({ onData: () => {}, onEnd: () => {} })
  socket.stopReading()
  for (let turn = 0; turn < 5; turn++) await nextTurn()

  const next = collect(socket)
  far.end(' reader')

  expect(await next.ended).toBeUndefined()
  expect(next.text()).toBe('for the second reader')
})

test('reads from connections that have no handle, too', async () => {
  class Wrapped extends Socket {}
  const wrapped = new Wrapped({ allowHalfOpen: false })
  const socket = new DataSocket(wrapped)
  const reading = collect(socket)

  wrapped.push('wrapped')
  wrapped.push(null)

  expect(await reading.ended).toBeUndefined()
  expect(reading.text()).toBe('wrapped')
})

test('a reader of a closed connection hears of it', async () => {
  const socket = new DataSocket(near)
  socket.close()

  expect(await collect(socket).ended).toMatchObject({ message: 'connection was closed' })
})

test('a reset is no end for the other side', async () => {
  const socket = new DataSocket(near)
  const content = readAll(far)
  content.catch(() => {})
  await socket.write([Buffer.from('half of it')], never)

  socket.reset()

  await expect(content).rejects.toMatchObject({ code: 'ECONNRESET' })
})

test('frees the connection when it is reset while our end is on its way', async () => {
  const socket = new DataSocket(near)
  const closed = once(near, 'close')
  // Node answers the end of the other side with ours, a tick later, and is not done before a turn.
  const reset = (): void => process.nextTick(() => socket.reset())
  socket.startReading({ onData: () => {}, onEnd: () => process.nextTick(reset) })

  far.end('all of it')

  await closed
})

test('write waits for room and gives up when aborted or broken', async () => {
  const socket = new DataSocket(near)
  const abort = new AbortController()
  const block = [Buffer.alloc(64 * MIB)]

  const aborted = socket.write(block, abort.signal)
  abort.abort(new Error('enough'))
  await expect(aborted).rejects.toThrow('enough')
  const broken = socket.write(block, never)
  far.destroy()

  await expect(broken).rejects.toMatchObject({ code: 'ERR_FTP_DATA_CHANNEL', replyCode: 426 })
  await expect(socket.write(block, never)).rejects.toMatchObject({ replyCode: 426 })
})

test('finish resolves when the other side can have everything', async () => {
  const socket = new DataSocket(near)
  const content = readAll(far)

  await socket.write([Buffer.alloc(MIB, 'x'), Buffer.from('end')], never)
  await socket.finish(never)

  expect((await content).byteLength).toBe(MIB + 3)
  expect(socket.isOpen).toBe(false)
})
