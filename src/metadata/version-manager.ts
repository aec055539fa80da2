import { MAX_CHUNK_BYTES } from '../chunks/chunk-size.ts'
import { assignedOf, baseOf, checkInFlight, isPublished } from './blob-state.ts'
import { TicketConflictError, UnknownVersionError, VersionPinnedError } from './errors.ts'
import { chunksOf, spanFor } from './geometry.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { Ticket, TicketRequest } from './ticket-types.ts'
import type { BlobDescription, BlobId, Version, VersionRef } from './types.ts'
import type { CreateBlobRequest } from './version-manager-types.ts'
import { checkByteCount, checkConditions, checkRequest, rangesOf } from './version-requests.ts'
import type { BlobRow, CloneSource, StateRow, VersionRow } from './version-rows.ts'
import { VersionTable } from './version-table.ts'

export interface VersionManagerStateOptions {
  /** How long a writer has between its ticket, or a renewal, and its commit. @default 30000 */
  readonly leaseMs?: number
}

/** What a transition gives back, and the rows that must be durable before anybody is told. */
export interface Change<T> {
  readonly result: T
  readonly rows: readonly StateRow[]
}

const MAX_REPLICAS = 64

/**
 * The rules of versions, without I/O: tickets in order, publication in order, leases. Its state
 * is the rows that it was given and has given out; a version goes assigned → committed →
 * published → retired, with fenced beside assigned once its lease has run out.
 */
export class VersionManagerState extends VersionTable {
  readonly #leaseMs: number

  constructor(options: VersionManagerStateOptions = {}) {
    super()
    const { leaseMs = 30_000 } = options
    if (!(leaseMs > 0)) throw new RangeError(`a lease of ${leaseMs} ms`)
    this.#leaseMs = leaseMs
  }

  /** Adds a blob without versions. @throws {MetadataLimitError | RangeError} */
  createBlob(
    blob: BlobId,
    request: CreateBlobRequest & { readonly isNamed?: boolean },
    nowMs: number
  ): Change<BlobDescription> {
    const { chunkBytes, replicas, sizeHint = 0, isNamed = false } = request
    if (!Number.isInteger(Math.log2(chunkBytes)) || chunkBytes > MAX_CHUNK_BYTES) {
      throw new RangeError(`a chunk cannot have ${chunkBytes} bytes`)
    }
    if (!Number.isInteger(replicas) || replicas < 1 || replicas > MAX_REPLICAS) {
      throw new RangeError(`${replicas} replicas`)
    }
    const hintSpan = spanFor(chunksOf(checkByteCount(sizeHint), chunkBytes))
    const description = { blob, chunkBytes, replicas, createdMs: nowMs }
    return this.#addBlob({ kind: 'blob', ...description, hintSpan, isNamed, source: undefined })
  }

