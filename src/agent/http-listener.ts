import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, ListenOptions } from 'node:net'
import { ListenError } from './errors.ts'

/** Answers one request; resolves when nothing of it runs any more, and never rejects. */
export type Answer = (request: IncomingMessage, response: ServerResponse) => Promise<void>

/** An HTTP server that has stopped only when every request that it took has ended. */
export class HttpListener {
  readonly #server: Server
  readonly #running = new Set<Promise<void>>()

  constructor(answer: Answer) {
    this.#server = createServer((request, response) => {
      const running = answer(request, response).finally(() => this.#running.delete(running))
      this.#running.add(running)
    })
    this.#server.requestTimeout = 0 // an upload takes as long as it takes; heads have their own limit
  }

  /** What was really bound. Only while it listens on a TCP port. */
  get address(): AddressInfo {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new TypeError('not on a TCP port')
    return address
  }

  /**
   * Begins to listen. Called once.
   *
   * @param what the listener's name, for the error.
   * @throws {ListenError} if the address cannot be had.
   */
  async start(what: string, where: ListenOptions): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#server.once('error', reject).listen(where, resolve)
    try {
      await promise
    } catch (error) {
      throw new ListenError(what, where.path ?? `${where.host}:${where.port}`, { cause: error })
    }
  }

  /** Closes every connection, which aborts what was asked over it, and waits for the end of that. */
  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    this.#server.closeAllConnections()
    await promise
    await Promise.all(this.#running)
  }
}
