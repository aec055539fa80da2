import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { isPublished } from './blob-state.ts'
import { isGone, type RetiredRefs, type RootsView, refKey, rootsOf } from './collection-roots.ts'
import type { BlobRoots, CollectedVersions } from './collection-types.ts'
import type { DurableState } from './durable-state.ts'
import { UnknownVersionError } from './errors.ts'
import { chunksOf } from './geometry.ts'
import { versionsToRetire } from './retention.ts'
import type { SealQueue } from './seal-queue.ts'
import type { SignedVersionRecord } from './sealing-types.ts'
import type { AssignedVersion } from './ticket-types.ts'
import type { BlobId, ChunkRange, Version, VersionRef } from './types.ts'
import type { StateRow, VersionRow } from './version-rows.ts'

export interface LocalCollectedVersionsComponents {
  readonly state: DurableState
  readonly seals: Pick<SealQueue, 'record'>
  readonly clock: Clock
}

export interface LocalCollectedVersionsOptions {
  /** How old a blob without a path must be to count as removed. @default 1 day */
  readonly unnamedMs?: number | undefined
  /** How long a path stays reserved that nothing can be seen at. @default 7 days */
  readonly reservationMs?: number | undefined
}

const DAY_MS = 86_400_000

/** Rows of one message to the store. */
const ROWS_PER_WRITE = 5000

/** What collection is told by the version manager on this machine, whose state it shares. */
export class LocalCollectedVersions implements CollectedVersions {
  readonly #state: DurableState
  readonly #seals: Pick<SealQueue, 'record'>
  readonly #clock: Clock
  readonly #unnamedMs: number
  readonly #reservationMs: number
  readonly #view: RootsView

  constructor(
    { state, seals, clock }: LocalCollectedVersionsComponents,
    options: LocalCollectedVersionsOptions = {}
  ) {
    const { unnamedMs = DAY_MS, reservationMs = 7 * DAY_MS } = options
    this.#state = state
    this.#seals = seals
    this.#clock = clock
    this.#unnamedMs = unnamedMs
    this.#reservationMs = reservationMs
    this.#view = rootsView(state)
  }

  /** Forgets holds that have run out, and reservations of uploads that never finished. */
  dropStale(): StateRow[] {
    const { versions, namespace, holds } = this.#state
    const beforeMs = this.#clock.now() - this.#reservationMs
    const isUsed = (blob: BlobId): boolean =>
      versions.isOpen(blob) || versions.latest(blob) !== undefined
    return [...holds.dropEnded(), ...namespace.dropReservations(beforeMs, isUsed)]
  }

  async beganMs(options: AbortOptions = {}): Promise<number> {
    return await this.#state.read(() => this.#state.beganMs, options)
  }

  async applyRetention(
    { isDryRun }: { readonly isDryRun: boolean },
    options: AbortOptions = {}
  ): Promise<readonly VersionRef[]> {
    const { versions } = this.#state
    this.#state.begin(options)
    const rows = this.dropStale()
    const retired = this.#versionsToRetire()
    if (!isDryRun) {
      for (const { blob, version } of retired) rows.push(...versions.retire(blob, version).rows)
    }
    await this.#writeAll(rows)
    return retired
  }

