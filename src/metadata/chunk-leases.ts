import { isZeroChunk } from '../chunks/chunk-id.ts'
import { ChunkLeaseLostError } from '../chunks/errors.ts'
import { DEFAULT_LEASE_MS } from '../chunks/lease-table.ts'
import type { ChunkWriter, MakeWholeOptions } from '../chunks/replica-types.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { toHex } from '../lib/bytes.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'

/** Chunks that are asked about at once. */
const BATCH_CHUNKS = 1024

/** As many as a writer looks up at the same time. */
const BATCHES_AT_A_TIME = 4

/** Chunks whose copies are counted at once, so that few questions do, and memory is bounded. */
const WHOLE_CHUNKS = 16_384

/** Times that leases are renewed before a ticket, while providers do not answer. */
const MAX_TRIES = 5

/** The chunks of an upload under way, numbered from 0. LeafListBuilder is one. */
export interface PlacedChunks {
  readonly fragmentCount: number
  /** `replicas` is empty as long as the chunk has no place. */
  fragment(number: number): { readonly chunk: ChunkId; readonly replicas: readonly ProviderId[] }
  setReplicas(number: number, replicas: readonly ProviderId[]): void
}

export interface ChunkLeasesComponents {
  readonly chunks: PlacedChunks
  readonly writer: Pick<ChunkWriter, 'locate' | 'makeWhole'>
  readonly clock: Clock
  readonly logger: Logger
  /** Told, once and not of what `ensure` throws, that a chunk is nowhere any more. */
  readonly onLost: (error: Error) => void
}

export interface ChunkLeasesOptions {
  /** How long providers keep what nothing refers to yet, in milliseconds. @default 900_000 */
  readonly leaseMs?: number | undefined
}

/** A placed chunk whose providers are asked. */
interface Held {
  readonly number: number
  readonly chunk: ChunkId
  readonly replicas: readonly ProviderId[]
}

/** Who has the chunks, and who did not say. */
interface Answers {
  readonly found: readonly (readonly ProviderId[])[]
  readonly isSilent: (provider: ProviderId) => boolean
  readonly isAnybodySilent: boolean
}

/**
 * Keeps the chunks of an upload safe from collection until a ticket names them: asks their
 * providers again whether they have them, every third of a lease, and before a ticket if that is
 * longer ago than a sixth. A provider that says no is taken off the chunk's list; a chunk that
 * nobody has ends the upload. One that does not answer stays on the list, and is asked again.
 */
export class ChunkLeases {
  readonly #components: ChunkLeasesComponents
  readonly #leaseMs: number
  readonly #stopped = new AbortController()
  #cancel: Cancel = () => {}
  #renewing: Promise<void> | undefined
  #isFrozen = false
  /** Every chunk that is placed has been confirmed, or was placed, at this time or later. */
  #safeSinceMs: number

  constructor(components: ChunkLeasesComponents, options: ChunkLeasesOptions = {}) {
    const { leaseMs = DEFAULT_LEASE_MS } = options
    if (!(leaseMs > 0)) throw new RangeError(`leases of ${leaseMs} ms`)
    this.#components = components
    this.#leaseMs = leaseMs
    this.#safeSinceMs = components.clock.monotonic()
  }

  /** Begins to renew. Called once. */
  start(): void {
    this.#scheduleNext()
  }

  /** Leaves the lists of providers as they are from now on, because they have been copied. */
  freeze(): void {
    this.#isFrozen = true
  }

