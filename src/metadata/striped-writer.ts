import type { AbortOptions } from '../lib/abort-options.ts'
import type { Range } from '../lib/range-set.ts'
import { toError } from '../lib/to-error.ts'
import type { BlobWriterComponents, BlobWriterOptions } from './blob-writer-types.ts'
import { coveredRanges } from './claimed-leaves.ts'
import { UploadAbortedError } from './errors.ts'
import type { ExtentWriter } from './extent-writer.ts'
import { joinLeafLists } from './joined-leaves.ts'
import type { LeafList } from './leaf-list.ts'
import { type PublishVersionOptions, VersionPublisher } from './publishing.ts'
import type { ReceivedStripe } from './stripe-types.ts'
import type { BlobDescription, VersionSummary } from './types.ts'

/** What is written, and on which conditions. */
export interface StripedWriterOptions
  extends Omit<BlobWriterOptions, 'stagingFolder' | 'leaseMs' | 'continuing'> {
  /** Holds what a broken upload has stored, which this one goes on with; nothing is written to it. */
  readonly continued?: ExtentWriter | undefined
}

type Components = Pick<
  BlobWriterComponents,
  'versions' | 'metadata' | 'signer' | 'clock' | 'logger'
>

/**
 * One upload whose blocks others take and store, each with an extent writer of its own: what they
 * have stored becomes one new version of a blob.
 */
export class StripedWriter {
  readonly #components: Components
  readonly #options: StripedWriterOptions
  readonly #appendedAt: number | undefined
  readonly #failed = new AbortController()
  #noting: Promise<unknown> = Promise.resolve()

  private constructor(
    components: Components,
    options: StripedWriterOptions,
    appendedAt: number | undefined
  ) {
    this.#components = components
    this.#options = options
    this.#appendedAt = appendedAt
    const { notes, continued } = options
    notes?.onTakenOver((error) => this.#failed.abort(error))
    const onLost = (): void => this.#failed.abort(toError(continued?.signal.reason))
    continued?.signal.addEventListener('abort', onLost, { once: true })
  }

  /**
   * Opens an upload. Ended by one of `publish`, `suspend` and `abort`.
   *
   * @throws {UnknownBlobError} if the blob does not exist.
   */
  static async open(
    components: Components,
    options: StripedWriterOptions & AbortOptions
  ): Promise<StripedWriter> {
    const { description, mode } = options
    const isAppend = mode === 'append'
    const newest = isAppend
      ? await components.versions.newest(description.blob, options)
      : undefined
    return new StripedWriter(components, options, newest?.bytes)
  }

  /** The blob, for those who take the blocks. */
  get description(): BlobDescription {
    return this.#options.description
  }

  /** Where the upload begins in the blob. */
  get baseOffset(): number {
    return this.#appendedAt ?? 0
  }

  /** Aborted, with the reason, when the upload has lost what it goes on with, or its place. */
  get signal(): AbortSignal {
    return this.#failed.signal
  }

  /**
   * Writes down what somebody has stored for this upload, so that it can be continued from there.
   *
   * @returns what is noted now of these leaves, in bytes of the blob, as far as it is whole chunks.
   * @throws {UploadJournalError}
   */
  async note(leaves: LeafList): Promise<Iterable<Range>> {
    const noting = this.#noting.then(async () => await this.#note(leaves))
    this.#noting = noting.catch(() => {}) // the caller is told
    return await noting
  }

  /**
   * Makes what was stored visible at once, as one version. Where two have stored the same bytes, those
   * of the later one are seen.
   *
   * @param options `leases` are those of all who have stored something.
   * @throws {UploadAbortedError} if `isStillWanted` says no.
   * @throws {TicketConflictError} if a condition does not hold (any more).
   */
  async publish(
    stored: readonly ReceivedStripe[],
    options: PublishVersionOptions = {}
  ): Promise<VersionSummary> {
    const { description, mode, note, path, ifNewest, notes } = this.#options
    const logger = this.#components.logger.forComponent('blobswarm:metadata:striped-writer')
    const all = [...(await this.#continuedStripe(options)), ...stored]
    const leaves = joinLeafLists(all.map((stripe) => stripe.leaves))
    const ends = all.map(({ endBytes }) => endBytes)
    const write = {
      description,
      leaves,
      endBytes: Math.max(this.baseOffset, leaves.endBytes(description.chunkBytes), ...ends),
      truncates: mode === 'replace',
      appendedAt: this.#appendedAt,
      ifNewest,
      path,
      note
    }
    const publisher = new VersionPublisher({ ...this.#components, logger })
    const leases = this.#allLeases(options.leases)
    const summary = await publisher.publish(write, { ...options, leases })
    await this.#end()
    await notes?.remove()
    return summary
  }

  /** Ends the upload, but keeps what is noted, for one that continues it. */
  async suspend(): Promise<void> {
    await this.#end()
    this.#options.notes?.suspend()
  }

  /** Drops the upload. Harmless after `publish` and when called twice. */
  async abort(): Promise<void> {
    await this.#end()
    await this.#options.notes?.remove()
  }

  async #note(leaves: LeafList): Promise<Iterable<Range>> {
    const { notes, description } = this.#options
    if (notes === undefined || leaves.fragmentCount === 0) return []
    return (await notes.add(leaves)) ? coveredRanges(leaves, description.chunkBytes) : []
  }

  async #continuedStripe(options: AbortOptions): Promise<ReceivedStripe[]> {
    const { continued } = this.#options
    if (continued === undefined) return []
    await continued.finish(options)
    const leaves = await continued.build(options)
    return [{ receivedBytes: 0, endBytes: continued.endBytes, leaves }]
  }

  #allLeases(others: PublishVersionOptions['leases']): PublishVersionOptions['leases'] {
    const { continued } = this.#options
    if (continued === undefined) return others
    return {
      ensure: async (options) => {
        await continued.leases.ensure(options)
        await others?.ensure(options)
      },
      stop: async () => {
        await continued.leases.stop()
        await others?.stop()
      }
    }
  }

  async #end(): Promise<void> {
    await this.#noting
    await this.#options.continued?.stop(new UploadAbortedError('the upload is over'))
  }
}
