import type { ChunkWriter } from '../chunks/replica-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { MIB } from '../lib/bytes.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { continuable, loadClaimed, nothingKept } from './continued-upload.ts'
import { UploadTakenOverError } from './errors.ts'
import { KeptLeases } from './kept-leases.ts'
import {
  type ContinuedUpload,
  type ContinueRequest,
  type KeptUpload,
  loadedUpload,
  newUpload,
  rowOf,
  type UploadNotes,
  type UploadOwner,
  type UploadPlan
} from './kept-upload.ts'
import type { LeafList } from './leaf-list.ts'
import { partsOf, type UploadJournal } from './upload-journal.ts'

export interface KeptUploadsComponents {
  readonly journal: UploadJournal
  readonly writer: Pick<ChunkWriter, 'locate'>
  readonly clock: Clock
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
}

export interface KeptUploadsOptions {
  /** How long a broken upload waits for its client, in milliseconds. @default 86_400_000 */
  readonly keepMs?: number | undefined
  /** Uploads in the journal, running and broken ones. @default 1000 */
  readonly maxUploads?: number | undefined
  /** The same of one user. @default 200 */
  readonly maxUploadsPerUser?: number | undefined
  /** Bytes of notes in the journal, about 50 for each chunk. @default 256 MiB */
  readonly maxJournalBytes?: number | undefined
  /** How long providers keep what nothing refers to yet, in milliseconds. @default 900_000 */
  readonly leaseMs?: number | undefined
}

/**
 * Uploads that can be continued after they broke, by their user and path: writes down what they have
 * stored while they run, and keeps it, and the chunks that it names, while they wait.
 *
 * ```text
 * begin ─► active ─┬─ suspend ─► kept ─┬─ resume ─► active
 *            │     └─ nothing noted ─┐ ├─ keepMs ago, chunks lost ─► gone
 *            └─ remove, begin again ─┴─┴─ discard ─► gone
 * ```
 *
 * When there is no room for more notes nothing more is promised; what was promised is kept.
 */
export class KeptUploads {
  readonly #components: KeptUploadsComponents
  readonly #logger: Logger
  readonly #keepMs: number
  readonly #limits: { readonly all: number; readonly perUser: number; readonly bytes: number }
  readonly #uploads = new Map<string, KeptUpload>()
  readonly #leases: KeptLeases
  readonly #removing = new Set<Promise<void>>()
  readonly #noted: Counter | undefined
  #cancelExpiry: Cancel = () => {}
  #nextId = 1
  #isStopped = false
  /** The journal could not be read at the start; nothing is kept in this run. */
  #isBroken = false

