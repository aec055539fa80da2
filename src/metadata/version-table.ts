import {
  type BlobState,
  isPublished,
  newestReadable,
  readableVersions,
  sourceSummaryOf,
  summaryOf
} from './blob-state.ts'
import { UnknownBlobError, UnknownVersionError } from './errors.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { BlobDescription, BlobId, Version, VersionRef, VersionSummary } from './types.ts'
import type { BlobRow, VersionRow } from './version-rows.ts'

/** Versions that are looked at for one that is sealed. */
const MAX_UNSEALED = 1024

/** A blob as the rules of versions change it. */
export interface ChangingBlob extends BlobState {
  row: BlobRow
  readonly versions: VersionRow[]
  published: Version
}

/** Blobs and versions as their rows say, and what can be asked of them. */
export class VersionTable {
  readonly #blobs = new Map<BlobId, ChangingBlob>()
  /** Versions that are assigned or fenced, by blob and version. */
  readonly #open = new Map<string, VersionRow>()
  /** Newest published version when a version was fenced, by blob and version. */
  readonly #repairBases = new Map<string, Version>()

  /** Takes rows of an earlier run: blobs before their versions, versions in order. */
  load(row: BlobRow | VersionRow): void {
    if (row.kind === 'blob') {
      this.#blobs.set(row.blob, { row, versions: [], published: 0 })
      return
    }
    const blob = this.changing(row.blob)
    if (row.version !== blob.versions.length + 1) {
      throw new RangeError(`version ${row.version} follows version ${blob.versions.length}`)
    }
    this.put(blob, row)
    if (isPublished(row)) blob.published = row.version
  }

  describe(blob: BlobId): BlobDescription | undefined {
    const row = this.#blobs.get(blob)?.row
    if (row === undefined) return undefined
    const { chunkBytes, replicas, createdMs } = row
    return { blob, chunkBytes, replicas, createdMs }
  }

  /** Newest assigned version and its size. @throws {UnknownBlobError} */
  newest(blobId: BlobId): { version: Version; bytes: number } {
    const blob = this.changing(blobId)
    const last = blob.versions.at(-1)
    if (last === undefined) return { version: 0, bytes: blob.row.source?.bytes ?? 0 }
    return { version: last.version, bytes: last.bytes }
  }

  /**
   * Newest version that can be read, a clone's version 0 among them; undefined if there is none.
   *
   * @throws {UnknownBlobError}
   */
  latest(blob: BlobId): VersionSummary | undefined {
    return newestReadable(this.changing(blob))
  }

  /** Seal of the newest version that can be read and has one, among the last 1,024. */
  newestSeal(blobId: BlobId): SignedEnvelope | undefined {
    const { row, versions, published } = this.changing(blobId)
    for (let at = published - 1; at >= Math.max(0, published - MAX_UNSEALED); at--) {
      const version = versions[at]
      if (version?.condition === 'published' && version.seal !== undefined) return version.seal
    }
    return row.source?.isRetired === false ? row.source.seal : undefined
  }

  /**
   * Versions above `after` that can be read, oldest first, at most `limit`.
   *
   * @throws {UnknownBlobError}
   */
  history(blob: BlobId, after?: Version, limit = Number.POSITIVE_INFINITY): VersionSummary[] {
    const versions: VersionSummary[] = []
    for (const version of readableVersions(this.changing(blob), after)) {
      if (versions.length >= limit) break
      versions.push(version)
    }
    return versions
  }

  /** @throws {UnknownBlobError | UnknownVersionError} if it was never assigned. */
  summary(blob: BlobId, version: Version): VersionSummary {
    const source = version === 0 ? sourceSummaryOf(this.changing(blob).row) : undefined
    return source ?? summaryOf(this.version(blob, version))
  }

  /**
   * The row of a version.
   *
   * @throws {UnknownBlobError | UnknownVersionError} if it was never assigned.
   */
  version(blob: BlobId, version: Version): VersionRow {
    const row = this.changing(blob).versions[version - 1]
    if (row === undefined) throw new UnknownVersionError(blob, version, 'was never assigned')
    return row
  }

