import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { CloneRecordRequest } from './clone-record.ts'
import { UnknownBlobError } from './errors.ts'
import { chunksOf } from './geometry.ts'
import type { Sealer, SealRequest, SignedVersionRecord } from './sealing-types.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { BlobDescription, BlobId, ChunkRange, Version, VersionRef } from './types.ts'
import { openedRecord } from './version-record.ts'
import type { VersionRow } from './version-rows.ts'

/** What the queue sees of the version manager's state. */
export interface SealableVersions {
  describe(blob: BlobId): BlobDescription | undefined
  version(blob: BlobId, version: Version): VersionRow
  parentOf(blob: BlobId, version: Version): VersionRef | undefined
  /** The version whose manifest that of this one is made from. */
  manifestBaseOf(ref: VersionRef): VersionRef | undefined
  seal(ref: VersionRef): SignedEnvelope | undefined
}

export interface SealQueueComponents {
  readonly versions: SealableVersions
  readonly sealer: Sealer
  /** Makes the record of a clone's version 0. */
  readonly sealClone: (
    request: CloneRecordRequest,
    options: AbortOptions
  ) => Promise<SignedVersionRecord>
  /** What a version was allowed to write; undefined if that is not known any more. */
  readonly rangesOf: (ref: VersionRef) => Promise<readonly ChunkRange[] | undefined>
  /** Makes a seal durable. */
  readonly keep: (blob: BlobId, version: Version, seal: SignedEnvelope) => Promise<void>
  readonly clock: Clock
  readonly logger: Logger
}

export interface SealQueueOptions {
  /** How long nothing must have been published before sealing begins unasked. @default 200 */
  readonly idleMs?: number
}

/**
 * Seals published versions: at once when somebody asks for the record, and unasked when nothing
 * has been published for a while, the newest of each blob, the blob that was published last
 * first. A version stands on its parent's manifest, so what is unsealed below it down to one that
 * truncates is sealed first. Each version is sealed once, however many ask.
 */
export class SealQueue {
  readonly #components: SealQueueComponents
  readonly #idleMs: number
  readonly #stopped = new AbortController()
  readonly #running = new Map<string, Promise<SignedVersionRecord>>()
  /** Newest published version of each blob that was not sealed yet, the last published last. */
  readonly #waiting = new Map<BlobId, Version>()
  #cancel: Cancel | undefined
  #idle: Promise<void> | undefined
  #hasNew = false

  constructor(components: SealQueueComponents, options: SealQueueOptions = {}) {
    const { idleMs = 200 } = options
    this.#components = components
    this.#idleMs = idleMs
  }

  /** Notes a published version, to be sealed when there is time. */
  add(blob: BlobId, version: Version): void {
    if (this.#stopped.signal.aborted) return
    this.#waiting.delete(blob)
    this.#waiting.set(blob, version)
    this.#hasNew = true
    this.#cancel ??= this.#scheduleLook()
  }

  /** Gives the record of a published version, sealing it if nobody has yet. */
  async record(
    blob: BlobId,
    version: Version,
    options: AbortOptions = {}
  ): Promise<SignedVersionRecord> {
    options.signal?.throwIfAborted()
    const ref = { blob, version }
    const seal = this.#components.versions.seal(ref)
    if (seal !== undefined) return openedRecord(seal)
    return await abortable(this.#sealWithParents(ref), options.signal)
  }

  /** Gives up what is being sealed; a later run seals it again. */
  async stop(): Promise<void> {
    this.#stopped.abort(new NotRunningError('version manager'))
    this.#cancel?.()
    this.#cancel = undefined
    this.#waiting.clear()
    await Promise.allSettled([this.#idle, ...this.#running.values()])
  }

  async #sealWithParents(ref: VersionRef): Promise<SignedVersionRecord> {
    const { versions } = this.#components
    const unsealed: VersionRef[] = []
    for (let below = versions.manifestBaseOf(ref); below !== undefined; ) {
      if (versions.seal(below) !== undefined) break
      unsealed.push(below)
      below = versions.manifestBaseOf(below)
    }
    for (const next of unsealed.toReversed()) await this.#shared(next)
    return await this.#shared(ref)
  }

  /** Joins the sealing of a version whose parent is sealed, or begins it. */
  async #shared(ref: VersionRef): Promise<SignedVersionRecord> {
    this.#stopped.signal.throwIfAborted()
    const seal = this.#components.versions.seal(ref)
    if (seal !== undefined) return openedRecord(seal)
    const key = `${ref.blob}/${ref.version}`
    const running = this.#running.get(key)
    if (running !== undefined) return await running
    const sealing = this.#seal(ref)
    this.#running.set(key, sealing)
    try {
      return await sealing
    } finally {
      this.#running.delete(key)
    }
  }

  async #seal(ref: VersionRef): Promise<SignedVersionRecord> {
    const { versions, sealer, sealClone, keep } = this.#components
    const { signal } = this.#stopped
    const description = versions.describe(ref.blob)
    if (description === undefined) throw new UnknownBlobError(ref.blob)
    const base = this.#recordOf(versions.manifestBaseOf(ref))
    const record =
      ref.version === 0 && base !== undefined
        ? await sealClone({ clone: description, source: base }, { signal })
        : await sealer.seal(await this.#requestFor(ref, description, base), { signal })
    await keep(ref.blob, ref.version, record.envelope)
    return record
  }

  async #requestFor(
    ref: VersionRef,
    description: BlobDescription,
    parentRecord: SignedVersionRecord | undefined
  ): Promise<SealRequest> {
    const { versions, rangesOf } = this.#components
    const row = versions.version(ref.blob, ref.version)
    const { version, bytes, truncates, leafList, publishedMs: timeMs, note } = row
    const end = chunksOf(bytes, description.chunkBytes)
    const everything = end === 0 ? [] : [{ start: 0, end }]
    const ranges = truncates ? everything : ((await rangesOf(ref)) ?? everything)
    const parent = versions.parentOf(ref.blob, version)
    const fixed = { description, version, bytes, truncates, ranges, leafList, timeMs, note }
    return { ...fixed, parent, parentRecord }
  }

  #recordOf(ref: VersionRef | undefined): SignedVersionRecord | undefined {
    const seal = ref === undefined ? undefined : this.#components.versions.seal(ref)
    return seal === undefined ? undefined : openedRecord(seal)
  }

  /** One timer for many publications: when it comes, either there were some since, or none. */
  #scheduleLook(): Cancel {
    this.#hasNew = false
    return this.#components.clock.schedule(() => {
      this.#cancel = this.#hasNew ? this.#scheduleLook() : undefined
      if (this.#cancel === undefined) this.#idle ??= this.#sealWaiting()
    }, this.#idleMs)
  }

  /** Breaks off when something is published: sealing is for when there is time. */
  async #sealWaiting(): Promise<void> {
    while (this.#waiting.size > 0 && this.#isIdle()) {
      for (const [blob, version] of Array.from(this.#waiting).toReversed()) {
        if (!this.#isIdle()) break
        this.#waiting.delete(blob)
        await this.#trySeal({ blob, version })
      }
    }
    this.#idle = undefined
  }

  #isIdle(): boolean {
    return this.#cancel === undefined && !this.#stopped.signal.aborted
  }

  async #trySeal({ blob, version }: VersionRef): Promise<void> {
    const { signal } = this.#stopped
    try {
      await this.record(blob, version, { signal })
    } catch (error) {
      if (signal.aborted) return
      // Whoever asks for the record makes the next attempt.
      const { logger } = this.#components
      logger.info('version %d of %s could not be sealed: %e', version, blob, error)
    }
  }
}
