/**
 * How a stream of one of our protocols but hello begins, so that a refusal comes with its reason.
 *
 * ```text
 * knock, first message of the opening side
 *   (empty)
 * verdict, first message of the serving side
 *   0  1  0: served, nothing follows; 1: refused, the reason follows
 *   1     reason, UTF-8, at most 500 bytes
 * ```
 *
 * The serving side keeps silent until the knock: what arrives together with the end of libp2p's own
 * negotiation of the protocol is lost there when the stream ends at once.
 */
import type { AbortOptions } from '../lib/abort-options.ts'
import { concatBytes } from '../lib/bytes.ts'
import { ProtocolRefusedError, ProtocolViolationError } from './errors.ts'
import { formatPermission, PROTOCOL_PERMISSIONS } from './rights.ts'
import type { Channel, Member } from './types.ts'

/** Bytes that a verdict may have; every protocol allows messages of at least this size. */
export const MAX_VERDICT_BYTES = 501

const KNOCK = new Uint8Array()
const SERVED = Uint8Array.of(0)
const REFUSED = Uint8Array.of(1)

/** Asks the other side to serve the channel. @throws {ProtocolRefusedError} if it does not. */
export async function knock(channel: Channel, options: AbortOptions): Promise<void> {
  const { remote, protocol } = channel
  await channel.send([KNOCK], options)
  const verdict = await firstMessage(channel, options)
  if (verdict === undefined) {
    throw new ProtocolRefusedError(remote.peerId, protocol, 'it closed the stream at once')
  }
  if (verdict[0] === 0 && verdict.byteLength === 1) return
  if (verdict[0] !== 1 || verdict.byteLength > MAX_VERDICT_BYTES) {
    throw new ProtocolViolationError(remote.peerId, `its verdict on ${protocol} is none`)
  }
  await channel.close()
  const reason = Buffer.from(verdict.subarray(1)).toString('utf8')
  throw new ProtocolRefusedError(remote.peerId, protocol, reason)
}

/** Waits for the knock and answers it. @returns whether the channel is to be served. */
export async function answerKnock(
  channel: Channel,
  allow: (member: Member) => boolean,
  options: AbortOptions
): Promise<boolean> {
  const { remote, protocol } = channel
  const knocked = await firstMessage(channel, options)
  if (knocked?.byteLength !== 0) {
    throw new ProtocolViolationError(remote.peerId, `it did not knock at ${protocol}`)
  }
  if (allow(remote)) {
    await channel.send([SERVED], options)
    return true
  }
  const permission = PROTOCOL_PERMISSIONS[protocol]
  const needed = permission === undefined ? '' : `: it needs ${formatPermission(permission)}`
  const reason = `neither role nor right for it${needed}`
  await channel.send([concatBytes([REFUSED, Buffer.from(reason, 'utf8')])], options)
  return false
}

async function firstMessage(
  channel: Channel,
  options: AbortOptions
): Promise<Uint8Array | undefined> {
  for await (const message of channel.messages(options)) return message
  return undefined
}
