import type { Range } from '../lib/range-set.ts'
import type { LeafList } from '../metadata/leaf-list.ts'
import type { PublishVersionOptions } from '../metadata/publishing.ts'
import type { SignedEnvelope } from '../metadata/signature-types.ts'
import type { ReceivedStripe } from '../metadata/stripe-types.ts'
import type { BlobDescription } from '../metadata/types.ts'
import type { Published } from './dsi.ts'

/** One upload whose blocks data movers take and store. Ended by `publish`, `suspend` or `abort`. */
export interface StripedWriteHandle {
  /** What the movers store into. */
  readonly description: BlobDescription
  /** Where the upload begins in it. */
  readonly baseOffset: number
  /** Aborted, with the reason, when the upload has failed for another reason than a mover's. */
  readonly failed: AbortSignal
  /** Notes what a mover has stored. @returns what need not be sent again of it, in bytes of the file. */
  note(leaves: LeafList): Promise<Iterable<Range>>
  /** Ends the upload, but what was noted stays for a day. */
  suspend(): Promise<void>
  /** Drops the upload. Harmless after `publish` and when called twice. */
  abort(): Promise<void>
  /** Makes what the movers have stored visible at once. Throws as `WriteHandle.publish` does. */
  publish(stored: readonly ReceivedStripe[], options: PublishVersionOptions): Promise<Published>
  /** What a mover's failure is to who uses the storage. */
  explain(error: Error): Error
}

/** One file that data movers read. */
export interface StripedReadHandle {
  readonly bytes: number
  /** Record of its version. */
  readonly record: SignedEnvelope
  /** What a mover's failure is to who uses the storage. */
  explain(error: Error): Error
}
