import { exactly } from '../block-sender.ts'
import { CHECKSUM_ALGORITHMS, type ChecksumAlgorithm, findAlgorithm, isSumOf } from '../checksum.ts'
import type { ReadHandle } from '../dsi.ts'
import { CommandRefusedError, IsDirectoryError } from '../errors.ts'
import { type Reply, reply, replyWithLines } from '../replies.ts'
import { loggedIn, pathOf } from '../session-state.ts'
import type { CommandContext } from '../types.ts'
import { statusOf } from './namespace.ts'

/**
 * CKSM algorithm offset length path: the sum of a range of a file; length −1 is to its end, and what
 * lies behind the end counts as nothing. Computed from the bytes, never from what is remembered.
 *
 * @see GFD.020, CKSM
 */
export async function checksum(context: CommandContext, argument: string): Promise<Reply> {
  const match = /^(\S+) +(\d{1,15}) +(-1|\d{1,15}) (.+)$/s.exec(argument)
  if (match === null) return reply(501, 'Syntax: CKSM <algorithm> <offset> <length> <path>')
  const [, name = '', from, span, target = ''] = match
  const algorithm = knownAlgorithm(name)
  const path = pathOf(context.state, target)
  const status = await statusOf(context, path)
  if (status.type === 'directory') throw new IsDirectoryError(path.stored)
  const handle = await loggedIn(context.state).storage.openRead(path.stored)
  try {
    const offset = Math.min(Number(from), handle.bytes)
    const left = handle.bytes - offset
    const length = span === '-1' ? left : Math.min(Number(span), left)
    return reply(213, await sumOf(context, handle, { algorithm, offset, length }))
  } finally {
    await handle.close()
  }
}

/** SCKS algorithm sum: what the next STOR must have to be published. */
export function expectChecksum({ state }: CommandContext, argument: string): Reply {
  const [name = '', sum = '', ...more] = argument.trim().split(/\s+/)
  const algorithm = knownAlgorithm(name)
  if (more.length > 0 || !isSumOf(algorithm, sum)) return reply(501, `Not a sum of ${algorithm}.`)
  state.expectedChecksum = { algorithm, sum: sum.toLowerCase() }
  return reply(200, 'Checksum noted for the next STOR.')
}

interface Summed {
  readonly algorithm: ChecksumAlgorithm
  readonly offset: number
  readonly length: number
}

/** Reads ahead while the thread computes; ends early when the client says ABOR or goes. */
async function sumOf(
  context: CommandContext,
  handle: ReadHandle,
  { algorithm, offset, length }: Summed
): Promise<string> {
  const { services, signal } = context
  let bytes = 0
  const stopMarkers = sendMarkers(context, () => bytes)
  const sum = await services.checksums.begin(algorithm, length)
  try {
    for await (const piece of exactly(handle.read({ offset, length }, { signal }), length)) {
      signal.throwIfAborted()
      const count = piece.byteLength
      await sum.update(piece)
      bytes += count
    }
    const hex = await sum.end()
    signal.throwIfAborted()
    services.logger.debug('%s of %d bytes for %s', algorithm, bytes, context.peerHost)
    return hex
  } finally {
    stopMarkers()
    sum.drop()
  }
}

/** Sends status markers as often as OPTS CKSM said. */
function sendMarkers(context: CommandContext, bytes: () => number): () => void {
  const { clock } = context.services
  const intervalMs = context.state.checksumMarkerIntervalMs
  if (intervalMs === undefined) return () => {}
  const tick = (): void => {
    context.trySend(
      replyWithLines(113, 'Status Marker', [
        `Timestamp: ${(clock.now() / 1000).toFixed(1)}`,
        `Bytes Processed: ${bytes()}`
      ])
    )
    cancel = clock.schedule(tick, intervalMs)
  }
  let cancel = clock.schedule(tick, intervalMs)
  return () => cancel()
}

function knownAlgorithm(name: string): ChecksumAlgorithm {
  const algorithm = findAlgorithm(name)
  if (algorithm !== undefined) return algorithm
  throw new CommandRefusedError(504, `Only ${CHECKSUM_ALGORITHMS.join(', ')} are known.`)
}
