import { toError } from '../lib/to-error.ts'
import type { Snapshot } from '../metadata/blob-reader.ts'
import type { OutgoingStripe, StripePart } from '../metadata/stripe-types.ts'
import { sendBlocks } from './block-sender.ts'
import type { DataChannel } from './data-channel.ts'
import type { DataSocket } from './data-socket.ts'
import { DataChannelError } from './errors.ts'
import { StripeBlocks } from './stripe-blocks.ts'
import { shareRanges } from './stripe-layout.ts'
import type { StripeTransfer } from './stripe-transfer.ts'

/** A target of a stripe. */
export interface OutletTarget {
  readonly channel: DataChannel
  /** Connections that the front was told of. */
  readonly count: number
}

/** What a stripe is sent from, and where to. */
export interface StripeOutlet {
  readonly snapshot: Snapshot
  /** Connected, one for each part of the stripe. */
  readonly targets: readonly OutletTarget[]
  readonly transfer: StripeTransfer
}

/**
 * Sends the parts of a stripe at the same time, each to its target.
 *
 * @throws {DataChannelError} if a connection breaks.
 */
export async function sendStripe(outlet: StripeOutlet, stripe: OutgoingStripe): Promise<void> {
  const { targets, transfer } = outlet
  const sending = targets.map(async (target, at) => {
    const part = stripe.parts[at]
    if (part === undefined) return
    try {
      await sendPart(outlet, stripe, { ...target, part })
    } catch (error) {
      transfer.abort(toError(error)) // the others need not go on
      throw error
    }
  })
  await Promise.allSettled(sending)
  transfer.signal.throwIfAborted()
}

async function sendPart(
  { snapshot, transfer }: StripeOutlet,
  stripe: OutgoingStripe,
  { channel, count, part }: OutletTarget & { readonly part: StripePart }
): Promise<void> {
  const { signal } = transfer
  const { sockets } = await channel.openForSending(1, signal)
  if (sockets.length !== count) {
    channel.discard(sockets)
    throw new DataChannelError(426, `${sockets.length} of ${count} data connections are left.`)
  }
  transfer.isConnected = true
  const { chunkBytes } = snapshot.record
  const blocks = new StripeBlocks(snapshot, shareRanges(part, stripe), {
    chunkBytes,
    base: stripe.base,
    signal
  })
  try {
    for (const socket of sockets) socket.watchForClose()
    await sendBlocks(sockets, blocks, {
      signal,
      onBytes: (bytes) => transfer.add(bytes),
      eodCount: part.sendsEof ? part.eodCount : 0,
      closes: stripe.closes
    })
    if (stripe.closes) await finishAll(sockets, signal)
    channel.keep(sockets)
  } catch (error) {
    channel.discard(sockets)
    throw error
  }
}

async function finishAll(sockets: readonly DataSocket[], signal: AbortSignal): Promise<void> {
  await Promise.all(sockets.map(async (socket) => socket.finish(signal)))
}
