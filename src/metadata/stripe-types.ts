import type { AbortOptions } from '../lib/abort-options.ts'
import type { Range } from '../lib/range-set.ts'
import type { LeafList } from './leaf-list.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { BlobDescription } from './types.ts'

/** Most targets that one striped transfer may have, and most movers. */
export const MAX_STRIPES = 64

/** Most ranges of a file that one transfer may leave out. */
export const MAX_SENT_RANGES = 16_384

/** One end of a data connection: an IP address in text form and a port. */
export interface StripeAddress {
  readonly host: string
  readonly port: number
}

/** What the data connections of a session may be. */
export interface StripeAccess {
  /** The only address that they may come from and go to; any when left out. */
  readonly clientHost?: string | undefined
  /** Data connections that may be open at the same time. */
  readonly maxSockets: number
  /** A transfer fails when neither data nor the front's questions come for this long, in ms. */
  readonly idleMs: number
}

/** What a mover takes in: some of the blocks of one upload. */
export interface IncomingStripe {
  readonly description: BlobDescription
  /** Added to the offsets of blocks: partial transfers count from 0. */
  readonly blockOffset: number
  /** Where the upload begins in the blob: the end of the newest version, for an append. */
  readonly baseOffset: number
  /** `checkpoint` will be called. */
  readonly isRestartable: boolean
}

/** What a mover has stored. */
export interface ReceivedStripe {
  readonly receivedBytes: number
  /** End of what was written, in bytes from the start of the blob. */
  readonly endBytes: number
  readonly leaves: LeafList
}

/** Targets of a download, one for each port of the receiver that this mover sends to. */
export interface ConnectRequest {
  readonly targets: readonly StripeAddress[]
  /** Connections to each of them. */
  readonly parallelism: number
}

/** How many connections there are to each target, in their order. */
export interface ConnectedTargets {
  readonly counts: readonly number[]
  /** Those of the transfer before are used again. */
  readonly isReused: boolean
}

/**
 * The stripe blocks that a mover sends to one of its targets: those with a number k that has
 * `k mod targetCount = target` and `⌊k / targetCount⌋ mod shareCount = share`.
 */
export interface StripePart {
  readonly target: number
  readonly targetCount: number
  readonly share: number
  readonly shareCount: number
  /** Connections that all movers together have to the target: their EODs, which one EOF tells. */
  readonly eodCount: number
  /** This mover sends the EOF. */
  readonly sendsEof: boolean
}

/** What a mover sends: some of the blocks of one version. */
export interface OutgoingStripe {
  /** Record of the version (metadata/version-record.ts). */
  readonly record: SignedEnvelope
  /** Ranges of the version that are asked for, in order. */
  readonly ranges: readonly Range[]
  /** Subtracted from the offsets on the wire; the stripe blocks begin there too. */
  readonly base: number
  /** Bytes of a stripe block. */
  readonly stripeBytes: number
  /** One for each target of `connect`, in the same order. */
  readonly parts: readonly StripePart[]
  /** The connections are closed afterwards, which the last header says. */
  readonly closes: boolean
}

/** How far a transfer is. */
export interface StripeProgress {
  /** Payload that went over the data connections. */
  readonly movedBytes: number
  /** A data connection is or was there. */
  readonly isConnected: boolean
  /** The sender is done, and what it sent is being stored, however long that takes. */
  readonly isStoring: boolean
}

/**
 * A data mover's part in one control session of a front: a port or targets, the connections that
 * stay open from one transfer to the next, and one transfer at a time.
 */
export interface StripeSession {
  /** Who it is, in logs and replies. */
  readonly mover: string
  /** Opens a port for data, and drops whatever was open before. */
  listen(family: 1 | 2 | undefined, options?: AbortOptions): Promise<StripeAddress>
  /** Connects to targets, unless the connections of the transfer before are still there. */
  connect(request: ConnectRequest, options?: AbortOptions): Promise<ConnectedTargets>
  /**
   * Takes blocks until the sender is done, and stores them. The chunks stay safe from collection
   * until `release`.
   */
  receive(stripe: IncomingStripe, options?: AbortOptions): Promise<ReceivedStripe>
  /**
   * Waits for the chunks of a restartable `receive` that are on their way, and tells what has been
   * stored since the last call; nothing once the sender is done. Works until `release`, also after
   * the transfer has failed.
   */
  checkpoint(options?: AbortOptions): Promise<LeafList>
  /** Sends over the connections of `connect`. @returns bytes of payload. */
  send(stripe: OutgoingStripe, options?: AbortOptions): Promise<number>
  /** How far the transfer is that runs, or ran last; also says that the front is alive. */
  progress(options?: AbortOptions): Promise<StripeProgress>
  /** Resolves when the chunks of the last `receive` are safe for half of a lease. */
  ensure(options?: AbortOptions): Promise<void>
  /** Renews the leases of the last `receive` no more. */
  release(options?: AbortOptions): Promise<void>
  /** Ends the session and everything in it. Harmless when called twice. */
  close(): Promise<void>
}

/** An agent that carries data for the control sessions of fronts. */
export interface DataMover {
  readonly id: string
  open(access: StripeAccess, options?: AbortOptions): Promise<StripeSession>
}

/** The data movers of a cluster, as a front sees them. */
export interface DataMovers {
  /** Those that can be reached now, this agent's own first if it is one; a bounded number. */
  list(): readonly DataMover[]
}
