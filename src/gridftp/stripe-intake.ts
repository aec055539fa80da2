import type { AbortOptions } from '../lib/abort-options.ts'
import { toError } from '../lib/to-error.ts'
import type { ExtentWriter } from '../metadata/extent-writer.ts'
import { type LeafList, LeafListBuilder } from '../metadata/leaf-list.ts'
import type { ReceivedStripe } from '../metadata/stripe-types.ts'
import { BlockReceiver } from './block-receiver.ts'
import type { DataChannel } from './data-channel.ts'
import { TransferAbortedError } from './errors.ts'
import type { StripeTransfer } from './stripe-transfer.ts'
import { UploadQueue } from './upload-queue.ts'

/** Where a stripe comes from and goes to. */
export interface StripeIntakeComponents {
  readonly extents: ExtentWriter
  readonly channel: DataChannel
  readonly transfer: StripeTransfer
}

/** Limits of a stripe that is received. */
export interface StripeIntakeOptions {
  readonly maxSockets: number
  readonly queueBytes?: number
  readonly queueDepth?: number
}

/** Receives one stripe of an upload into an extent writer, and keeps what was stored. */
export class StripeIntake {
  readonly #components: StripeIntakeComponents
  readonly #options: StripeIntakeOptions
  #isFinishing = false

  /** Takes over the extent writer. */
  constructor(components: StripeIntakeComponents, options: StripeIntakeOptions) {
    this.#components = components
    this.#options = options
  }

  /**
   * Takes blocks until the sender is done.
   *
   * @throws {DataChannelError} if a connection broke or sent nonsense, or the storage failed.
   */
  async run(blockOffset: number): Promise<ReceivedStripe> {
    const { extents, channel, transfer } = this.#components
    const { signal } = transfer
    const queue = this.#queue()
    const receiver = new BlockReceiver(queue, {
      offset: blockOffset,
      maxSockets: this.#options.maxSockets,
      onBytes: () => transfer.touch(),
      onStranger: (socket, reason) => channel.dropStranger(socket, reason)
    })
    const feed = channel.feed((socket) => {
      transfer.isConnected = true
      receiver.add(socket)
    })
    try {
      const sockets = await receiver.finished(signal)
      await queue.finish()
      this.#isFinishing = true
      await extents.finish({ signal })
      const leaves = await extents.build({ signal })
      channel.keep(sockets)
      const { receivedBytes } = receiver
      return { receivedBytes, endBytes: extents.endBytes, leaves }
    } catch (error) {
      const reason = toError(signal.aborted ? signal.reason : error)
      transfer.abort(reason) // ends writes that wait in the storage
      channel.discard(receiver.release())
      await queue.abort(reason)
      throw reason
    } finally {
      feed.stop()
    }
  }

  /** The sender is done. */
  get isFinishing(): boolean {
    return this.#isFinishing
  }

  /** What has been stored since the last call; nothing once the sender is done. */
  async checkpoint(): Promise<LeafList> {
    if (this.#isFinishing) return new LeafListBuilder().build()
    return await this.#components.extents.storedSince()
  }

  /** Resolves when what is stored is safe for half of a lease. @throws {ChunkLeaseLostError} */
  async ensure(options: AbortOptions): Promise<void> {
    await this.#components.extents.leases.ensure(options)
  }

  /** Renews leases no more, and drops what is not stored. */
  async close(): Promise<void> {
    await this.#components.extents.stop(new TransferAbortedError('the stripe is over'))
  }

  #queue(): UploadQueue {
    const { extents, transfer } = this.#components
    const { queueBytes, queueDepth } = this.#options
    return new UploadQueue(extents, {
      ...(queueBytes !== undefined && { queueBytes }),
      ...(queueDepth !== undefined && { queueDepth }),
      signal: transfer.signal,
      onError: (error) => transfer.abort(error),
      onWritten: (bytes) => transfer.add(bytes)
    })
  }
}
