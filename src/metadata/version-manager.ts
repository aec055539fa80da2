import { MAX_CHUNK_BYTES } from '../chunks/chunk-size.ts'
import {
  MetadataLimitError,
  TicketConflictError,
  UnknownBlobError,
  UnknownVersionError
} from './errors.ts'
import { chunksOf, spanFor } from './geometry.ts'
import { MAX_IN_FLIGHT_RANGES, MAX_IN_FLIGHT_VERSIONS } from './tickets.ts'
import type {
  AssignedVersion,
  BlobDescription,
  BlobId,
  CreateBlobRequest,
  NodeRef,
  RootRef,
  SignedEnvelope,
  Ticket,
  TicketRequest,
  Version,
  VersionSummary
} from './types.ts'
import { checkByteCount, checkConditions, checkRequest, rangesOf } from './version-requests.ts'
import type { BlobRow, StateRow, VersionRow } from './version-rows.ts'

export interface VersionManagerStateOptions {
  /** How long a writer has between its ticket, or a renewal, and its commit. @default 30000 */
  readonly leaseMs?: number
}

/** What a transition gives back, and the rows that must be durable before anybody is told. */
export interface Change<T> {
  readonly result: T
  readonly rows: readonly StateRow[]
}

interface Blob {
  readonly row: BlobRow
  /** Version v stands at v − 1. */
  readonly versions: VersionRow[]
  /** Every version up to this one is published or retired. */
  published: Version
}

const MAX_REPLICAS = 64

/**
 * The rules of versions, without I/O: tickets in order, publication in order, leases. Its state
 * is the rows that it was given and has given out; a version goes assigned → committed →
 * published → retired, with fenced beside assigned once its lease has run out.
 */
export class VersionManagerState {
  readonly #leaseMs: number
  readonly #blobs = new Map<BlobId, Blob>()
  /** Versions that are assigned or fenced, by blob and version. */
  readonly #open = new Map<string, VersionRow>()

  constructor(options: VersionManagerStateOptions = {}) {
    const { leaseMs = 30_000 } = options
    if (!(leaseMs > 0)) throw new RangeError(`a lease of ${leaseMs} ms`)
    this.#leaseMs = leaseMs
  }

  /** Takes rows of an earlier run: blobs before their versions, versions in order. */
  load(row: BlobRow | VersionRow): void {
    if (row.kind === 'blob') {
      this.#blobs.set(row.blob, { row, versions: [], published: 0 })
      return
    }
    const blob = this.#blob(row.blob)
    if (row.version !== blob.versions.length + 1) {
      throw new RangeError(`version ${row.version} follows version ${blob.versions.length}`)
    }
    this.#put(blob, row)
    if (isPublished(row)) blob.published = row.version
  }

  /** Adds a blob without versions. @throws {MetadataLimitError | RangeError} */
  createBlob(blob: BlobId, request: CreateBlobRequest, nowMs: number): Change<BlobDescription> {
    const { chunkBytes, replicas, sizeHint = 0 } = request
    if (!Number.isInteger(Math.log2(chunkBytes)) || chunkBytes > MAX_CHUNK_BYTES) {
      throw new RangeError(`a chunk cannot have ${chunkBytes} bytes`)
    }
    if (!Number.isInteger(replicas) || replicas < 1 || replicas > MAX_REPLICAS) {
      throw new RangeError(`${replicas} replicas`)
    }
    const hintSpan = spanFor(chunksOf(checkByteCount(sizeHint), chunkBytes))
    const description = { blob, chunkBytes, replicas, createdMs: nowMs }
    return this.#addBlob({ kind: 'blob', ...description, hintSpan, source: undefined })
  }

