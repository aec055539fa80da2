import type { AbortOptions } from '../chunks/types.ts'
import { abortable } from '../lib/abortable.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type {
  BlobDescription,
  BlobId,
  NodeRef,
  Sealer,
  SignedEnvelope,
  SignedVersionRecord,
  Version
} from './types.ts'
import { decodeVersionRecord } from './version-record.ts'
import type { VersionRow } from './version-rows.ts'

/** What the queue sees of the version manager's state. */
export interface SealableVersions {
  describe(blob: BlobId): BlobDescription | undefined
  version(blob: BlobId, version: Version): VersionRow
  parentOf(blob: BlobId, version: Version): NodeRef | undefined
}

export interface SealQueueComponents {
  readonly versions: SealableVersions
  readonly sealer: Sealer
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
    this.#cancel?.()
    this.#cancel = this.#components.clock.schedule(() => {
      this.#idle ??= this.#sealWaiting()
    }, this.#idleMs)
  }

  /** Gives the record of a published version, sealing it if nobody has yet. */
  async record(
    blob: BlobId,
    version: Version,
    options: AbortOptions = {}
  ): Promise<SignedVersionRecord> {
    options.signal?.throwIfAborted()
    const row = this.#components.versions.version(blob, version)
    if (row.seal !== undefined) return opened(row.seal)
    return await abortable(this.#sealWithParents(row), options.signal)
  }

  /** Gives up what is being sealed; a later run seals it again. */
  async stop(): Promise<void> {
    this.#stopped.abort(new NotRunningError('version manager'))
    this.#cancel?.()
    this.#waiting.clear()
    await Promise.allSettled([this.#idle, ...this.#running.values()])
  }

  async #sealWithParents(row: VersionRow): Promise<SignedVersionRecord> {
    const { versions } = this.#components
    const unsealed = [row]
    for (let last = row; !last.truncates; ) {
      const parent = versions.parentOf(last.blob, last.version)
      if (parent === undefined) break
      last = versions.version(parent.blob, parent.version)
      if (last.seal !== undefined) break
      unsealed.push(last)
    }
    let record: SignedVersionRecord | undefined
    while (unsealed.length > 0) {
      const next = unsealed.pop()
      if (next !== undefined) record = await this.#shared(next)
    }
    return record ?? (await this.#shared(row))
  }

  /** Joins the sealing of a version whose parent is sealed, or begins it. */
  async #shared({ blob, version }: VersionRow): Promise<SignedVersionRecord> {
    this.#stopped.signal.throwIfAborted()
    const { seal } = this.#components.versions.version(blob, version)
    if (seal !== undefined) return opened(seal)
    const key = `${blob}/${version}`
    const running = this.#running.get(key)
    if (running !== undefined) return await running
    const sealing = this.#seal(blob, version)
    this.#running.set(key, sealing)
    try {
      return await sealing
    } finally {
      this.#running.delete(key)
    }
  }

  async #seal(blob: BlobId, version: Version): Promise<SignedVersionRecord> {
    const { versions, sealer, keep } = this.#components
    const { bytes, truncates, leafList, publishedMs, note } = versions.version(blob, version)
    const description = versions.describe(blob)
    if (description === undefined) throw new TypeError(`no description of blob ${blob}`)
    const parent = versions.parentOf(blob, version)
    const record = await sealer.seal(
      {
        description,
        version,
        bytes,
        truncates,
        leafList,
        timeMs: publishedMs,
        note,
        parent,
        parentRecord: truncates ? undefined : this.#recordOf(parent)
      },
      { signal: this.#stopped.signal }
    )
    await keep(blob, version, record.envelope)
    return record
  }

  #recordOf(ref: NodeRef | undefined): SignedVersionRecord | undefined {
    if (ref === undefined) return undefined
    const { seal } = this.#components.versions.version(ref.blob, ref.version)
    return seal === undefined ? undefined : opened(seal)
  }

  async #sealWaiting(): Promise<void> {
    const { logger } = this.#components
    for (;;) {
      const last = Array.from(this.#waiting).at(-1)
      if (last === undefined || this.#stopped.signal.aborted) break
      const [blob, version] = last
      this.#waiting.delete(blob)
      try {
        await this.record(blob, version, { signal: this.#stopped.signal })
      } catch (error) {
        // Whoever asks for the record makes the next attempt.
        if (!this.#stopped.signal.aborted) {
          logger.info('version %d of %s could not be sealed: %e', version, blob, error)
        }
      }
    }
    this.#idle = undefined
  }
}

function opened(envelope: SignedEnvelope): SignedVersionRecord {
  return { record: decodeVersionRecord(envelope.payload), envelope }
}
