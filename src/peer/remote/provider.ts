import { checkChunkId, isZeroChunk, verifyChunk } from '../../chunks/chunk-id.ts'
import { MAX_CHUNK_BYTES } from '../../chunks/chunk-size.ts'
import { ChunkMismatchError, CollectionEndedError } from '../../chunks/errors.ts'
import type {
  ChunkSource,
  CopyCondition,
  MaintainedProvider,
  WorkOptions
} from '../../chunks/maintenance-types.ts'
import type { CollectChunksOptions, Collected } from '../../chunks/provider-types.ts'
import type { ChunkId, ProviderId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { MIB } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Deadline } from '../../lib/deadline.ts'
import type { Signer } from '../../metadata/signature-types.ts'
import { PeerChunkMismatchError } from '../errors.ts'
import {
  isCollectionName,
  MAX_HAS_IDS,
  MAX_SOURCE_ADDRESSES,
  MAX_SOURCES,
  MAX_WORK_IDS
} from '../protocols/store-fields.ts'
import { signRetirementOrder } from '../retirement-order.ts'
import { signSurplusOrder } from '../surplus-order.ts'
import type { PeerNode } from '../types.ts'
import { StoreLane } from './store-lane.ts'

export interface RemoteProviderComponents {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
  /** The provider's peer id. */
  readonly peerId: string
  /** Signs orders to delete; a manager's. @default nothing can be deleted */
  readonly signer?: Signer | undefined
}

export interface RemoteProviderOptions {
  /** Bytes of puts that are not answered yet; a larger chunk goes alone. @default 4 MiB */
  inFlightBytes?: number
  /** Gets and look-ups that are not answered yet; more wait for their turn. @default 32 */
  maxReads?: number
  /** Checks, copies and deletions that are not answered yet; more wait. @default 4 */
  maxWorks?: number
  /** Time without any progress of a request, in milliseconds. @default 30000 */
  timeoutMs?: number
  /**
   * Time in which a provider that takes puts says nothing at all, in milliseconds.
   *
   * @default 10000
   */
  putTimeoutMs?: number
  /** Time in which a check, copy or deletion does not get on by a chunk, in milliseconds. @default 300000 */
  workTimeoutMs?: number
  /** Time to connect and to agree on the protocol, in milliseconds. @default 10000 */
  openTimeoutMs?: number
}

/**
 * A provider on another agent. Puts, reads and what takes long each go over a stream of their own, so
 * that a read never waits behind the bytes of puts. What is received is verified.
 */
export class RemoteProvider implements MaintainedProvider {
  readonly id: ProviderId
  readonly #clock: Clock
  readonly #signer: Signer | undefined
  readonly #puts: StoreLane
  readonly #reads: StoreLane
  readonly #works: StoreLane
  readonly #timeoutMs: number
  readonly #workTimeoutMs: number

  constructor(components: RemoteProviderComponents, options: RemoteProviderOptions = {}) {
    const { clock, peerId, signer } = components
    const { inFlightBytes = 4 * MIB, maxReads = 32, maxWorks = 4 } = options
    const { timeoutMs = 30_000, putTimeoutMs = 10_000, workTimeoutMs = 300_000 } = options
    const { openTimeoutMs = 10_000 } = options
    const lane = (capacity: number, silenceMs: number): StoreLane =>
      new StoreLane(components, { capacity, timeoutMs: silenceMs, openTimeoutMs })
    this.id = peerId
    this.#clock = clock
    this.#signer = signer
    this.#timeoutMs = timeoutMs
    this.#workTimeoutMs = workTimeoutMs
    this.#puts = lane(inFlightBytes, Math.min(putTimeoutMs, timeoutMs))
    this.#reads = lane(maxReads, timeoutMs)
    this.#works = lane(maxWorks, timeoutMs)
  }

  /** Whether nothing is waiting for an answer. */
  get isIdle(): boolean {
    return this.#puts.isIdle && this.#reads.isIdle && this.#works.isIdle
  }

  async has(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    return await this.#held(ids, true, options)
  }

  async holds(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    return await this.#held(ids, false, options)
  }

