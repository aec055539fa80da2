import type { Clock } from '../lib/clock.ts'
import { PeerTimeoutError } from './errors.ts'
import type { Channel } from './types.ts'

/**
 * Sends a message to a peer that must take it in time: one that reads nothing would hold what its
 * answers are made of, so its channel is ended.
 *
 * @throws {PeerUnreachableError} if the channel has ended or was ended.
 */
export async function sendWithin(
  channel: Channel,
  parts: readonly Uint8Array[],
  { clock, timeoutMs }: { readonly clock: Clock; readonly timeoutMs: number }
): Promise<void> {
  const cancel = clock.schedule(() => {
    channel.abort(new PeerTimeoutError(channel.remote.peerId, 'by taking an answer', timeoutMs))
  }, timeoutMs)
  try {
    await channel.send(parts)
  } finally {
    cancel()
  }
}