  async roots(
    retired: readonly VersionRef[],
    options: AbortOptions = {}
  ): Promise<readonly BlobRoots[]> {
    const refs = new Set(retired.map(refKey))
    // What has nothing yet, such as the blob of an upload that has just begun, has no roots either,
    // but it is not one that nobody can reach.
    return await this.#state.read(
      () =>
        rootsOf(this.#view, refs).filter(
          (roots) => !isEmpty(roots) || this.#isForgettable(roots.blob, refs)
        ),
      options
    )
  }

  async pathsOf(blobs: readonly BlobId[], options: AbortOptions = {}): Promise<readonly string[]> {
    const { namespace } = this.#state
    return await this.#state.read(
      () => blobs.map((blob) => namespace.pathOf(blob)).filter((path) => path !== undefined),
      options
    )
  }

  async assigned(
    blob: BlobId,
    { from, to }: { readonly from: Version; readonly to: Version },
    options: AbortOptions = {}
  ): Promise<readonly AssignedVersion[]> {
    const { versions, coming } = this.#state
    if (coming.has(blob)) return []
    const { row, rows } = await this.#state.read(() => {
      const { row: described, versions: all } = versions.blob(blob)
      return { row: described, rows: all.slice(Math.max(0, from - 1), Math.max(0, to)) }
    }, options)
    const [first, last] = [rows.at(0), rows.at(-1)]
    if (first === undefined || last === undefined) return []
    const range = { from: first.version, to: last.version }
    const ranges = await this.#state.ranges(blob, range)
    return rows.map((version, at) => {
      const { bytes, span, previousSpan, truncates } = version
      // What is not known is taken to be as little as it can be: more stays than has to.
      const known = ranges[at] ?? leastRangesOf(version, row.chunkBytes)
      return { version: version.version, ranges: known, bytes, span, previousSpan, truncates }
    })
  }

  async recordOf(ref: VersionRef, options: AbortOptions = {}): Promise<SignedVersionRecord> {
    const { versions } = this.#state
    const { blob, version } = ref
    const { condition } = await this.#state.read(() => versions.summary(blob, version), options)
    if (condition !== 'published' && condition !== 'retired') {
      throw new UnknownVersionError(blob, version)
    }
    return await this.#seals.record(blob, version, options)
  }

  async forget(blobs: readonly BlobId[], options: AbortOptions = {}): Promise<void> {
    this.#state.begin(options)
    const { versions } = this.#state
    const asked = new Set(blobs)
    const rows = rootsOf(this.#view)
      .filter((roots) => asked.has(roots.blob) && isEmpty(roots))
      .filter(({ blob }) => this.#isForgettable(blob))
      .flatMap(({ blob }) => versions.forget(blob).rows)
    await this.#writeAll(rows)
  }

  /** The first collection after a change of policy may retire a great many. */
  async #writeAll(rows: readonly StateRow[]): Promise<void> {
    for (let from = 0; from === 0 || from < rows.length; from += ROWS_PER_WRITE) {
      await this.#state.write(rows.slice(from, from + ROWS_PER_WRITE))
    }
  }

  #isForgettable(id: BlobId, retired?: RetiredRefs): boolean {
    const blob = this.#state.versions.blob(id)
    if (isGone(this.#view, blob, retired)) return true
    const isOld = this.#clock.now() - blob.row.createdMs >= this.#unnamedMs
    return blob.published === 0 && isOld && !this.#view.hasPath(id)
  }

  #versionsToRetire(): VersionRef[] {
    const { versions, namespace, holds } = this.#state
    const nowMs = this.#clock.now()
    const retired: VersionRef[] = []
    for (const { row } of versions.blobs()) {
      const { blob } = row
      const policy = namespace.policyFor(blob)
      const numbers =
        policy === undefined
          ? this.#removedVersions(blob, nowMs)
          : versionsToRetire(policy, versions.history(blob), nowMs)
      if (numbers.length === 0) continue
      const kept = holds.keptVersions(blob)
      for (const version of numbers) if (!kept.has(version)) retired.push({ blob, version })
    }
    return retired
  }

  /** All that can be read of a blob that nobody can reach, and that nobody holds or writes. */
  #removedVersions(id: BlobId, nowMs: number): Version[] {
    const { versions, holds } = this.#state
    const { row, published, versions: all } = versions.blob(id)
    if (!row.isNamed && nowMs - row.createdMs < this.#unnamedMs) return []
    if (all.length > published) return []
    if (holds.keptVersions(id).size > 0) return []
    const readable = versions.history(id)
    return readable.some(({ isPinned }) => isPinned) ? [] : readable.map(({ version }) => version)
  }
}

/** The state as the rules of collection see it. */
export function rootsView({ versions, namespace, holds }: DurableState): RootsView {
  return {
    blobs: () => versions.blobs(),
    blob: (blob) => versions.blob(blob),
    seal: (ref) => versions.seal(ref),
    manifestBaseOf: (ref) => versions.manifestBaseOf(ref),
    basesOf: (row) => versions.basesOf(row),
    hasPath: (blob) => namespace.hasPath(blob),
    heldVersions: (blob) => holds.keptVersions(blob)
  }
}

function isEmpty({ manifests, trees, leafLists }: BlobRoots): boolean {
  return manifests.length + trees.length + leafLists.length === 0
}

function leastRangesOf(row: VersionRow, chunkBytes: number): readonly ChunkRange[] {
  if (!isPublished(row)) return row.ranges
  const end = chunksOf(row.bytes, chunkBytes)
  return row.truncates && end > 0 ? [{ start: 0, end }] : []
}
