import type { CollectableProvider } from '../chunks/provider-types.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import type { Logger } from '../lib/logger.ts'
import { checkStateIsWhole } from './collection-guard.ts'
import { CollectionMarks } from './collection-marks.ts'
import { NodeSweep } from './collection-nodes.ts'
import { type CollectionMember, Participants, Tally } from './collection-participants.ts'
import { chunkSweep, LiveRecords, pageSweep, recordSweep, sweep } from './collection-sweep.ts'
import type { BlobRoots, CollectedVersions, CollectionReport } from './collection-types.ts'
import { RootUnreadableError } from './errors.ts'
import { pageFetcher } from './page-fetch.ts'
import type { CollectableMetadata, PageStore, RecordStore } from './store-types.ts'
import type { BlobId, Version, VersionRef } from './types.ts'

/** What a collection works with. */
export interface CollectionRunComponents {
  readonly versions: CollectedVersions
  /** Every provider there is, asked for anew for each collection. */
  readonly providers: (
    options: AbortOptions
  ) => Promise<readonly CollectionMember<CollectableProvider>[]>
  /** Every metadata provider there is. */
  readonly metadataProviders: () => readonly CollectionMember<CollectableMetadata>[]
  /** Where manifests, leaf lists and records are read. */
  readonly pages: Pick<PageStore, 'getPages'> & Pick<RecordStore, 'getRecords'>
  readonly clock: Pick<Clock, 'monotonic'>
  readonly logger: Logger
}

export interface CollectionRunOptions {
  readonly isDryRun: boolean
  readonly maxReads: number
  readonly maxStores: number
  readonly onProgress: (progress: {
    readonly phase: 'marking' | 'sweeping'
    readonly liveChunks: number
    readonly chunks: number
  }) => void
}

/**
 * One collection, from beginning to end; used once. The order of its steps is what makes it safe:
 *
 * ```text
 * begin    at every provider and metadata provider: what has a lease now, or gets one later, stays
 * roots    then policies are applied, and one snapshot of all blobs is taken
 * check    nothing is older than the state that the snapshot is of
 * mark     everything that the roots name
 * sweep    records, nodes, pages, chunks: what has no lease and no mark
 * forget   blobs of which nothing is left
 * ```
 *
 * What becomes reachable after the snapshot is named by a ticket that was asked for later, and
 * whoever asked for it had a lease on it then. Names go before what they name, so that a reader who
 * finds a record while this goes on, or after it was cut off, does not miss the pages and chunks
 * behind it. Otherwise it does not matter where a collection is cut off: the next one finds by
 * itself what this one has left.
 */
