import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AgentError, AgentUnreachableError } from './errors.ts'
import type { OperationProgress } from './operations.ts'

export type Query = Readonly<Record<string, string | number | boolean | undefined>>

export interface CallOptions {
  readonly query?: Query
  /** Sent as it is when a stream, else as JSON. */
  readonly body?: Readable | object | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Calls the agent and parses its JSON answer.
 *
 * @throws {AgentUnreachableError} if nobody answers at the socket.
 * @throws {AgentError} with the code and message that the agent gave.
 */
export async function callAgent(
  socket: string,
  method: string,
  name: string,
  options: CallOptions = {}
): Promise<unknown> {
  const response = await openCall(socket, method, name, options)
  return JSON.parse(await readText(response)) as unknown
}

/** Calls an operation that reports progress; returns its result. */
export async function followAgent(
  socket: string,
  name: string,
  options: CallOptions,
  onProgress: (progress: OperationProgress) => void
): Promise<unknown> {
  const response = await openCall(socket, 'POST', name, options)
  for await (const text of linesOf(response, socket, options.signal)) {
    const line = JSON.parse(text) as {
      progress?: OperationProgress
      result?: unknown
      error?: { code: string; message: string }
    }
    if (line.progress !== undefined) onProgress(line.progress)
    if (line.error !== undefined) throw new AgentError(line.error.message, line.error.code)
    if (line.result !== undefined) return line.result
  }
  throw new AgentUnreachableError(socket, WENT_AWAY)
}

const WENT_AWAY = 'the agent went away in the middle of the operation'

async function* linesOf(
  response: IncomingMessage,
  socket: string,
  signal: AbortSignal | undefined
): AsyncGenerator<string> {
  let rest = ''
  try {
    for await (const part of response.setEncoding('utf8')) {
      const lines = (rest + (part as string)).split('\n')
      rest = lines.pop() ?? ''
      yield* lines
    }
  } catch (error) {
    signal?.throwIfAborted()
    throw new AgentUnreachableError(socket, WENT_AWAY, { cause: error })
  }
}

/** Calls the agent and gives the raw body of its answer. */
export async function openCall(
  socket: string,
  method: string,
  name: string,
  options: CallOptions = {}
): Promise<IncomingMessage> {
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined) query.set(key, String(value))
  }
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const outgoing = httpRequest({
    socketPath: socket,
    method,
    path: `/api/v1/${name}?${query.toString()}`,
    ...(options.signal === undefined ? {} : { signal: options.signal })
  })
  outgoing.once('response', resolve).once('error', (error) => {
    const { code } = error as NodeJS.ErrnoException
    const reason =
      code === undefined ? error.message : (REASONS[code] ?? `${code} ${error.message}`)
    reject(new AgentUnreachableError(socket, reason, { cause: error }))
  })
  const { body } = options
  if (body === undefined) outgoing.end()
  else if ('pipe' in body) pipeline(body, outgoing).catch(reject)
  else outgoing.end(JSON.stringify(body))
  const response = await promise
  if (response.statusCode === 200) return response
  const { error } = JSON.parse(await readText(response)) as {
    error: { code: string; message: string }
  }
  throw new AgentError(error.message, error.code)
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such socket; is an agent running with this data directory?',
  ECONNREFUSED: 'nobody listens there; the agent has stopped',
  EACCES: 'permission denied',
  ECONNRESET: 'the agent went away',
  EPIPE: 'the agent went away'
}

async function readText(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const part of response.setEncoding('utf8')) text += part as string
  return text
}
