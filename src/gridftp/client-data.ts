import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { FtpDataConnectionError } from './client-errors.ts'

/** Where a data connection goes. */
export interface DataAddress {
  readonly host: string
  readonly port: number
}

/**
 * The client's data connections of one transfer: made by it, or accepted on a port of its own. Errors
 * of a connection reach whoever reads or writes it.
 */
export class DataConnections {
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined
  #isClosed = false

  /** Connects `count` times. @throws {FtpDataConnectionError} if one fails; the others stay. */
  async connect(address: DataAddress, count: number): Promise<Socket[]> {
    return Promise.all(Array.from({ length: count }, async () => this.#connectOne(address)))
  }

  /**
   * Listens on a free port of `host` and passes on what connects from `peer`; connections from
   * elsewhere and those beyond `maxConnections` are dropped.
   *
   * @returns the port.
   */
  async listen(
    addresses: { readonly host: string; readonly peer: string },
    maxConnections: number,
    onConnection: (socket: Socket) => void
  ): Promise<number> {
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      const isWelcome = socket.remoteAddress === addresses.peer && !this.#isClosed
      if (!isWelcome || this.#sockets.size >= maxConnections) {
        socket.on('error', ignore).destroy()
        return
      }
      this.#adopt(socket)
      onConnection(socket)
    })
    this.#server = server
    server.listen(0, addresses.host)
    await once(server, 'listening')
    const bound = server.address()
    return typeof bound === 'object' && bound !== null ? bound.port : 0
  }

  /** Closes everything in good order: what was written still goes out. */
  close(): void {
    this.#isClosed = true
    this.#server?.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  /**
   * Closes everything with a TCP reset, so that nobody takes the end of a broken upload for the end
   * of its file.
   */
  reset(): void {
    this.#isClosed = true
    this.#server?.close()
    for (const socket of this.#sockets) {
      if (socket.connecting) socket.destroy(new Error('given up'))
      // Node leaks the handle when it is told to reset while our end is on its way.
      else if (socket.writableEnded) socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  async #connectOne(address: DataAddress): Promise<Socket> {
    const socket = connect({ ...address, noDelay: true })
    this.#adopt(socket)
    if (this.#isClosed) socket.destroy(new Error('given up'))
    try {
      await once(socket, 'connect')
    } catch (error) {
      throw brokenConnection(`no data connection to ${address.host}:${address.port}`, error)
    }
    return socket
  }

  #adopt(socket: Socket): void {
    this.#sockets.add(socket)
    // Readers and writers see the error themselves; this keeps one between two calls from being fatal.
    socket.on('error', ignore)
    socket.once('close', () => this.#sockets.delete(socket))
  }
}

/** Turns a socket's error into ours. */
export function brokenConnection(what: string, cause: unknown): FtpDataConnectionError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new FtpDataConnectionError(`${what}: ${reason}`, { cause })
}

function ignore(): void {}
