import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { errorCode } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { BadRequestError } from './errors.ts'
import {
  EXIT_CONFLICT,
  EXIT_NOT_FOUND,
  EXIT_UNREACHABLE,
  EXIT_USAGE,
  exitCodeOf
} from './exit-codes.ts'
import type { Answer } from './http-listener.ts'
import type { AgentOperations, LongOptions, OperationProgress } from './operations.ts'

/** Everything below this path is the control API, version 1. */
export const API_PREFIX = '/api/v1/'

const MAX_BODY_BYTES = 64 * 1024

interface Call {
  readonly query: URLSearchParams
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
}

/** Answers a call; what it returns goes out as JSON, undefined when it has answered by itself. */
type Handler = (call: Call, operations: AgentOperations) => Promise<unknown>

const HANDLERS: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ['GET status', ({ signal }, operations) => operations.status({ signal })],
  ['GET peers', (_call, operations) => operations.peers()],
  ['GET providers', ({ signal }, operations) => operations.providers({ signal })],
  [
    'GET swarm',
    ({ query, signal }, operations) => operations.swarm(needed(query, 'ref'), { signal })
  ],
  [
    'GET ls',
    ({ query, signal }, operations) => operations.list(query.get('path') ?? '/', { signal })
  ],
  ['GET log', ({ query, signal }, operations) => operations.log(needed(query, 'path'), { signal })],
  [
    'GET stat',
    ({ query, signal }, operations) =>
      operations.stat(needed(query, 'ref'), { sha256: isSet(query, 'sha256') }, { signal })
  ],
  ['GET cat', sendBytes],
  [
    'POST mkdir',
    async ({ query, signal }, operations) => {
      await operations.makeDirectory(needed(query, 'path'), { signal })
      return {}
    }
  ],
  [
    'POST mv',
    async ({ query, signal }, operations) => {
      await operations.rename(needed(query, 'from'), needed(query, 'to'), { signal })
      return {}
    }
  ],
  [
    'POST rm',
    async ({ query, signal }, operations) => {
      await operations.remove(needed(query, 'ref'), { signal })
      return {}
    }
  ],
  [
    'POST token',
    async ({ request }, operations) => operations.createToken(await readTokenRequest(request))
  ],
  [
    'PUT push',
    async ({ query, request, signal }, operations) => {
      const note = query.get('note') ?? undefined
      const push = { path: needed(query, 'path'), bytes: numberOf(query, 'bytes'), note }
      return operations.push(push, request, { signal })
    }
  ],
  [
    'POST pull',
    async (call, operations) => {
      const { query } = call
      const [ref, file] = [needed(query, 'ref'), needed(query, 'file')]
      const pull = { ref, file, force: isSet(query, 'force') }
      return sendProgress(call, (options) => operations.pull(pull, options))
    }
  ],
  [
    'POST verify',
    async (call, operations) => {
      const [ref, repair] = [needed(call.query, 'ref'), isSet(call.query, 'repair')]
      return sendProgress(call, (options) => operations.verify(ref, { repair }, options))
    }
  ]
])

/**
 * Answers the control API, HTTP with JSON. Operations with progress answer JSON lines: `{"progress":…}`
 * and at the end `{"result":…}` or `{"error":{"code","message"}}`; one that fails before its first progress
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

async function sendBytes(call: Call, operations: AgentOperations): Promise<undefined> {
  const { query, response, signal } = call
  const range = { offset: numberOf(query, 'offset'), length: numberOf(query, 'length') }
  const { bytes, body } = await operations.cat(needed(query, 'ref'), range, { signal })
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-length': String(bytes)
  })
  await pipeline(body, response, { signal })
}

async function sendProgress(
  { response, signal }: Call,
  run: (options: LongOptions) => Promise<unknown>
): Promise<undefined> {
  const line = (value: object): void => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.write(`${JSON.stringify(value)}\n`)
  }
  const onProgress = (progress: OperationProgress): void => {
    if (!response.writableNeedDrain) line({ progress }) // a client that does not read misses some
  }
  try {
    line({ result: await run({ signal, onProgress }) })
  } catch (thrown) {
    if (!response.headersSent) throw thrown
    line({ error: describeError(toError(thrown)) })
  }
  response.end()
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(value)}\n`)
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

function describeError(error: Error): { code: string; message: string } {
  return { code: errorCode(error) ?? 'ERR_INTERNAL', message: error.message }
}

const STATUS_OF_EXIT: Readonly<Record<number, number>> = {
  [EXIT_USAGE]: 400,
  [EXIT_NOT_FOUND]: 404,
  [EXIT_CONFLICT]: 409,
  [EXIT_UNREACHABLE]: 503
}

function httpStatusOf(error: Error): number {
  return STATUS_OF_EXIT[exitCodeOf(error)] ?? 500
}

function isAuthorized(request: IncomingMessage, bearer: string): boolean {
  const given = Buffer.from(request.headers.authorization ?? '')
  const wanted = Buffer.from(`Bearer ${bearer}`)
  return given.byteLength === wanted.byteLength && timingSafeEqual(given, wanted)
}

function needed(query: URLSearchParams, name: string): string {
  const value = query.get(name)
  if (value === null || value === '') throw new BadRequestError(`parameter ${name} is missing`)
  return value
}

function isSet(query: URLSearchParams, name: string): boolean {
  return query.get(name) === 'true'
}

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new BadRequestError(`parameter ${name} is "${text}", wanted a whole number`)
  }
  return value
}

const tokenRequestSchema = z.strictObject({
  roles: z.array(z.string()).optional(),
  rights: z.array(z.string()).optional(),
  expiresMs: z.number().optional()
})

async function readTokenRequest(request: IncomingMessage) {
  let text = ''
  for await (const part of request.setEncoding('utf8')) {
    text += part as string
    if (text.length > MAX_BODY_BYTES) throw new BadRequestError('the request is too long')
  }
  const parsed = tokenRequestSchema.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new BadRequestError(`the request is malformed: ${issue?.path.join('.')} ${issue?.message}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new BadRequestError('the request is not JSON')
  }
}