  /**
   * Adds a blob, made for a path, whose version 0 stands for a published version of another; what
   * stands for one already passes it on. O(1).
   *
   * @throws {UnknownBlobError | UnknownVersionError}
   */
  cloneBlob(blob: BlobId, from: VersionRef, nowMs: number): Change<BlobDescription> {
    const { row } = this.changing(from.blob)
    return this.#addBlob({
      kind: 'blob',
      blob,
      chunkBytes: row.chunkBytes,
      replicas: row.replicas,
      createdMs: nowMs,
      hintSpan: row.hintSpan,
      isNamed: true,
      source: this.#sourceFor(from, row)
    })
  }

  /**
   * Gives the next version of a blob to a writer: → assigned. The size never shrinks from version
   * to version, except by one that truncates, and it counts what is assigned, not only what is
   * published.
   *
   * @throws {UnknownBlobError | TicketConflictError | MetadataLimitError | RangeError}
   */
  assign(request: TicketRequest, nowMs: number): Change<Ticket> {
    const blob = this.changing(request.blob)
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
      base: blob.published,
      isPinned: false,
      seal: undefined
    }
    checkInFlight(blob, row)
    this.put(blob, row)
    return { result: this.ticket(row.blob, row.version), rows: [row] }
  }

  /**
   * Makes the ticket of a version that is not published, from what is known now. A later ticket
   * of the same version names fewer versions in flight and a newer base, and weaves the same
   * nodes.
   */
  ticket(blobId: BlobId, version: Version): Ticket {
    const blob = this.changing(blobId)
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
      base: baseOf(blob)
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
    const leaseUntilMs = nowMs + this.#leaseMs
    return this.#change(row, { leaseUntilMs }, leaseUntilMs)
  }

  /** assigned → fenced, and stays so: its writer was too slow and is going to be helped. */
  fence(blob: BlobId, version: Version): Change<void> {
    const row = this.version(blob, version)
    if (row.condition === 'fenced' || row.condition === 'assigned') {
      this.noteRepair(blob, version)
    }
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
    const blob = this.changing(blobId)
    const row = this.version(blobId, version)
    if (row.condition !== 'assigned' && row.condition !== 'fenced') return { result: [], rows: [] }
    this.put(blob, { ...row, condition: 'committed' })
    const published: VersionRow[] = []
    for (;;) {
      const next = blob.versions[blob.published]
      if (next?.condition !== 'committed') break
      const before = blob.versions[blob.published - 1]?.publishedMs ?? 0
      const publishedMs = Math.max(nowMs, before)
      // What it rewrote matters only while others link to it unseen.
      const shown: VersionRow = { ...next, condition: 'published', publishedMs, ranges: [] }
      this.put(blob, shown)
      blob.published = next.version
      published.push(shown)
    }
    const rows = published.length > 0 ? published : [this.version(blobId, version)]
    return { result: published, rows }
  }

  /**
   * published → retired: hidden from readers, its tree stays what later versions stand on.
   *
   * @throws {VersionPinnedError | UnknownVersionError}
   */
  retire(blob: BlobId, version: Version): Change<void> {
    const { condition, isPinned } = this.summary(blob, version)
    if (condition === 'retired') return { result: undefined, rows: [] }
    if (condition !== 'published') throw new UnknownVersionError(blob, version)
    if (isPinned) throw new VersionPinnedError(blob, version)
    if (version === 0) return this.#changeSource(blob, { isRetired: true })
    return this.#change(this.version(blob, version), { condition: 'retired' }, undefined)
  }

  /** Pins a version that can be read, or lets go of it. @throws {UnknownVersionError} */
  setPinned({ blob, version }: VersionRef, isPinned: boolean): Change<void> {
    if (this.checkReadable(blob, version).isPinned === isPinned) {
      return { result: undefined, rows: [] }
    }
    if (version === 0) return this.#changeSource(blob, { isPinned })
    return this.#change(this.version(blob, version), { isPinned }, undefined)
  }

  /** Keeps the signed record of a published version. */
  sealed(blob: BlobId, version: Version, seal: SignedEnvelope): Change<void> {
    if (version === 0 && this.changing(blob).row.source !== undefined) {
      return this.#changeSource(blob, { seal })
    }
    const row = this.version(blob, version)
    if (!isPublished(row)) throw new UnknownVersionError(blob, version)
    return this.#change(row, { seal }, undefined)
  }

  /** Drops a blob with its versions. @throws {TicketConflictError} if something is in flight. */
  forget(blobId: BlobId): Change<void> {
    const { versions, published } = this.changing(blobId)
    if (versions.length > published) {
      throw new TicketConflictError(`version ${versions.length} of blob ${blobId} is in flight`)
    }
    this.removeBlob(blobId)
    return { result: undefined, rows: [{ kind: 'blob-removal', blob: blobId }] }
  }

  #addBlob(row: BlobRow): Change<BlobDescription> {
    this.addBlob(row)
    const { blob, chunkBytes, replicas, createdMs } = row
    return { result: { blob, chunkBytes, replicas, createdMs }, rows: [row] }
  }

  #sourceFor({ blob, version }: VersionRef, row: BlobRow): CloneSource {
    const { bytes } = this.checkReadable(blob, version)
    const fresh = { isRetired: false, isPinned: false, seal: undefined }
    if (version === 0 && row.source !== undefined) return { ...row.source, ...fresh }
    const { span } = this.version(blob, version)
    return { version: { blob, version }, root: { blob, version, span }, bytes, ...fresh }
  }

  #changeSource(blobId: BlobId, to: Partial<CloneSource>): Change<void> {
    const blob = this.changing(blobId)
    const { source } = blob.row
    if (source === undefined) throw new UnknownVersionError(blobId, 0, 'was never assigned')
    blob.row = { ...blob.row, source: { ...source, ...to } }
    return { result: undefined, rows: [blob.row] }
  }

  #change<T>(row: VersionRow, to: Partial<VersionRow>, result: T): Change<T> {
    const changed = { ...row, ...to }
    this.put(this.changing(row.blob), changed)
    return { result, rows: [changed] }
  }
}
