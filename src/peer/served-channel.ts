/**
 * How a stream of one of our protocols begins: the serving side says whether it serves, before anything
 * else, so that a refusal comes with its reason.
 *
 * ```text
 * verdict, first message of the serving side
 *   0  1  0: served, nothing follows; 1: refused, the reason follows
 *   1     reason, UTF-8, at most 500 bytes
 * ```
 */
import type { AbortOptions } from '../chunks/types.ts'
import { concatBytes } from '../lib/bytes.ts'
import { ProtocolRefusedError, ProtocolViolationError } from './errors.ts'
import type { Channel, Member, ServeChannel } from './types.ts'

/** Bytes that a verdict may have; every protocol allows messages of at least this size. */
export const MAX_VERDICT_BYTES = 501

const SERVED = Uint8Array.of(0)
const REFUSED = Uint8Array.of(1)

/** Serves a channel if its remote is allowed to; closes it when done. @throws {unknown} what `handle` threw. */
export async function serveChannel(
  channel: Channel,
  handle: ServeChannel,
  allow: (member: Member) => boolean
): Promise<void> {
  if (allow(channel.remote)) {
    await channel.send([SERVED])
    await handle(channel)
  } else {
    const reason = 'neither role nor right for it'
    await channel.send([concatBytes([REFUSED, Buffer.from(reason, 'utf8')])])
  }
  await channel.close()
}

/** Waits until the other side serves the channel. @throws {ProtocolRefusedError} if it does not. */
export async function awaitVerdict(channel: Channel, options: AbortOptions): Promise<void> {
  const { remote, protocol } = channel
  for await (const verdict of channel.messages(options)) {
    if (verdict[0] === 0 && verdict.byteLength === 1) return
    if (verdict[0] !== 1 || verdict.byteLength > MAX_VERDICT_BYTES) {
      throw new ProtocolViolationError(remote.peerId, `its verdict on ${protocol} is none`)
    }
    const reason = Buffer.from(verdict.subarray(1)).toString('utf8')
    await channel.close()
    throw new ProtocolRefusedError(remote.peerId, protocol, reason)
  }
  throw new ProtocolRefusedError(remote.peerId, protocol, 'it closed the stream at once')
}
