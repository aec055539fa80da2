import { createServer, type Server, type Socket } from 'node:net'
import { errorCode } from '../lib/errors.ts'
import type { Random } from '../lib/random.ts'
import type { SocketAddress } from './address.ts'
import { DataSocket } from './data-socket.ts'
import { DataChannelError } from './errors.ts'

/** First and last port that passive listeners may take. */
export type PortRange = readonly [number, number]

/** Where to listen, and for whom. */
export interface PassiveListenerOptions {
  /** Address to listen on. */
  readonly host: string
  /** Ports to choose from; any port when left out. */
  readonly ports?: PortRange | undefined
  /** Where in the range to begin, so that a port just given up is not the next one taken. */
  readonly random: Random
  /** Tells whether a connection may stay. */
  readonly accepts: (socket: DataSocket) => boolean
  /** Takes a connection, paused. */
  readonly onSocket: (socket: DataSocket) => void
}

/** One port on which data connections are awaited. */
export class PassiveListener {
  readonly #server: Server
  readonly port: number

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  /** Opens a port. @throws {DataChannelError} if none is free. */
  static async open(options: PassiveListenerOptions): Promise<PassiveListener> {
    const { host, ports, random } = options
    const server = createServer({ pauseOnConnect: true })
    server.on('connection', (socket: Socket) => {
      const dataSocket = new DataSocket(socket)
      if (options.accepts(dataSocket)) options.onSocket(dataSocket)
      else dataSocket.reset()
    })
    for (const port of portsToTry(ports, random)) {
      if (await tryListen(server, { host, port })) {
        server.on('error', () => {}) // a failed accept concerns that one connection only
        const address = server.address()
        const bound = typeof address === 'object' && address !== null ? address.port : port
        return new PassiveListener(server, bound)
      }
    }
    const range = ports === undefined ? '' : `: all of ${ports.join('-')} are in use`
    throw new DataChannelError(425, `No free port for a data connection${range}.`)
  }

  /** Accepts nothing any more; connections that were accepted stay. */
  close(): void {
    this.#server.close()
  }
}

function* portsToTry(ports: PortRange | undefined, random: Random): Generator<number> {
  if (ports === undefined) {
    yield 0
    return
  }
  const [first, last] = ports
  const count = last - first + 1
  const start = Math.floor(random() * count)
  for (let at = 0; at < count; at += 1) yield first + ((start + at) % count)
}

async function tryListen(server: Server, { host, port }: SocketAddress): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>()
  const onListening = (): void => resolve(true)
  const onError = (error: Error): void => {
    const code = errorCode(error)
    if (code === 'EADDRINUSE' || code === 'EACCES') resolve(false)
    else
      reject(
        new DataChannelError(425, `Cannot listen on ${host}: ${error.message}`, { cause: error })
      )
  }
  server.once('listening', onListening)
  server.once('error', onError)
  server.listen({ host, port, backlog: 64 })
  try {
    return await promise
  } finally {
    server.off('listening', onListening)
    server.off('error', onError)
  }
}
