import type { Range } from '../../lib/range-set.ts'
import { CommandRefusedError } from '../errors.ts'
import type { Reply } from '../replies.ts'
import { streamOffsetOf } from '../restart-ranges.ts'
import { loggedIn, pathOf } from '../session-state.ts'
import { receiveUpload, sendDownload } from '../striping.ts'
import type { CommandContext } from '../types.ts'

/**
 * STOR: replaces the file; after REST n it writes over what is there, after REST with ranges it goes
 * on with an upload that broke.
 */
export async function store(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument).shown
  const offset = context.state.restartOffset ?? 0
  const mode = offset === 0 ? 'replace' : 'patch'
  // Extended blocks carry absolute offsets after REST.
  const request = { verb: 'STOR', path, mode, streamOffset: offset, blockOffset: 0 } as const
  return await receiveUpload(context, { ...request, arrived: arrivedRanges(context, 0) })
}

/**
 * STOU: stores under a new name, which the first reply tells: that of the argument or `upload`, and a
 * number.
 *
 * @see RFC 1123 §4.1.2.9
 */
export async function storeUnique(context: CommandContext, argument: string): Promise<Reply> {
  const path = await unusedPath(context, argument === '' ? 'upload' : argument)
  const request = { verb: 'STOU', path, mode: 'replace', streamOffset: 0, blockOffset: 0 } as const
  return await receiveUpload(context, { ...request, opening: `FILE: ${path}` })
}

/** APPE: writes behind the end of the file. */
export async function append(context: CommandContext, argument: string): Promise<Reply> {
  if ((context.state.restartRanges ?? []).length > 0) {
    throw new CommandRefusedError(501, 'APPE cannot be restarted from ranges.')
  }
  const path = pathOf(context.state, argument).shown
  const request = { verb: 'APPE', path, mode: 'append', streamOffset: 0, blockOffset: 0 } as const
  return await receiveUpload(context, request)
}

/** ESTO A offset path: writes over the file from an offset on. @see GFD.020, ESTO */
export async function extendedStore(context: CommandContext, argument: string): Promise<Reply> {
  const match = /^A (\d{1,16}) (.+)$/is.exec(argument)
  const offset = safeInteger(match?.[1])
  if (match === null || offset === undefined) {
    throw new CommandRefusedError(501, 'Only ESTO A <offset> <path> is known.')
  }
  const path = pathOf(context.state, match[2] ?? '').shown
  const arrived = arrivedRanges(context, offset)
  const place = { streamOffset: offset, blockOffset: offset, arrived }
  return await receiveUpload(context, { verb: 'ESTO', path, mode: 'patch', ...place })
}

/** RETR: the whole file, from REST n on, or without the ranges of REST. */
export async function retrieve(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument).shown
  const { mode, restartOffset, restartRanges = [] } = context.state
  if (mode === 'S') {
    const offset = restartOffset ?? streamOffsetOf(restartRanges)
    return await sendDownload(context, { verb: 'RETR', path, offset, base: 0 })
  }
  const arrived = arrivedRanges(context, 0)
  return await sendDownload(context, {
    verb: 'RETR',
    path,
    offset: restartOffset ?? 0,
    base: 0,
    arrived
  })
}

/** ERET P offset length path: a range, numbered from 0 on the wire. @see GFD.020, ERET */
export async function extendedRetrieve(context: CommandContext, argument: string): Promise<Reply> {
  const match = /^P (\d{1,16}) (\d{1,16}) (.+)$/is.exec(argument)
  const offset = safeInteger(match?.[1])
  const length = safeInteger(match?.[2])
  if (match === null || offset === undefined || length === undefined) {
    throw new CommandRefusedError(501, 'Only ERET P <offset> <length> <path> is known.')
  }
  const path = pathOf(context.state, match[3] ?? '').shown
  const arrived = arrivedRanges(context, offset)
  return await sendDownload(context, { verb: 'ERET', path, offset, length, base: offset, arrived })
}

/** Ranges of REST in bytes of the file; those of partial transfers count from their `base`. */
function arrivedRanges({ state }: CommandContext, base: number): readonly Range[] {
  const ranges = state.restartRanges ?? []
  if (ranges.length > 0 && state.mode === 'S') {
    throw new CommandRefusedError(501, 'Stream mode restarts from one offset: give MODE E.')
  }
  return ranges.map(({ start, end }) => ({ start: base + start, end: base + end }))
}

function safeInteger(text: string | undefined): number | undefined {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : undefined
}

/** Chance makes sure that nobody else chooses the same name before this upload is published. */
async function unusedPath(context: CommandContext, argument: string): Promise<string> {
  const { state, services } = context
  const { storage } = loggedIn(state)
  for (;;) {
    const number = Math.floor(services.random() * 2 ** 32)
    const path = pathOf(state, `${argument}.${number.toString(16).padStart(8, '0')}`)
    if ((await storage.stat(path.stored)) === undefined) return path.shown
  }
}