  /**
   * Adds a blob whose version 0 stands for a published version of another. O(1).
   *
   * @throws {UnknownBlobError | UnknownVersionError}
   */
  cloneBlob(blob: BlobId, from: NodeRef, nowMs: number): Change<BlobDescription> {
    const source = this.#blob(from.blob)
    const version = this.checkReadable(from.blob, from.version)
    const root = { blob: from.blob, version: from.version, span: version.span }
    const { chunkBytes, replicas } = source.row
    return this.#addBlob({
      kind: 'blob',
      blob,
      chunkBytes,
      replicas,
      createdMs: nowMs,
      hintSpan: version.span,
      source: { version: from, root, bytes: version.bytes }
    })
  }

  describe(blob: BlobId): BlobDescription | undefined {
    const row = this.#blobs.get(blob)?.row
    if (row === undefined) return undefined
    const { chunkBytes, replicas, createdMs } = row
    return { blob, chunkBytes, replicas, createdMs }
  }

  /**
   * Gives the next version of a blob to a writer: → assigned. The size never shrinks from version
   * to version, except by one that truncates, and it counts what is assigned, not only what is
   * published.
   *
   * @throws {UnknownBlobError | TicketConflictError | MetadataLimitError | RangeError}
   */
  assign(request: TicketRequest, nowMs: number): Change<Ticket> {
    const blob = this.#blob(request.blob)
    const newest = this.newest(request.blob)
    checkRequest(request)
    checkConditions(request, newest)
    const { truncates, endBytes, writer, leafList, note = '' } = request
    const { chunkBytes } = blob.row
    const bytes = truncates ? endBytes : Math.max(newest.bytes, endBytes)
    const previousSpan = blob.versions.at(-1)?.span ?? blob.row.source?.root?.span ?? 0
    const needed = spanFor(Math.max(1, chunksOf(bytes, chunkBytes)))
    const row: VersionRow = {
      kind: 'version',
      blob: request.blob,
      version: newest.version + 1,
      condition: 'assigned',
      ranges: rangesOf(request, chunkBytes),
      bytes,
      previousSpan,
      span: Math.max(previousSpan, blob.row.hintSpan, needed),
      truncates,
      writer,
      leafList,
      note,
      assignedMs: nowMs,
      publishedMs: 0,
      leaseUntilMs: nowMs + this.#leaseMs,
      seal: undefined
    }
    this.#checkInFlight(blob, row)
    this.#put(blob, row)
    return { result: this.ticket(row.blob, row.version), rows: [row] }
  }

  /**
   * Makes the ticket of a version that is not published, from what is known now. A later ticket
   * of the same version names fewer versions in flight and a newer base, and weaves the same
   * nodes.
   */
  ticket(blobId: BlobId, version: Version): Ticket {
    const blob = this.#blob(blobId)
    const row = this.version(blobId, version)
    if (isPublished(row)) throw new TicketConflictError(`version ${version} is ${row.condition}`)
    const { writer, leafList, leaseUntilMs } = row
    return {
      ...assignedOf(row),
      blob: blobId,
      chunkBytes: blob.row.chunkBytes,
      writer,
      leafList,
      leaseUntilMs,
      inFlight: blob.versions.slice(blob.published, version - 1).map(assignedOf),
      base: this.#baseOf(blob)
    }
  }

  /**
   * Extends the lease of a version that is still assigned.
   *
   * @throws {UnknownVersionError | TicketConflictError}
   */
  renew(blob: BlobId, version: Version, nowMs: number): Change<number> {
    const row = this.version(blob, version)
    if (row.condition !== 'assigned') {
      throw new TicketConflictError(`version ${version} is ${row.condition}, no longer assigned`)
    }
    const leaseUntilMs = Math.max(row.leaseUntilMs, nowMs + this.#leaseMs)
    return this.#change(row, { leaseUntilMs }, leaseUntilMs)
  }

  /** assigned → fenced, and stays so: its writer was too slow and is going to be helped. */
  fence(blob: BlobId, version: Version): Change<void> {
    const row = this.version(blob, version)
    if (row.condition === 'fenced') return { result: undefined, rows: [] }
    if (row.condition !== 'assigned') {
      throw new TicketConflictError(`version ${version} is ${row.condition}, it cannot be fenced`)
    }
    return this.#change(row, { condition: 'fenced' }, undefined)
  }

  /**
   * assigned, fenced → committed; then the longest finished prefix → published. Again does nothing.
   *
   * @returns the versions that became published, oldest first.
   */
  commit(blobId: BlobId, version: Version, nowMs: number): Change<readonly VersionRow[]> {
    const blob = this.#blob(blobId)
    const row = this.version(blobId, version)
    if (row.condition !== 'assigned' && row.condition !== 'fenced') return { result: [], rows: [] }
    this.#put(blob, { ...row, condition: 'committed' })
    const published: VersionRow[] = []
    for (;;) {
      const next = blob.versions[blob.published]
      if (next?.condition !== 'committed') break
      const before = blob.versions[blob.published - 1]?.publishedMs ?? 0
      const publishedMs = Math.max(nowMs, before)
      // What it rewrote matters only while others link to it unseen.
      const shown: VersionRow = { ...next, condition: 'published', publishedMs, ranges: [] }
      this.#put(blob, shown)
      blob.published = next.version
      published.push(shown)
    }
    const rows = published.length > 0 ? published : [this.version(blobId, version)]
    return { result: published, rows }
  }

  /** published → retired: hidden from readers, its tree stays what later versions stand on. */
  retire(blob: BlobId, version: Version): Change<void> {
    const row = this.version(blob, version)
    if (row.condition === 'retired') return { result: undefined, rows: [] }
    if (row.condition !== 'published') throw new UnknownVersionError(blob, version)
    return this.#change(row, { condition: 'retired' }, undefined)
  }

  /** Keeps the signed record of a published version. */
  sealed(blob: BlobId, version: Version, seal: SignedEnvelope): Change<void> {
    const row = this.version(blob, version)
    if (!isPublished(row)) throw new UnknownVersionError(blob, version)
    return this.#change(row, { seal }, undefined)
  }

  /** Newest assigned version and its size. @throws {UnknownBlobError} */
  newest(blobId: BlobId): { version: Version; bytes: number } {
    const blob = this.#blob(blobId)
    const last = blob.versions.at(-1)
    if (last === undefined) return { version: 0, bytes: blob.row.source?.bytes ?? 0 }
    return { version: last.version, bytes: last.bytes }
  }

  /** Newest version that can be read; undefined if there is none. @throws {UnknownBlobError} */
  latest(blobId: BlobId): VersionSummary | undefined {
    const blob = this.#blob(blobId)
    for (let version = blob.published; version > 0; version--) {
      const row = blob.versions[version - 1]
      if (row?.condition === 'published') return summaryOf(row)
    }
    return undefined
  }

  /** Versions that can be read, oldest first. @throws {UnknownBlobError} */
  history(blobId: BlobId): VersionSummary[] {
    const { versions } = this.#blob(blobId)
    return versions.filter(({ condition }) => condition === 'published').map(summaryOf)
  }

  /** @throws {UnknownBlobError | UnknownVersionError} if it was never assigned. */
  summary(blob: BlobId, version: Version): VersionSummary {
    return summaryOf(this.version(blob, version))
  }

  /**
   * The row of a version.
   *
   * @throws {UnknownBlobError | UnknownVersionError} if it was never assigned.
   */
  version(blob: BlobId, version: Version): VersionRow {
    const row = this.#blob(blob).versions[version - 1]
    if (row === undefined) throw new UnknownVersionError(blob, version, 'was never assigned')
    return row
  }

  /** What a version was written over: the version below, in a clone's first one the source. */
  parentOf(blobId: BlobId, version: Version): NodeRef | undefined {
    if (version > 1) return { blob: blobId, version: version - 1 }
    return this.#blob(blobId).row.source?.version
  }

  /** @throws {UnknownBlobError | UnknownVersionError} if the version cannot be read. */
  checkReadable(blob: BlobId, version: Version): VersionRow {
    const row = this.version(blob, version)
    if (row.condition === 'published') return row
    const reason = row.condition === 'retired' ? 'was removed' : 'is not published'
    throw new UnknownVersionError(blob, version, reason)
  }

  /** Number of versions that `open` yields. */
  get openCount(): number {
    return this.#open.size
  }

  /** Versions that wait for their writer, or for who finishes them in its place. */
  open(): Iterable<VersionRow> {
    return this.#open.values()
  }

  /** @yields every blob's newest published version, for sealing what an earlier run left. */
  *newestPublished(): Generator<VersionRow> {
    for (const { versions, published } of this.#blobs.values()) {
      const row = versions[published - 1]
      if (row !== undefined) yield row
    }
  }

  #addBlob(row: BlobRow): Change<BlobDescription> {
    if (this.#blobs.has(row.blob)) throw new RangeError(`blob ${row.blob} exists already`)
    this.#blobs.set(row.blob, { row, versions: [], published: 0 })
    const { blob, chunkBytes, replicas, createdMs } = row
    return { result: { blob, chunkBytes, replicas, createdMs }, rows: [row] }
  }

  #baseOf({ row, versions, published }: Blob): RootRef | undefined {
    const last = versions[published - 1]
    if (last === undefined) return row.source?.root
    return { blob: row.blob, version: last.version, span: last.span }
  }

  #checkInFlight(blob: Blob, row: VersionRow): void {
    const inFlight = blob.versions.slice(blob.published)
    if (inFlight.length >= MAX_IN_FLIGHT_VERSIONS) {
      throw new MetadataLimitError(
        'versions in flight',
        inFlight.length + 1,
        MAX_IN_FLIGHT_VERSIONS
      )
    }
    const ranges = inFlight.reduce((sum, lower) => sum + lower.ranges.length, row.ranges.length)
    if (ranges > MAX_IN_FLIGHT_RANGES) {
      throw new MetadataLimitError('ranges in flight', ranges, MAX_IN_FLIGHT_RANGES)
    }
  }

  #change<T>(row: VersionRow, to: Partial<VersionRow>, result: T): Change<T> {
    const changed = { ...row, ...to }
    this.#put(this.#blob(row.blob), changed)
    return { result, rows: [changed] }
  }

  #put(blob: Blob, row: VersionRow): void {
    blob.versions[row.version - 1] = row
    const key = `${row.blob}/${row.version}`
    if (row.condition === 'assigned' || row.condition === 'fenced') this.#open.set(key, row)
    else this.#open.delete(key)
  }

  #blob(blob: BlobId): Blob {
    const known = this.#blobs.get(blob)
    if (known === undefined) throw new UnknownBlobError(blob)
    return known
  }
}

function isPublished({ condition }: VersionRow): boolean {
  return condition === 'published' || condition === 'retired'
}

function assignedOf(row: VersionRow): AssignedVersion {
  const { version, ranges, bytes, span, previousSpan, truncates } = row
  return { version, ranges, bytes, span, previousSpan, truncates }
}

function summaryOf(row: VersionRow): VersionSummary {
  const { version, bytes, note } = row
  const timeMs = isPublished(row) ? row.publishedMs : row.assignedMs
  const condition = row.condition === 'fenced' ? 'assigned' : row.condition
  return { version, bytes, timeMs, note, condition }
}
