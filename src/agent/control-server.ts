import { lstat, mkdir, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { dirname } from 'node:path'
import { errorCode } from '../lib/errors.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import { controlListener } from './control-api.ts'
import { DataDirectoryError } from './errors.ts'
import { HttpListener } from './http-listener.ts'
import type { AgentOperations } from './operations.ts'

/** A unix socket's path must fit sockaddr_un. */
const MAX_SOCKET_PATH_BYTES = 107

/** The control API on a unix socket that only the agent's user can open. */
export class ControlServer {
  readonly #http: HttpListener
  readonly #path: string

  constructor(operations: AgentOperations, logger: LoggerFactory, path: string) {
    this.#http = new HttpListener(controlListener(operations, logger))
    this.#path = path
  }

  /**
   * Begins to listen; replaces a socket that a crash left behind.
   *
   * @throws {DataDirectoryError} if another agent answers there, something else than a socket is there, or the path is
   *   too long for a socket.
   * @throws {ListenError} if the socket cannot be made.
   */
  async start(): Promise<void> {
    if (Buffer.byteLength(this.#path) > MAX_SOCKET_PATH_BYTES) {
      const reason = `longer than the ${MAX_SOCKET_PATH_BYTES} bytes of a unix socket (set control.socket)`
      throw new DataDirectoryError(this.#path, reason)
    }
    await mkdir(dirname(this.#path), { recursive: true })
    await removeStaleSocket(this.#path)
    const before = process.umask(0o077)
    const starting = this.#http.start('control', { path: this.#path }) // binds before it returns
    process.umask(before)
    await starting
  }

  /** Aborts what runs for clients, waits for its end and removes the socket. */
  async stop(): Promise<void> {
    await this.#http.stop()
  }
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errorCode(error) !== 'ENOENT') throw error
  })
  if (found === undefined) return
  if (!found.isSocket()) throw new DataDirectoryError(path, 'is there already and is no socket')
  if (await isAnswering(path)) throw new DataDirectoryError(path, 'another agent answers there')
  await rm(path, { force: true })
}

async function isAnswering(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const connection = createConnection(path)
  connection.once('connect', () => resolve(true)).once('error', () => resolve(false))
  try {
    return await promise
  } finally {
    connection.destroy()
  }
}
