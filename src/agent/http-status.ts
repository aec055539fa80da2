import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { BlobswarmError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import { API_PREFIX } from './control-server.ts'
import { formatHostPort, parseHostPort } from './host-port.ts'
import type { PrometheusMetrics } from './prometheus.ts'

export interface HttpStatusComponents {
  readonly metrics: PrometheusMetrics
  /** What still keeps the agent from serving; empty when it is ready. */
  readonly notReady: () => readonly string[]
  /** The control API behind its token. */
  readonly control: RequestListener
}

/** `/healthz`, `/readyz`, `/metrics` for anyone, `/api/v1/…` for who has the token. Shows no names and no bytes. */
export class HttpStatusServer {
  readonly #components: HttpStatusComponents
  readonly #listen: string
  readonly #server: Server

  constructor(components: HttpStatusComponents, listen: string) {
    this.#components = components
    this.#listen = listen
    this.#server = createServer((request, response) => {
      const path = (request.url ?? '/').split('?')[0] ?? '/'
      if (path.startsWith(API_PREFIX)) components.control(request, response)
      else void this.#answer(path, response)
    })
  }

  /** The real `HOST:PORT`. */
  get address(): string {
    return formatHostPort(this.#server.address() as AddressInfo)
  }

  /** @throws {ListenError} */
  async start(): Promise<void> {
    const { host, port } = parseHostPort(this.#listen)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#server.once('error', (error) =>
      reject(new ListenError('HTTP status', this.#listen, { cause: error }))
    )
    this.#server.listen(port, host, resolve)
    await promise
  }

  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    this.#server.closeAllConnections()
    await promise
  }

  async #answer(path: string, response: ServerResponse): Promise<void> {
    if (path === '/healthz') {
      send(response, 200, 'ok\n')
    } else if (path === '/readyz') {
      const waiting = this.#components.notReady()
      if (waiting.length === 0) send(response, 200, 'ready\n')
      else send(response, 503, `waiting for ${waiting.join(', ')}\n`)
    } else if (path === '/metrics') {
      const { text, contentType } = await this.#components.metrics.page()
      send(response, 200, text, contentType)
    } else send(response, 404, 'not found\n')
  }
}

function send(
  response: ServerResponse,
  status: number,
  text: string,
  contentType = 'text/plain; charset=utf-8'
): void {
  response.writeHead(status, { 'content-type': contentType })
  response.end(text)
}
