import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { BlobswarmError } from '../lib/errors.ts'
import type { ByteRange } from '../metadata/types.ts'
import { AgentError, AgentUnreachableError } from './errors.ts'
import type { OperationProgress } from './operations.ts'

/** Parameters of a call; undefined ones are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>

/** What goes along with a call. */
export interface CallOptions {
  readonly query?: Query
  /** Sent as it is when a stream, else as JSON. A stream is destroyed when the call ends before it. */
  readonly body?: Readable | object | undefined
  /** Ends the call, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Calls the agent and parses its JSON answer.
 *
 * @throws {AgentUnreachableError} if nobody answers at the socket, or the answer breaks off.
 * @throws {AgentError} with the code and message that the agent gave.
 */
export async function callAgent(
  socket: string,
  method: string,
  name: string,
  options: CallOptions = {}
): Promise<unknown> {
  const response = await openCall(socket, method, name, options)
  return parseJson(await readText(response, socket, options.signal), socket)
}

/**
 * Calls an operation that reports progress.
 *
 * @returns its result.
 * @throws {AgentUnreachableError} if nobody answers at the socket, or the answer breaks off.
 * @throws {AgentError} with the code and message that the agent gave.
 */
export async function followAgent(
  socket: string,
  name: string,
  options: CallOptions,
  onProgress: (progress: OperationProgress) => void
): Promise<unknown> {
  const lines = answerLines(socket, 'POST', name, options)
  for (;;) {
    const { value, done } = await lines.next()
    if (done === true) return value
    if (value.progress !== undefined) onProgress(value.progress)
  }
}

/**
 * Calls an operation that answers line by line.
 *
 * @yields the lines before the last.
 * @returns the result that the last line has.
 * @throws {AgentUnreachableError} if nobody answers at the socket, or the answer breaks off.
 * @throws {AgentError} with the code and message that the agent gave.
 */
export async function* answerLines(
  socket: string,
  method: string,
  name: string,
  options: CallOptions
): AsyncGenerator<AnswerLine, unknown> {
  const response = await openCall(socket, method, name, options)
  let rest = ''
  for await (const part of partsOf(response.setEncoding('utf8'), socket, options.signal)) {
    const lines = (rest + (part as string)).split('\n')
    rest = lines.pop() ?? ''
    for (const text of lines) {
      const line = parseJson(text, socket) as AnswerLine & ErrorAnswer & { result?: unknown }
      if (line.error !== undefined) throw new AgentError(line.error.message, line.error.code)
      if (line.result !== undefined) return line.result
      yield line
    }
  }
  throw new AgentUnreachableError(socket, WENT_AWAY)
}

/** A line of an answer that is not the last. */
export interface AnswerLine {
  readonly progress?: OperationProgress
  /** Part of a diff. */
  readonly ranges?: readonly ByteRange[]
}

interface ErrorAnswer {
  readonly error?: { readonly code: string; readonly message: string }
}

/**
 * Calls the agent and gives its answer, whose body the caller reads, best with `partsOf`.
 *
 * @throws {AgentUnreachableError} if nobody answers at the socket.
 * @throws {AgentError} with the code and message that the agent gave.
 */
export async function openCall(
  socket: string,
  method: string,
  name: string,
  options: CallOptions = {}
): Promise<IncomingMessage> {
  const { query = {}, signal } = options
  const given = Object.entries(query).filter(([, value]) => value !== undefined)
  const parameters = new URLSearchParams(
    given.map(([key, value]): [string, string] => [key, String(value)])
  )
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const outgoing = httpRequest({
    socketPath: socket,
    method,
    path: `/api/v1/${name}?${parameters.toString()}`,
    ...(signal === undefined ? {} : { signal })
  })
  outgoing.once('response', resolve).on('error', (error: NodeJS.ErrnoException) => {
    if (signal?.aborted === true) reject(signal.reason)
    if (error instanceof BlobswarmError) reject(error) // of whoever makes the body
    const reason = REASONS[error.code ?? ''] ?? error.message
    reject(new AgentUnreachableError(socket, reason, { cause: error }))
  })
  sendBody(outgoing, options.body).catch(reject)
  const response = await promise
  if (response.statusCode === 200) return response
  try {
    const answer = parseJson(await readText(response, socket, signal), socket) as ErrorAnswer
    const { error = { code: 'ERR_INTERNAL', message: `HTTP ${response.statusCode}` } } = answer
    throw new AgentError(error.message, error.code)
  } finally {
    outgoing.destroy() // what is still to be sent is of no use any more
  }
}

async function sendBody(outgoing: ClientRequest, body: CallOptions['body']): Promise<void> {
  if (body === undefined) outgoing.end()
  else if ('pipe' in body) await pipeline(body, outgoing)
  else outgoing.end(JSON.stringify(body))
}

const WENT_AWAY = 'the agent stopped or failed in the middle of the operation'

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no agent answers, there is no such socket; is one running with this data directory?',
  ECONNREFUSED: 'no agent answers, it has stopped',
  EACCES: 'permission denied, the agent belongs to another user',
  ECONNRESET: WENT_AWAY,
  EPIPE: WENT_AWAY
}

/**
 * Reads an answer's body.
 *
 * @yields its parts, text if an encoding was set.
 * @throws {AgentUnreachableError} if the answer breaks off.
 */
export async function* partsOf(
  response: IncomingMessage,
  socket: string,
  signal: AbortSignal | undefined
): AsyncGenerator<string | Uint8Array, void, undefined> {
  try {
    yield* response
  } catch (error) {
    signal?.throwIfAborted()
    throw new AgentUnreachableError(socket, WENT_AWAY, { cause: error })
  }
}

async function readText(
  response: IncomingMessage,
  socket: string,
  signal: AbortSignal | undefined
): Promise<string> {
  const parts = await Array.fromAsync(partsOf(response.setEncoding('utf8'), socket, signal))
  return parts.join('')
}

function parseJson(text: string, socket: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new AgentUnreachableError(socket, 'what answers there is no agent', {
      cause: error
    })
  }
}
