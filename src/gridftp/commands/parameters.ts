import type { Range } from '../../lib/range-set.ts'
import { type Reply, reply } from '../replies.ts'
import { parseRestartPoint } from '../restart-ranges.ts'
import { loggedIn } from '../session-state.ts'
import type { CommandContext, TransferMode } from '../types.ts'

/**
 * TYPE. Both types move the bytes as they are: an image has no lines to convert.
 *
 * @see RFC 959 §3.1.1
 */
export function type({ state }: CommandContext, argument: string): Reply {
  switch (argument.trim().toUpperCase()) {
    case 'I':
    case 'L 8':
      state.type = 'I'
      return reply(200, 'Type set to I.')
    case 'A':
    case 'A N':
      state.type = 'A'
      return reply(200, 'Type set to A.')
    default:
      return reply(504, 'Type must be I or A.')
  }
}

/** MODE. A change drops cached data connections, whose peer would read them in the other mode. */
export function mode({ state, channel }: CommandContext, argument: string): Reply {
  const wanted = argument.trim().toUpperCase()
  if (wanted !== 'S' && wanted !== 'E') return reply(504, 'Mode must be S or E.')
  const next: TransferMode = wanted
  if (next !== state.mode) channel.dropUsed()
  state.mode = next
  return reply(200, `Mode set to ${next}.`)
}

/** STRU: files have no structure here. */
export function structure(_context: CommandContext, argument: string): Reply {
  if (argument.trim().toUpperCase() !== 'F') return reply(504, 'Structure must be F.')
  return reply(200, 'STRU F ok.')
}

/** ALLO n [R m]: the size of the next upload. */
export function allocate({ state }: CommandContext, argument: string): Reply {
  const match = /^\s*(\d{1,16})(?:\s+R\s+\d+)?\s*$/i.exec(argument)
  const bytes = Number(match?.[1])
  if (!Number.isSafeInteger(bytes)) return reply(501, 'Not a number of bytes.')
  state.announcedBytes = bytes // kept in any case: STOR is refused then before anything is sent
  const { quotaBytes } = loggedIn(state).user
  if (quotaBytes !== undefined && bytes > quotaBytes) {
    return reply(552, `${bytes} bytes exceed the quota of ${quotaBytes}.`)
  }
  return reply(200, 'ALLO command successful.')
}

/** REST n, or REST a-b,c-d with what has arrived already. @see RFC 3659 §5, GFD.020 */
export function restart({ state }: CommandContext, argument: string): Reply {
  const point = parseRestartPoint(argument)
  if (point === undefined) return reply(501, 'Neither an offset nor ranges a-b,c-d apart.')
  state.restartOffset = point.kind === 'offset' ? point.offset : undefined
  state.restartRanges = point.kind === 'ranges' ? point.ranges : undefined
  const where = point.kind === 'offset' ? `at ${point.offset}` : `without ${bytesIn(point.ranges)}`
  return reply(350, `Restart ${where}. Send STOR or RETR to initiate transfer.`)
}

function bytesIn(ranges: readonly Range[]): string {
  return `${ranges.reduce((sum, { start, end }) => sum + end - start, 0)} bytes that arrived`
}

/** Largest TCP buffer that is noted. */
const MAX_BUFFER_BYTES = 2 ** 31 - 1

/**
 * SBUF n, also by the names that SITE has for it. The size is noted and no more: the kernel sizes the
 * buffers of a connection itself, and does that better than most who ask.
 */
export function bufferSize({ state }: CommandContext, argument: string): Reply {
  const bytes = /^\d{1,12}$/.test(argument.trim()) ? Number(argument.trim()) : Number.NaN
  if (!(bytes <= MAX_BUFFER_BYTES)) return reply(501, 'Not a number of bytes.')
  state.bufferBytes = bytes === 0 ? undefined : bytes
  return reply(200, 'Noted; buffers are sized by the kernel.')
}

/** A marker that is not wanted comes once a day, which no transfer lives to see. */
const NEVER_MS = 24 * 3600 * 1000

/**
 * TREV PERF n, TREV RESTART n: seconds from one marker of an upload to the next; 0 leaves only those
 * at its begin and end.
 */
export function markerInterval({ state }: CommandContext, argument: string): Reply {
  const match = /^(\w+)\s+(\d{1,5})$/.exec(argument.trim())
  if (match === null) return reply(501, 'Syntax: TREV <PERF|RESTART> <seconds>')
  const intervalMs = Number(match[2]) * 1000 || NEVER_MS
  const event = match[1]?.toUpperCase()
  if (event === 'PERF') state.performanceIntervalMs = intervalMs
  else if (event === 'RESTART') state.restartIntervalMs = intervalMs
  else return reply(504, 'Only PERF and RESTART are known.')
  return reply(200, 'Marker interval set.')
}