  /** What a version was written over: the version below, in a clone's first one the source. */
  parentOf(blobId: BlobId, version: Version): VersionRef | undefined {
    if (version > 1) return { blob: blobId, version: version - 1 }
    return this.changing(blobId).row.source?.version
  }

  /**
   * The version whose manifest that of this one is made from: the version below, or what is cloned;
   * undefined for one that truncates or is the first.
   */
  manifestBaseOf({ blob, version }: VersionRef): VersionRef | undefined {
    if (version === 0) return this.changing(blob).row.source?.version
    return this.version(blob, version).truncates ? undefined : this.parentOf(blob, version)
  }

  /** @throws {UnknownBlobError | UnknownVersionError} if the version cannot be read. */
  checkReadable(blob: BlobId, version: Version): VersionSummary {
    const summary = this.summary(blob, version)
    if (summary.condition === 'published') return summary
    const reason = summary.condition === 'retired' ? 'was removed' : 'is not published'
    throw new UnknownVersionError(blob, version, reason)
  }

  /** Signed record of a version; undefined until it is sealed. @throws as `summary` does */
  seal({ blob, version }: VersionRef): SignedEnvelope | undefined {
    const source = version === 0 ? this.changing(blob).row.source : undefined
    return source === undefined ? this.version(blob, version).seal : source.seal
  }

  /** A blob with its versions. @throws {UnknownBlobError} */
  blob(blob: BlobId): BlobState {
    return this.changing(blob)
  }

  /** All blobs, in the order in which they were made or loaded. */
  blobs(): Iterable<BlobState> {
    return this.#blobs.values()
  }

  /** Tells whether versions of a blob are in flight, that is assigned and not yet published. */
  isOpen(blobId: BlobId): boolean {
    const { versions, published } = this.changing(blobId)
    return versions.length > published
  }

  /** Lowest version of a blob that is pinned. */
  firstPinned(blob: BlobId): Version | undefined {
    for (const { version, isPinned } of readableVersions(this.changing(blob))) {
      if (isPinned) return version
    }
    return undefined
  }

  /** Number of versions that `open` yields. */
  get openCount(): number {
    return this.#open.size
  }

  /** Versions that wait for their writer, or for who finishes them in its place. */
  open(): Iterable<VersionRow> {
    return this.#open.values()
  }

  /**
   * Versions of the same blob that the tree of a version in flight may be woven into, by its writer
   * and by who finishes it; 0 for what a clone stands for, or nothing.
   */
  basesOf({ blob, version, base }: VersionRow): Version[] {
    const repair = this.#repairBases.get(`${blob}/${version}`)
    return repair === undefined ? [base] : [base, repair]
  }

  /** @yields every blob's newest version that can be read, where an earlier run has not sealed it. */
  *newestUnsealed(): Generator<VersionRef> {
    for (const blob of this.#blobs.values()) {
      const newest = newestReadable(blob)
      if (newest === undefined) continue
      const ref = { blob: blob.row.blob, version: newest.version }
      if (this.seal(ref) === undefined) yield ref
    }
  }

  protected addBlob(row: BlobRow): void {
    if (this.#blobs.has(row.blob)) throw new RangeError(`blob ${row.blob} exists already`)
    this.#blobs.set(row.blob, { row, versions: [], published: 0 })
  }

  protected removeBlob(blob: BlobId): void {
    this.#blobs.delete(blob)
  }

  /** @throws {UnknownBlobError} */
  protected changing(blob: BlobId): ChangingBlob {
    const known = this.#blobs.get(blob)
    if (known === undefined) throw new UnknownBlobError(blob)
    return known
  }

  protected put(blob: ChangingBlob, row: VersionRow): void {
    blob.versions[row.version - 1] = row
    const key = `${row.blob}/${row.version}`
    if (row.condition === 'assigned' || row.condition === 'fenced') this.#open.set(key, row)
    else this.#open.delete(key)
    if (isPublished(row)) this.#repairBases.delete(key)
  }

  /** Notes that somebody is going to finish a version, over what is published now. */
  protected noteRepair(blob: BlobId, version: Version): void {
    this.#repairBases.set(`${blob}/${version}`, this.changing(blob).published)
  }
}
