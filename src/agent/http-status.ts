import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { API_PREFIX } from './control-api.ts'
import { formatHostPort, parseHostPort } from './host-port.ts'
import { type Answer, HttpListener } from './http-listener.ts'
import type { PrometheusMetrics } from './prometheus.ts'

/** What the status server shows. */
export interface HttpStatusComponents {
  readonly metrics: PrometheusMetrics
  /** What still keeps the agent from serving; empty when it is ready. */
  readonly notReady: () => readonly string[]
  /** The control API behind its token. */
  readonly control: Answer
  readonly log?: Logger
}

/** `/healthz`, `/readyz`, `/metrics` for anyone, `/api/v1/…` for who has the token. Shows no names and no bytes. */
export class HttpStatusServer {
  readonly #components: HttpStatusComponents
  readonly #listen: string
  readonly #http: HttpListener

  /** @param listen `HOST:PORT`; port 0 for any. */
  constructor(components: HttpStatusComponents, listen: string) {
    this.#components = components
    this.#listen = listen
    this.#http = new HttpListener(async (request, response) => this.#answer(request, response))
  }

  /** The real `HOST:PORT`, once it has started. */
  get address(): string {
    return formatHostPort(this.#http.address)
  }

  /** @throws {ListenError} if the address cannot be had. */
  async start(): Promise<void> {
    await this.#http.start('HTTP status', parseHostPort(this.#listen))
  }

  /** Closes every connection and waits until what was asked over them has ended. */
  async stop(): Promise<void> {
    await this.#http.stop()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { control, log } = this.#components
    const [path = '/'] = (request.url ?? '/').split('?')
    if (path.startsWith(API_PREFIX)) {
      await control(request, response)
      return
    }
    try {
      await this.#showStatus(path, response)
    } catch (error) {
      log?.error('%s cannot be shown: %e', path, toError(error))
      send(response, 500, 'failed\n')
    }
  }

  async #showStatus(path: string, response: ServerResponse): Promise<void> {
    const { metrics, notReady } = this.#components
    if (path === '/healthz') {
      send(response, 200, 'ok\n')
    } else if (path === '/readyz') {
      const waiting = notReady()
      if (waiting.length === 0) send(response, 200, 'ready\n')
      else send(response, 503, `waiting for ${waiting.join(', ')}\n`)
    } else if (path === '/metrics') {
      const { text, contentType } = await metrics.page()
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
