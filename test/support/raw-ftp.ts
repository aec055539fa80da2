import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { encodeModeEHeader } from '../../src/gridftp/mode-e-header.ts'

/** A control connection that a test drives by hand, byte for byte. */
export class RawFtp {
  readonly socket: Socket
  readonly #listeners: DataListener[] = []
  readonly #replies: string[] = []
  readonly #waiting: ((reply: string | undefined) => void)[] = []
  #lines: string[] = []
  #rest = ''
  #isClosed = false

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true) // a command that follows another one at once must not wait for its reply
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => this.#read(text))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#isClosed = true
      for (const resolve of this.#waiting.splice(0)) resolve(undefined)
    })
  }

  /** Connects and does not read the greeting. */
  static async connect(port: number, localAddress = '127.0.0.1'): Promise<RawFtp> {
    const host = localAddress.includes(':') ? '::1' : '127.0.0.1'
    const socket = connect({ port, host, localAddress })
    const raw = new RawFtp(socket)
    await once(socket, 'connect')
    return raw
  }

  /** Connects and logs in as anonymous, in binary type. */
  static async login(port: number): Promise<RawFtp> {
    const raw = await RawFtp.connect(port)
    await raw.reply()
    await raw.command('USER anonymous')
    await raw.command('PASS me@')
    await raw.command('TYPE I')
    return raw
  }

  send(text: string | Uint8Array): void {
    this.socket.write(text)
  }

  /** Sends a line and gives its first reply. */
  async command(line: string): Promise<string> {
    this.send(`${line}\r\n`)
    return await this.reply()
  }

  /** Next reply with all its lines. @throws {Error} if the connection is closed instead. */
  async reply(): Promise<string> {
    const reply = await this.replyOrClose()
    if (reply === undefined) throw new Error('control connection was closed')
    return reply
  }

  /** Next reply, or undefined when the connection is closed instead. */
  async replyOrClose(): Promise<string | undefined> {
    const next = this.#replies.shift()
    if (next !== undefined || this.#isClosed) return next
    return await new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  /** Next reply that is no marker. */
  async finalReply(): Promise<string> {
    for (;;) {
      const reply = await this.reply()
      if (!reply.startsWith('11')) return reply
    }
  }

  /** Asks for a passive port. */
  async passive(): Promise<number> {
    const reply = await this.command('PASV')
    const numbers = /\((?:\d+,){4}(\d+),(\d+)\)/.exec(reply)
    if (numbers === null) throw new Error(reply)
    return Number(numbers[1]) * 256 + Number(numbers[2])
  }

  /** Listens for connections of the server and tells it where. */
  async active(): Promise<DataListener> {
    const listener = await DataListener.open()
    this.#listeners.push(listener)
    await this.command(`PORT 127,0,0,1,${listener.port >> 8},${listener.port & 255}`)
    return listener
  }

  close(): void {
    this.socket.destroy()
    for (const listener of this.#listeners) listener.close()
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\r\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      this.#lines.push(line)
      if (!/^\d{3} /.test(line)) continue
      const reply = this.#lines.join('\n')
      this.#lines = []
      const waiting = this.#waiting.shift()
      if (waiting === undefined) this.#replies.push(reply)
      else waiting(reply)
    }
  }
}

/** A port on which a test waits for data connections of the server. */
export class DataListener {
  readonly port: number
  readonly #server: Server
  readonly #sockets: Socket[] = []
  readonly #arrivals: (() => void)[] = []

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
    server.on('connection', (socket) => {
      socket.on('error', () => {})
      socket.pause()
      this.#sockets.push(socket)
      for (const arrived of this.#arrivals.splice(0)) arrived()
    })
  }

  static async open(): Promise<DataListener> {
    const server = createServer({ pauseOnConnect: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (typeof address !== 'object' || address === null) throw new Error('not listening')
    return new DataListener(server, address.port)
  }

  /** The first `count` connections, paused, once there are as many. */
  async connections(count: number): Promise<Socket[]> {
    while (this.#sockets.length < count) {
      await new Promise<void>((resolve) => {
        this.#arrivals.push(resolve)
      })
    }
    return this.#sockets.slice(0, count)
  }

  /** Connections that ever came. */
  get connectionCount(): number {
    return this.#sockets.length
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

const opened = new Set<Socket>()

/** Closes every connection of `openData`: one that is not read never learns of its end. */
export function closeAllData(): void {
  for (const socket of opened) socket.destroy()
  opened.clear()
}

/** Opens a data connection to the server; `closeAllData` closes it at the latest. */
export async function openData(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const host = localAddress.includes(':') ? '::1' : '127.0.0.1'
  const socket = connect({ port, host, localAddress })
  opened.add(socket)
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Knocks at a port and resolves when the server has cut the connection off. */
export async function untilCutOff(port: number, localAddress: string): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  socket.on('error', () => {})
  await untilClosed(socket)
}

/** Drops what arrives and resolves when the connection is gone, in order or not. */
export async function untilClosed(socket: Socket): Promise<void> {
  socket.resume()
  await new Promise((resolve) => {
    socket.once('close', resolve)
  })
}

/**
 * Everything that arrives until the other side ends.
 *
 * @throws {Error} if the connection is reset.
 */
export async function readAll(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = []
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  socket.on('data', (bytes) => parts.push(Buffer.from(bytes)))
  socket.on('end', () => resolve(Buffer.concat(parts)))
  socket.on('error', reject)
  promise.catch(() => {})
  return await promise
}

/** One extended block. */
export function block(flags: number, offset: number, payload: string | Uint8Array = ''): Buffer {
  const bytes = Buffer.from(payload)
  return Buffer.concat([encodeModeEHeader({ flags, count: bytes.byteLength, offset }), bytes])
}