  /**
   * Stores a chunk; the bytes must not be changed before it settles.
   *
   * @throws {RemoteError} with the code of what the provider failed with, such as ERR_STORE_FULL.
   * @throws {PeerUnreachableError | PeerTimeoutError} the provider may then have the chunk or not.
   */
  async put(id: ChunkId, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    const length = bytes.byteLength
    if (length < 1 || length > MAX_CHUNK_BYTES) {
      throw new RangeError(`a chunk of ${length} bytes, at most ${MAX_CHUNK_BYTES}`)
    }
    if (isZeroChunk(id)) throw new RangeError('the zero chunk is never stored')
    const amount = Math.min(length, this.#puts.capacity)
    await this.#puts.run({ what: 'put', amount, ...options }, async (session, deadline) =>
      session.put(id, bytes, deadline, this.#timeoutMs)
    )
  }

  /** @throws {PeerChunkMismatchError} if the provider sent something else. */
  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    if (isZeroChunk(id)) throw new RangeError('the zero chunk is never sent')
    const bytes = await this.#reads.run({ what: 'get', ...options }, async (session, deadline) =>
      session.get(id, deadline)
    )
    if (bytes === undefined) return undefined
    try {
      verifyChunk(id, bytes)
    } catch (error) {
      if (error instanceof ChunkMismatchError) throw new PeerChunkMismatchError(this.id, error)
      throw error
    }
    return bytes
  }

  async beginCollection(options: AbortOptions = {}): Promise<string> {
    return await this.#reads.run({ what: 'begin', ...options }, async (session, deadline) =>
      session.begin(deadline)
    )
  }

  async unleased(
    collection: string,
    after: ChunkId | undefined,
    options: AbortOptions = {}
  ): Promise<ChunkId[]> {
    if (after !== undefined) checkChunkId(after)
    if (!isCollectionName(collection)) throw new CollectionEndedError(collection)
    return await this.#reads.run({ what: 'list', ...options }, async (session, deadline) =>
      session.list(collection, after, deadline)
    )
  }

  /**
   * @throws {TypeError} without a signer.
   * @throws {RangeError} for more than 1,024 ids.
   */
  async collect(
    collection: string,
    ids: readonly ChunkId[],
    options: CollectChunksOptions = {}
  ): Promise<Collected> {
    const signer = this.#signer
    if (signer === undefined) throw new TypeError('collecting needs a signer')
    if (!isCollectionName(collection)) throw new CollectionEndedError(collection)
    if (ids.length === 0) return { count: 0, bytes: 0 }
    const { isDryRun, signal } = options
    const order = { kind: 'chunks', provider: this.id, collection, keys: ids, isDryRun } as const
    const signed = signRetirementOrder(signer, order)
    return await this.#works.run({ what: 'collect', signal }, async (session, deadline) =>
      session.collect('collect', signed, deadline, this.#watch(deadline))
    )
  }

  async check(ids: readonly ChunkId[], options: WorkOptions = {}): Promise<CopyCondition[]> {
    const { signal } = options
    const batches = { atMost: MAX_WORK_IDS, ofZero: 'intact' } as const
    return await inBatches<CopyCondition>(ids, batches, async (batch, before) =>
      this.#works.run({ what: 'check', signal }, async (session, deadline) =>
        session.check(batch, deadline, this.#watch(deadline, before, options))
      )
    )
  }

  /** Names at most 16 sources with at most 16 addresses each; others are passed over. */
  async copy(
    ids: readonly ChunkId[],
    sources: readonly ChunkSource[],
    options: WorkOptions = {}
  ): Promise<boolean[]> {
    const { signal } = options
    const named = sources
      .slice(0, MAX_SOURCES)
      .map(({ id, addresses }) => ({ id, addresses: addresses.slice(0, MAX_SOURCE_ADDRESSES) }))
    const batches = { atMost: MAX_WORK_IDS, ofZero: true }
    return await inBatches(ids, batches, async (batch, before) =>
      this.#works.run({ what: 'copy', signal }, async (session, deadline) => {
        const what = { ids: batch, sources: named }
        return session.copy(what, deadline, this.#watch(deadline, before, options))
      })
    )
  }

  /**
   * @throws {TypeError} without a signer.
   * @throws {RangeError} for more than 1,024 ids.
   */
  async trim(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<Collected> {
    const signer = this.#signer
    if (signer === undefined) throw new TypeError('trimming needs a signer')
    if (ids.length === 0) return { count: 0, bytes: 0 }
    const issuedMs = this.#clock.now()
    const signed = signSurplusOrder(signer, { provider: this.id, issuedMs, ids })
    return await this.#works.run({ what: 'trim', ...options }, async (session, deadline) =>
      session.collect('trim', signed, deadline, this.#watch(deadline))
    )
  }

  /** Closes the streams; what is in flight rejects. */
  async close(): Promise<void> {
    await Promise.all([this.#puts, this.#reads, this.#works].map(async (lane) => lane.close()))
  }

  async #held(
    ids: readonly ChunkId[],
    isLeased: boolean,
    { signal }: AbortOptions
  ): Promise<boolean[]> {
    const batches = { atMost: MAX_HAS_IDS, ofZero: true }
    return await inBatches(ids, batches, async (batch) =>
      this.#reads.run({ what: 'has', signal }, async (session, deadline) =>
        session.has(batch, isLeased, deadline)
      )
    )
  }

  /** Keeps the deadline away while the provider works, unless it does not get on for very long. */
  #watch(
    deadline: Deadline,
    doneBefore = 0,
    { onProgress }: WorkOptions = {}
  ): (doneCount: number) => void {
    let last = 0
    let movedMs = this.#clock.monotonic()
    return (doneCount) => {
      const nowMs = this.#clock.monotonic()
      if (doneCount > last) {
        last = doneCount
        movedMs = nowMs
        onProgress?.(doneBefore + doneCount)
      }
      if (nowMs - movedMs < this.#workTimeoutMs) deadline.extend()
    }
  }
}

/** Asks about ids in as many messages as that takes, one after the other, but not about zeros. */
async function inBatches<T>(
  ids: readonly ChunkId[],
  { atMost, ofZero }: { readonly atMost: number; readonly ofZero: T },
  ask: (batch: readonly ChunkId[], doneBefore: number) => Promise<readonly T[]>
): Promise<T[]> {
  const answers = ids.map(() => ofZero)
  const asked = [...ids.entries()].filter(([, id]) => !isZeroChunk(id))
  for (let from = 0; from < asked.length; from += atMost) {
    const batch = asked.slice(from, from + atMost)
    const given = await ask(
      batch.map(([, id]) => id),
      from
    )
    for (const [at, [index]] of batch.entries()) answers[index] = given[at] ?? ofZero
  }
  return answers
}
