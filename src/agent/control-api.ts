import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { describeError, httpStatusOf, sendJson } from './control-answer.ts'
import { HANDLERS } from './control-calls.ts'
import type { Answer } from './http-listener.ts'
import type { AgentOperations } from './operations.ts'

/** Everything below this path is the control API, version 1. */
export const API_PREFIX = '/api/v1/'

/**
 * Answers the control API, HTTP with JSON. Operations with progress answer JSON lines: `{"progress":…}`
 * (a diff `{"ranges":[…]}`) and at the end `{"result":…}` or `{"error":{"code","message"}}`; one that fails before its first progress
 * fails as all others do, with a status and `{"error":…}`. When the client goes away, what it asked for is
 * aborted.
 *
 * @param bearer when given, requests without `Authorization: Bearer …` are refused with 401.
 */
export function controlListener(
  operations: AgentOperations,
  logger: LoggerFactory,
  bearer?: string
): Answer {
  const log = logger.forComponent('blobswarm:agent:control')
  return async (request, response) => {
    const abort = new AbortController()
    response.on('close', () => {
      if (!response.writableFinished) abort.abort(new Error('the client went away'))
    })
    if (bearer !== undefined && !isAuthorized(request, bearer)) {
      const error = { code: 'ERR_UNAUTHORIZED', message: 'the token in DATA/http.token is needed' }
      sendJson(response, 401, { error })
      return
    }
    const { name, query } = parseCall(request)
    const handler = HANDLERS.get(name)
    if (handler === undefined) {
      const error = { code: 'ERR_BAD_REQUEST', message: `no such call: ${name}` }
      sendJson(response, 404, { error })
      return
    }
    try {
      const result = await handler({ query, request, response, signal: abort.signal }, operations)
      if (result !== undefined) sendJson(response, 200, result)
    } catch (thrown) {
      const error = toError(thrown)
      if (abort.signal.aborted) log.debug('%s ended: %e', name, abort.signal.reason)
      else sendFailure(response, error, { name, log })
    }
  }
}

function parseCall({ method, url = '/' }: IncomingMessage) {
  const [path = '/', ...rest] = url.split('?')
  const call = path.startsWith(API_PREFIX) ? path.slice(API_PREFIX.length) : path
  return { name: `${method} ${call}`, query: new URLSearchParams(rest.join('?')) }
}

function sendFailure(
  response: ServerResponse,
  error: Error,
  { name, log }: { readonly name: string; readonly log: Logger }
): void {
  if (!response.headersSent) {
    log.debug('%s failed: %e', name, error)
    sendJson(response, httpStatusOf(error), { error: describeError(error) })
    return
  }
  // Bytes are on their way: all that can be told to the client is that they are not whole.
  log.info('%s failed in the middle of its answer: %e', name, error)
  response.destroy()
}

function isAuthorized(request: IncomingMessage, bearer: string): boolean {
  const given = Buffer.from(request.headers.authorization ?? '')
  const wanted = Buffer.from(`Bearer ${bearer}`)
  return given.byteLength === wanted.byteLength && timingSafeEqual(given, wanted)
}
