import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { errorCode } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import type { ByteRange } from '../metadata/types.ts'
import {
  EXIT_CONFLICT,
  EXIT_NOT_FOUND,
  EXIT_UNREACHABLE,
  EXIT_USAGE,
  exitCodeOf
} from './exit-codes.ts'
import type { DiffResult, LongOptions, OperationProgress } from './operations.ts'

/** One request of the control API. */
export interface Call {
  readonly query: URLSearchParams
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
}

const LINES = { 'content-type': 'application/x-ndjson' }

/** Ranges that one line lists at most. */
const RANGES_PER_LINE = 256

/** Answers with one JSON document. */
export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(value)}\n`)
}

/** Answers with bytes; their number is known beforehand. */
export async function sendBytes(
  { response, signal }: Call,
  { bytes, body }: { readonly bytes: number; readonly body: AsyncIterable<Uint8Array> }
): Promise<undefined> {
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-length': String(bytes)
  })
  await pipeline(body, response, { signal })
}

/** Answers with a line for each report of progress, and at the end with one for the result. */
export async function sendProgress(
  { response, signal }: Call,
  run: (options: LongOptions) => Promise<unknown>
): Promise<undefined> {
  const line = (value: object): void => {
    if (!response.headersSent) response.writeHead(200, LINES)
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

/** Answers with lines of ranges, as fast as the client reads them, and at the end with their sum. */
export async function sendDiff({ response, signal }: Call, diff: DiffResult): Promise<undefined> {
  const lines = linesOf(diff)
  const first = await lines.next() // what fails at once has a status of its own
  response.writeHead(200, LINES)
  async function* all(): AsyncGenerator<string, void> {
    if (first.done !== true) yield first.value
    try {
      yield* lines
    } catch (thrown) {
      yield `${JSON.stringify({ error: describeError(toError(thrown)) })}\n`
    }
  }
  await pipeline(all(), response, { signal })
}

async function* linesOf({ before, after, ranges }: DiffResult): AsyncGenerator<string, void> {
  let line: ByteRange[] = []
  let [rangeCount, changedBytes] = [0, 0]
  for await (const range of ranges) {
    rangeCount++
    changedBytes += range.length
    if (line.push(range) < RANGES_PER_LINE) continue
    yield `${JSON.stringify({ ranges: line })}\n`
    line = []
  }
  if (line.length > 0) yield `${JSON.stringify({ ranges: line })}\n`
  yield `${JSON.stringify({ result: { before, after, rangeCount, changedBytes } })}\n`
}

/** An error as an answer has it. */
export function describeError(error: Error): { code: string; message: string } {
  return { code: errorCode(error) ?? 'ERR_INTERNAL', message: error.message }
}

const STATUS_OF_EXIT: Readonly<Record<number, number>> = {
  [EXIT_USAGE]: 400,
  [EXIT_NOT_FOUND]: 404,
  [EXIT_CONFLICT]: 409,
  [EXIT_UNREACHABLE]: 503
}

/** The HTTP status of an error. */
export function httpStatusOf(error: Error): number {
  return STATUS_OF_EXIT[exitCodeOf(error)] ?? 500
}
