import { timingSafeEqual } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse
} from 'node:http'
import { dirname } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { errorCode } from '../lib/errors.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { callAgent } from './control-client.ts'
import { AgentUnreachableError, BadRequestError, DataDirectoryError } from './errors.ts'
import {
  EXIT_CONFLICT,
  EXIT_NOT_FOUND,
  EXIT_UNREACHABLE,
  EXIT_USAGE,
  exitCodeOf
} from './exit-codes.ts'
import type { AgentOperations, LongOptions } from './operations.ts'

/** Everything below this path is the control API, version 1. */
export const API_PREFIX = '/api/v1/'

const MAX_BODY_BYTES = 64 * 1024
/** A unix socket's path must fit sockaddr_un. */
const MAX_SOCKET_PATH_BYTES = 107

interface Call {
  readonly query: URLSearchParams
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
}

type Handler = (call: Call, operations: AgentOperations) => Promise<unknown>

const HANDLERS: Readonly<Record<string, Handler>> = {
  'GET status': ({ signal }, operations) => operations.status({ signal }),
  'GET peers': (_call, operations) => operations.peers(),
  'GET providers': ({ signal }, operations) => operations.providers({ signal }),
  'GET swarm': ({ query, signal }, operations) =>
    operations.swarm(needed(query, 'ref'), { signal }),
  'GET ls': ({ query, signal }, operations) =>
    operations.list(query.get('path') ?? '/', { signal }),
  'GET log': ({ query, signal }, operations) => operations.log(needed(query, 'path'), { signal }),
  'GET stat': ({ query, signal }, operations) =>
    operations.stat(needed(query, 'ref'), { sha256: query.get('sha256') === 'true' }, { signal }),
  'GET cat': sendBytes,
  'POST mkdir': async ({ query, signal }, operations) => {
    await operations.makeDirectory(needed(query, 'path'), { signal })
    return {}
  },
  'POST mv': async ({ query, signal }, operations) => {
    await operations.rename(needed(query, 'from'), needed(query, 'to'), { signal })
    return {}
  },
  'POST rm': async ({ query, signal }, operations) => {
    await operations.remove(needed(query, 'ref'), { signal })
    return {}
  },
  'POST token': async ({ request }, operations) =>
    operations.createToken((await readJson(request)) as object),
  'PUT push': ({ query, request, signal }, operations) =>
    operations.push(
      {
        path: needed(query, 'path'),
        bytes: numberOf(query, 'bytes'),
        note: query.get('note') ?? undefined
      },
      request,
      { signal }
    ),
  'POST pull': ({ query, response, signal }, operations) =>
    sendProgress(response, signal, (options) =>
      operations.pull(
        {
          ref: needed(query, 'ref'),
          file: needed(query, 'file'),
          force: query.get('force') === 'true'
        },
        options
      )
    ),
  'POST verify': ({ query, response, signal }, operations) =>
    sendProgress(response, signal, (options) =>
      operations.verify(needed(query, 'ref'), { repair: query.get('repair') === 'true' }, options)
    )
}

/**
 * Answers the control API, HTTP with JSON. Operations with progress answer JSON lines: `{"progress":…}`
 * and at the end `{"result":…}` or `{"error":{"code","message"}}`. When the client goes away, what it
 * asked for is aborted.
 *
 * @param bearer when given, requests without `Authorization: Bearer …` are refused with 401.
 */
export function controlListener(
  operations: AgentOperations,
  logger: LoggerFactory,
  bearer?: string
): RequestListener {
  const log = logger.forComponent('blobswarm:agent:control')
  return (request, response) => {
    const abort = new AbortController()
    response.on('close', () => {
      if (!response.writableFinished) abort.abort(new Error('the client went away'))
    })
    const url = new URL(request.url ?? '/', 'http://agent')
    const name = `${request.method} ${url.pathname.slice(API_PREFIX.length)}`
    const handler = url.pathname.startsWith(API_PREFIX) ? HANDLERS[name] : undefined
    if (bearer !== undefined && !isAuthorized(request, bearer)) {
      sendJson(response, 401, { error: { code: 'ERR_UNAUTHORIZED', message: 'token needed' } })
      return
    }
    if (handler === undefined) {
      sendJson(response, 404, {
        error: { code: 'ERR_BAD_REQUEST', message: `no such call: ${name}` }
      })
      return
    }
    const call = { query: url.searchParams, request, response, signal: abort.signal }
    handler(call, operations)
      .then((result) => {
        if (result !== undefined) sendJson(response, 200, result)
        return undefined
      })
      .catch((thrown: unknown) => {
        const error = toError(thrown)
        log.debug('%s failed: %e', name, error)
        if (response.headersSent) response.destroy(error)
        else sendJson(response, httpStatusOf(error), { error: describeError(error) })
        request.resume()
      })
  }
}

/** The control API on a unix socket that only the agent's user can open. */
export class ControlServer {
  readonly #server: Server
  readonly #path: string

  constructor(operations: AgentOperations, logger: LoggerFactory, path: string) {
    this.#server = createServer(controlListener(operations, logger))
    this.#server.requestTimeout = 0 // an upload takes as long as it takes
    this.#path = path
  }

  /** @throws {DataDirectoryError} if another agent answers there, or the path is too long for a socket. */
  async start(): Promise<void> {
    if (Buffer.byteLength(this.#path) > MAX_SOCKET_PATH_BYTES) {
      throw new DataDirectoryError(
        this.#path,
        `longer than ${MAX_SOCKET_PATH_BYTES} bytes, which a unix socket cannot have (set control.socket)`
      )
    }
    await mkdir(dirname(this.#path), { recursive: true })
    if (await isAnswering(this.#path)) {
      throw new DataDirectoryError(this.#path, 'another agent answers there')
    }
    await rm(this.#path, { force: true })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const before = process.umask(0o077)
    this.#server.once('error', reject).listen(this.#path, resolve)
    process.umask(before)
    await promise
  }

  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    this.#server.closeAllConnections()
    await promise
  }
}

async function isAnswering(socket: string): Promise<boolean> {
  try {
    await callAgent(socket, 'GET', 'status')
    return true
  } catch (error) {
    return !(error instanceof AgentUnreachableError)
  }
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
  return undefined
}

async function sendProgress(
  response: ServerResponse,
  signal: AbortSignal,
  run: (options: LongOptions) => Promise<unknown>
): Promise<undefined> {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  const line = (value: object): void => void response.write(`${JSON.stringify(value)}\n`)
  try {
    line({ result: await run({ signal, onProgress: (progress) => line({ progress }) }) })
  } catch (thrown) {
    line({ error: describeError(toError(thrown)) })
  }
  response.end()
  return undefined
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(value)}\n`)
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

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new BadRequestError(`parameter ${name} is "${text}", wanted a whole number`)
  }
  return value
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const part of request.setEncoding('utf8')) {
    text += part as string
    if (text.length > MAX_BODY_BYTES) throw new BadRequestError('request is too long')
  }
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value
  } catch {}
  throw new BadRequestError('request is not a JSON object')
}