  constructor(components: KeptUploadsComponents, options: KeptUploadsOptions = {}) {
    const { keepMs = 86_400_000, maxUploads = 1000, maxUploadsPerUser = 200 } = options
    const { maxJournalBytes = 256 * MIB, leaseMs } = options
    if (!(keepMs > 0)) throw new RangeError(`uploads cannot be kept for ${keepMs} ms`)
    const { journal, writer, clock, metrics } = components
    this.#components = components
    this.#logger = components.logger.forComponent('blobswarm:metadata:kept-uploads')
    this.#keepMs = keepMs
    this.#limits = { all: maxUploads, perUser: maxUploadsPerUser, bytes: maxJournalBytes }
    this.#leases = new KeptLeases(
      {
        journal,
        writer,
        clock,
        logger: this.#logger,
        uploads: () => this.#kept(),
        onLost: (upload, reason) => this.#forget(upload, reason)
      },
      { leaseMs }
    )
    this.#noted = metrics?.counter('blobswarm_metadata_upload_checkpoints_total', {
      help: 'Times that something which an upload had stored was noted in the journal'
    })
    this.#registerGauges(metrics)
  }

  /** Uploads that are broken and wait. */
  get keptCount(): number {
    return this.#kept().length
  }

  /** How many wait, and the bytes of files that they have stored. */
  get figures(): { readonly count: number; readonly bytes: number } {
    const kept = this.#kept()
    const bytes = kept.reduce((sum, { contentBytes }) => sum + contentBytes, 0)
    return { count: kept.length, bytes }
  }

  /**
   * Reads what was kept and takes care of it from now on. A journal that cannot be read is left
   * alone: nothing is kept then until an operator has looked at it.
   */
  async start(): Promise<void> {
    const { journal, clock } = this.#components
    try {
      for (const row of await journal.load()) {
        // Two of the same owner are there if the older one could not be removed.
        await this.discard(row)
        this.#uploads.set(keyOf(row), loadedUpload(row))
        this.#nextId = Math.max(this.#nextId, row.id + 1)
      }
    } catch (error) {
      this.#isBroken = true
      this.#logger.error('broken uploads cannot be continued, nor new ones kept: %e', error)
      return
    }
    const nowMs = clock.now()
    // A clock that was set back must not keep them for ever.
    for (const upload of this.#kept()) upload.touchedMs = Math.min(upload.touchedMs, nowMs)
    if (this.#uploads.size > 0) this.#logger.info('%d broken uploads are kept', this.#uploads.size)
    this.#expire()
    this.#leases.start()
  }

  /** Resolves when the leases that are being renewed now, and what is being forgotten, are done. */
  async settled(): Promise<void> {
    await this.#leases.settled()
    await Promise.all(this.#removing)
  }

  /** Resolves when nothing is asked or written any more. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#cancelExpiry()
    await this.#leases.stop()
    await this.settled()
    await this.#components.journal.stop()
  }

  /** Begins an upload, in place of any before of the same user to the same path. */
  async begin(owner: UploadOwner, plan: UploadPlan): Promise<UploadNotes> {
    await this.discard(owner)
    const upload = newUpload(this.#nextId++, { ...owner, ...plan }, this.#components.clock.now())
    this.#uploads.set(keyOf(owner), upload)
    return this.#notesOf(upload)
  }

  /** Forgets the upload of a user to a path, even while it runs; harmless if there is none. */
  async discard(owner: UploadOwner): Promise<void> {
    const before = this.#uploads.get(keyOf(owner))
    if (before !== undefined) await this.#remove(before)
  }

  /**
   * Finds what is to be continued.
   *
   * @returns how it was cut.
   * @throws {UploadLostError} if there is nothing, or something else.
   */
  find(owner: UploadOwner, request: ContinueRequest): UploadPlan {
    return continuable(this.#uploads.get(keyOf(owner)), request)
  }

  /**
   * Goes on with a broken upload; one that still runs, because its connection is not known to be
   * dead, is ended first. Its chunks are safe from collection when this resolves.
   *
   * @throws {UploadLostError} if something of what is claimed is not there any more.
   * @throws {ChunkUnavailableError} if that cannot be said now.
   */
  async resume(
    owner: UploadOwner,
    request: ContinueRequest,
    options: AbortOptions = {}
  ): Promise<ContinuedUpload> {
    const upload = await this.#takeOver(owner, request, options)
    try {
      const { leaves, isAll } = await loadClaimed(this.#components, upload, request, options)
      // An upload that was begun meanwhile has taken its place.
      if (this.#uploads.get(keyOf(owner)) !== upload)
        throw nothingKept(request, 'it was begun anew')
      upload.touchedMs = this.#components.clock.now()
      if (!isAll) await this.#rewrite(upload, leaves)
      return { notes: this.#notesOf(upload), leaves }
    } catch (error) {
      this.#suspend(upload)
      throw error
    }
  }

  #notesOf(upload: KeptUpload): UploadNotes {
    return {
      add: async (leaves) => await this.#add(upload, leaves),
      onTakenOver: (listener) => {
        upload.takeOver = listener
      },
      suspend: () => this.#suspend(upload),
      remove: async () => await this.#remove(upload)
    }
  }

  async #add(upload: KeptUpload, leaves: LeafList): Promise<boolean> {
    if (upload.state !== 'active' || this.#isBroken || this.#isStopped) return false
    const parts = partsOf(leaves, upload.nextPart)
    const journalBytes = parts.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
    if (!this.#hasRoomFor(upload, journalBytes)) return false
    upload.isNoted = true
    upload.nextPart += parts.length
    upload.journalBytes += journalBytes
    upload.contentBytes += parts.reduce((sum, { contentBytes }) => sum + contentBytes, 0)
    upload.touchedMs = this.#components.clock.now()
    try {
      await this.#components.journal.note(rowOf(upload), parts)
    } catch (error) {
      this.#logger.error('what %s has stored cannot be noted: %e', upload.path, error)
      throw error
    }
    this.#noted?.add(1)
    // It may have lost its place meanwhile, and its row with it.
    return this.#uploads.get(keyOf(upload)) === upload
  }

  /** Puts what is claimed in the place of everything that was noted. */
  async #rewrite(upload: KeptUpload, leaves: LeafList): Promise<void> {
    const parts = partsOf(leaves, 0)
    upload.nextPart = parts.length
    upload.journalBytes = parts.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
    upload.contentBytes = parts.reduce((sum, { contentBytes }) => sum + contentBytes, 0)
    await this.#components.journal.note(rowOf(upload), parts, true)
  }

  #hasRoomFor(upload: KeptUpload, journalBytes: number): boolean {
    const { all, perUser, bytes } = this.#limits
    const noted = Array.from(this.#uploads.values()).filter(({ isNoted }) => isNoted)
    const total = noted.reduce((sum, each) => sum + each.journalBytes, journalBytes)
    const others = noted.filter((each) => each !== upload)
    const ofUser = others.filter(({ user }) => user === upload.user)
    const isRoom = total <= bytes && others.length < all && ofUser.length < perUser
    if (!isRoom) {
      const { path, user } = upload
      this.#logger.info('no restart of %s by %s: %d uploads are kept', path, user, others.length)
    }
    return isRoom
  }

  #suspend(upload: KeptUpload): void {
    if (upload.state !== 'active') return
    upload.takeOver = undefined
    if (upload.isNoted) {
      upload.state = 'kept'
      upload.touchedMs = this.#components.clock.now()
      this.#expire()
    } else {
      upload.state = 'gone'
      if (this.#uploads.get(keyOf(upload)) === upload) this.#uploads.delete(keyOf(upload))
    }
    upload.released.resolve()
  }

  async #remove(upload: KeptUpload): Promise<void> {
    if (upload.state === 'gone') return
    upload.state = 'gone'
    upload.takeOver = undefined
    upload.released.resolve()
    if (this.#uploads.get(keyOf(upload)) === upload) this.#uploads.delete(keyOf(upload))
    if (!upload.isNoted) return
    try {
      await this.#components.journal.remove(upload.id)
    } catch (error) {
      this.#logger.error('the upload of %s stays in the journal: %e', upload.path, error)
    }
  }

  /** Forgets an upload that waits; `stop` waits for it. */
  #forget(upload: KeptUpload, reason: string): void {
    const { path, user } = upload
    this.#logger.info('broken upload of %s by %s forgotten: %s', path, user, reason)
    const removing = this.#remove(upload).finally(() => this.#removing.delete(removing))
    this.#removing.add(removing)
  }

  async #takeOver(
    owner: UploadOwner,
    request: ContinueRequest,
    { signal }: AbortOptions
  ): Promise<KeptUpload> {
    for (;;) {
      const upload = this.#uploads.get(keyOf(owner))
      if (upload?.state === 'kept') {
        upload.state = 'active'
        upload.released = Promise.withResolvers()
        return upload
      }
      if (upload === undefined) throw nothingKept(request, 'nothing is kept of it')
      this.#logger.info('the upload of %s by %s is continued while it runs', owner.path, owner.user)
      upload.takeOver?.(new UploadTakenOverError())
      await abortable(upload.released.promise, signal)
    }
  }

  #kept(): KeptUpload[] {
    return Array.from(this.#uploads.values()).filter(({ state }) => state === 'kept')
  }

  /** Forgets what has waited for too long, and looks again when the next one has. */
  #expire(): void {
    this.#cancelExpiry()
    const { clock } = this.#components
    const nowMs = clock.now()
    let nextMs = Infinity
    for (const upload of this.#kept()) {
      const leftMs = upload.touchedMs + this.#keepMs - nowMs
      if (leftMs <= 0) this.#forget(upload, 'its client did not come back in time')
      else nextMs = Math.min(nextMs, leftMs)
    }
    if (this.#isStopped || nextMs === Infinity) return
    this.#cancelExpiry = clock.schedule(() => this.#expire(), nextMs + 1)
  }

  #registerGauges(metrics: Metrics | undefined): void {
    metrics?.gauge('blobswarm_metadata_kept_uploads', {
      help: 'Broken uploads that wait for their clients',
      read: () => this.keptCount
    })
    metrics?.gauge('blobswarm_metadata_kept_upload_bytes', {
      help: 'Bytes of files that broken uploads have stored',
      read: () => this.figures.bytes
    })
  }
}

function keyOf({ user, path }: UploadOwner): string {
  return JSON.stringify([user, path])
}