export class CollectionRun {
  readonly #components: CollectionRunComponents
  readonly #options: CollectionRunOptions
  readonly #marks: CollectionMarks
  readonly #providers: Participants<CollectableProvider>
  readonly #metadata: Participants<CollectableMetadata>
  readonly #tallies = {
    records: new Tally(),
    nodes: new Tally(),
    pages: new Tally(),
    chunks: new Tally()
  }

  constructor(components: CollectionRunComponents, options: CollectionRunOptions) {
    const { logger, pages } = components
    this.#components = components
    this.#options = options
    this.#marks = new CollectionMarks(pageFetcher(pages))
    this.#providers = new Participants(logger, options.maxStores)
    this.#metadata = new Participants(logger, options.maxStores)
  }

  /** @throws {RootUnreadableError} */
  async run(options: AbortOptions): Promise<CollectionReport> {
    const { versions, clock } = this.#components
    const { isDryRun } = this.#options
    const startedMs = clock.monotonic()
    await this.#begin(options)
    const retired = await versions.applyRetention({ isDryRun }, options)
    await this.#sealAll(await versions.roots(retired, options), options)
    const roots = await versions.roots(retired, options)
    await this.#checkState(roots, options)
    await this.#mark(roots, options)
    this.#report('sweeping')
    await this.#sweepMetadata(roots, options)
    await this.#sweepChunks(options)
    const forgottenBlobs = await this.#forget(roots, options)
    const { records, nodes, pages, chunks } = this.#tallies
    return {
      isDryRun,
      retiredVersions: retired.length,
      forgottenBlobs,
      chunks: chunks.sum,
      nodes: nodes.sum,
      pages: pages.sum,
      records: records.sum,
      liveChunks: this.#marks.chunkCount,
      missed: this.#missed,
      seconds: (clock.monotonic() - startedMs) / 1000
    }
  }

  get #missed(): ProviderId[] {
    return Array.from(new Set([...this.#providers.missed, ...this.#metadata.missed])).toSorted()
  }

  async #begin(options: AbortOptions): Promise<void> {
    const { providers, metadataProviders } = this.#components
    await Promise.all([
      this.#providers.begin(await providers(options), options),
      this.#metadata.begin(metadataProviders(), options)
    ])
  }

  /**
   * Seals what is not sealed yet, so that the roots that count name whole chunks only, and what
   * those versions were written over need not stay. What cannot be sealed now, for a full disk or a
   * lost chunk, does not hold up the rest.
   */
  async #sealAll(roots: readonly BlobRoots[], options: AbortOptions): Promise<void> {
    const { versions, logger } = this.#components
    await forEachConcurrently(
      refsOf(roots, ({ unsealed }) => unsealed),
      this.#options.maxReads,
      async (ref, signal) => {
        try {
          await versions.recordOf(ref, { signal })
        } catch (error) {
          signal.throwIfAborted()
          logger.info('version %d of %s is not sealed: %e', ref.version, ref.blob, error)
        }
      },
      options
    )
  }

  async #checkState(roots: readonly BlobRoots[], options: AbortOptions): Promise<void> {
    const { versions, pages: records } = this.#components
    const check = { beganMs: await versions.beganMs(options), roots, records }
    await this.#metadata.each(async (participant, each) => {
      await checkStateIsWhole(participant, check, each)
    }, options)
  }

  async #mark(roots: readonly BlobRoots[], options: AbortOptions): Promise<void> {
    const { maxReads } = this.#options
    await forEachConcurrently(
      refsOf(roots, sealedOf),
      maxReads,
      async (ref, signal) => await this.#markManifest(ref, { signal }),
      options
    )
    await forEachConcurrently(
      roots,
      maxReads,
      async ({ blob, leafLists }, signal) => {
        for (const list of leafLists) {
          await orUnreadable(blob, undefined, this.#marks.addLeafList(list, { signal }), signal)
        }
      },
      options
    )
  }

  async #markManifest(ref: VersionRef, options: AbortOptions): Promise<void> {
    const marking = async (): Promise<void> => {
      const { record } = await this.#components.versions.recordOf(ref, options)
      await this.#marks.addManifest(record.manifestRoot, options)
    }
    await orUnreadable(ref.blob, ref.version, marking(), options.signal)
    this.#report('marking')
  }

  async #sweepMetadata(roots: readonly BlobRoots[], options: AbortOptions): Promise<void> {
    const { isDryRun } = this.#options
    const { records, nodes, pages } = this.#tallies
    const blobs = roots.map(({ blob }) => blob)
    const paths = await this.#components.versions.pathsOf(blobs, options)
    const recordsSweep = recordSweep(new LiveRecords(roots, this.#marks, paths))
    await this.#metadata.each(async (participant, each) => {
      await sweep(participant, recordsSweep, { tally: records, isDryRun }, each)
    }, options)
    const nodeSweep = new NodeSweep({ versions: this.#components.versions, roots })
    await this.#metadata.each(async (participant, each) => {
      await nodeSweep.run(participant, { tally: nodes, isDryRun }, each)
    }, options)
    const pagesSweep = pageSweep(this.#marks)
    await this.#metadata.each(async (participant, each) => {
      await sweep(participant, pagesSweep, { tally: pages, isDryRun }, each)
    }, options)
  }

  async #sweepChunks(options: AbortOptions): Promise<void> {
    const { isDryRun } = this.#options
    const chunksSweep = chunkSweep(this.#marks)
    await this.#providers.each(async (participant, each) => {
      await sweep(participant, chunksSweep, { tally: this.#tallies.chunks, isDryRun }, each)
      this.#report('sweeping')
    }, options)
  }

  /** Where a metadata provider was missed, nodes may be left that only the blob's rows explain. */
  async #forget(roots: readonly BlobRoots[], options: AbortOptions): Promise<number> {
    if (this.#metadata.missed.size > 0) return 0
    const gone = roots.filter(isGone).map(({ blob }) => blob)
    if (gone.length === 0) return 0
    if (!this.#options.isDryRun) await this.#components.versions.forget(gone, options)
    return gone.length
  }

  #report(phase: 'marking' | 'sweeping'): void {
    const liveChunks = this.#marks.chunkCount
    this.#options.onProgress({ phase, liveChunks, chunks: this.#tallies.chunks.count })
  }
}

function* refsOf(
  roots: readonly BlobRoots[],
  pick: (root: BlobRoots) => readonly Version[]
): Generator<VersionRef> {
  for (const root of roots) for (const version of pick(root)) yield { blob: root.blob, version }
}

function sealedOf({ manifests, unsealed }: BlobRoots): Version[] {
  const open = new Set(unsealed)
  return manifests.filter((version) => !open.has(version))
}

/** Tells whether nobody can reach anything of a blob any more, now or later. */
function isGone({ manifests, trees, leafLists }: BlobRoots): boolean {
  return manifests.length === 0 && trees.length === 0 && leafLists.length === 0
}

async function orUnreadable(
  blob: BlobId,
  version: number | undefined,
  reading: Promise<void>,
  signal: AbortSignal | undefined
): Promise<void> {
  try {
    await reading
  } catch (error) {
    signal?.throwIfAborted()
    throw new RootUnreadableError(blob, version, { cause: error })
  }
}