  /**
   * Resolves when every placed chunk is safe for at least half of a lease from now on.
   *
   * @throws {ChunkLeaseLostError} if one is not, and will not be.
   */
  async ensure(options: AbortOptions = {}): Promise<void> {
    const { clock } = this.#components
    if (this.#ageMs() <= this.#leaseMs / 6) return
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      await abortable(this.#renew(), options.signal)
      if (this.#ageMs() <= this.#leaseMs / 2) return
      await clock.sleep(this.#leaseMs / 60, options.signal && { signal: options.signal })
    }
    const seconds = Math.round(this.#ageMs() / 1000)
    throw new ChunkLeaseLostError(`providers have not confirmed them for ${seconds} s`)
  }

  /**
   * Makes sure that every placed chunk has its copies at live providers, copying what those that
   * are gone had acknowledged.
   *
   * @throws {NotEnoughReplicasError}
   */
  async makeWhole(options: MakeWholeOptions = {}): Promise<void> {
    const { writer } = this.#components
    for (const batch of this.#batches(WHOLE_CHUNKS)) {
      const written = batch.map(({ chunk: id, replicas }) => ({ id, replicas }))
      const found = await writer.makeWhole(written, { ageMs: this.#ageMs(), ...options })
      for (const [at, held] of batch.entries()) {
        const now = found[at] ?? []
        if (now.join() !== held.replicas.join()) this.#correct(held, now)
      }
    }
  }

  /** Resolves when nothing is asked any more. */
  async stop(): Promise<void> {
    this.#cancel()
    this.#stopped.abort(new Error('the upload is over'))
    await this.#renewing?.catch(() => {}) // whoever waited for it has been told
  }

  #ageMs(): number {
    return this.#components.clock.monotonic() - this.#safeSinceMs
  }

  /** What could not be confirmed in time is asked again soon. */
  #scheduleNext(): void {
    if (this.#stopped.signal.aborted) return
    const delayMs = Math.max(this.#leaseMs / 60, this.#leaseMs / 3 - this.#ageMs())
    this.#cancel = this.#components.clock.schedule(() => {
      void this.#renewRegularly() // does not reject; stop() waits for what it does
    }, delayMs)
  }

  async #renewRegularly(): Promise<void> {
    try {
      await this.#renew()
      this.#scheduleNext()
    } catch (thrown) {
      if (!this.#stopped.signal.aborted) this.#components.onLost(toError(thrown))
    }
  }

  /** One round at a time. */
  async #renew(): Promise<void> {
    this.#renewing ??= this.#renewAll().finally(() => {
      this.#renewing = undefined
    })
    await this.#renewing
  }

  /** Asks about every chunk that is placed now. */
  async #renewAll(): Promise<void> {
    const { clock, logger } = this.#components
    const startedMs = clock.monotonic()
    let unconfirmed = 0
    await forEachConcurrently(this.#batches(BATCH_CHUNKS), BATCHES_AT_A_TIME, async (batch) => {
      unconfirmed += await this.#renewBatch(batch)
    })
    if (unconfirmed === 0) this.#safeSinceMs = startedMs
    else logger.info('%d chunks of an upload were not confirmed', unconfirmed)
  }

  /**
   * Walks the chunks that have a place; what has none yet gets its lease with it.
   *
   * @yields batches of them, none empty.
   */
  *#batches(maxChunks: number): Generator<Held[], void> {
    const { chunks } = this.#components
    const { fragmentCount } = chunks
    let batch: Held[] = []
    for (let number = 0; number < fragmentCount; number++) {
      const { chunk, replicas } = chunks.fragment(number)
      if (isZeroChunk(chunk) || replicas.length === 0) continue
      if (batch.push({ number, chunk, replicas }) < maxChunks) continue
      yield batch
      batch = []
    }
    if (batch.length > 0) yield batch
  }

  /** @returns how many chunks nobody has confirmed. @throws {ChunkLeaseLostError} */
  async #renewBatch(batch: readonly Held[]): Promise<number> {
    const { found, isSilent } = await this.#ask(batch, true)
    const gone: Held[] = []
    let unconfirmed = 0
    for (const [at, held] of batch.entries()) {
      const kept = held.replicas.filter((id) => found[at]?.includes(id) === true || isSilent(id))
      if (kept.length === 0) gone.push(held)
      else if (found[at]?.length === 0) unconfirmed++
      if (kept.length > 0 && kept.length < held.replicas.length) this.#correct(held, kept)
    }
    return unconfirmed + (await this.#findElsewhere(gone))
  }

  /** Looks for chunks that their own providers have no more. */
  async #findElsewhere(gone: readonly Held[]): Promise<number> {
    if (gone.length === 0) return 0
    const { found, isAnybodySilent } = await this.#ask(gone, false)
    let unconfirmed = 0
    for (const [at, held] of gone.entries()) {
      const holders = found[at] ?? []
      if (holders.length > 0) {
        this.#correct(held, holders)
      } else if (isAnybodySilent) {
        unconfirmed++
      } else {
        const were = held.replicas.join(', ')
        throw new ChunkLeaseLostError(`${toHex(held.chunk.subarray(0, 8))} is gone from ${were}`)
      }
    }
    return unconfirmed
  }

  async #ask(batch: readonly Held[], isAmongOwn: boolean): Promise<Answers> {
    const { signal } = this.#stopped
    const silent = new Set<ProviderId | undefined>()
    const ids = batch.map(({ chunk }) => chunk)
    const among = isAmongOwn ? batch.map(({ replicas }) => replicas) : undefined
    const onUnanswered = (provider: ProviderId | undefined): void => void silent.add(provider)
    const found = await this.#components.writer.locate(ids, { among, signal, onUnanswered })
    const isSilent = (id: ProviderId): boolean => silent.has(undefined) || silent.has(id)
    return { found, isSilent, isAnybodySilent: silent.size > 0 }
  }

  #correct({ number, chunk, replicas }: Held, now: readonly ProviderId[]): void {
    const id = toHex(chunk.subarray(0, 8))
    this.#components.logger.debug('chunk %s moved from %s to %s', id, replicas.join(), now.join())
    if (!this.#isFrozen) this.#components.chunks.setReplicas(number, now)
  }
}
