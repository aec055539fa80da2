import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { DataSocket } from '../../src/gridftp/data-socket.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { readAll } from '../support/raw-ftp.ts'

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
  socket.startReading({ onData: (bytes) => parts.push(bytes), onEnd: ended.resolve })
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
