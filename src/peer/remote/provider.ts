import { checkChunkId, isZeroChunk, verifyChunk } from '../../chunks/chunk-id.ts'
import { MAX_CHUNK_BYTES } from '../../chunks/chunk-size.ts'
import { ChunkMismatchError, CollectionEndedError } from '../../chunks/errors.ts'
import type {
  AbortOptions,
  ChunkId,
  CollectableProvider,
  CollectChunksOptions,
  Collected,
  ProviderId
} from '../../chunks/types.ts'
import { Budget } from '../../lib/budget.ts'
import { MIB } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import { type Deadline, withDeadline } from '../../lib/deadline.ts'
import type { Signer } from '../../metadata/types.ts'
import { PeerChunkMismatchError, PeerTimeoutError } from '../errors.ts'
import { KeptChannel } from '../kept-channel.ts'
import { isCollectionName, MAX_HAS_IDS, STORE_PROTOCOL } from '../protocols/store.ts'
import { signRetirementOrder } from '../retirement-order.ts'
import type { Channel, PeerNode } from '../types.ts'
import { StoreSession } from './store-session.ts'

export interface RemoteProviderComponents {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
  /** The provider's peer id. */
  readonly peerId: string
  /** Signs orders to delete; a version manager's. @default nothing can be deleted */
  readonly signer?: Signer | undefined
}

export interface RemoteProviderOptions {
  /** Bytes of puts that are not answered yet; a larger chunk goes alone. @default 4 MiB */
  inFlightBytes?: number
  /** Gets and look-ups that are not answered yet; more wait for their turn. @default 32 */
  maxReads?: number
  /** Time without any progress of a request, in milliseconds. @default 30000 */
  timeoutMs?: number
  /** Time to connect and to agree on the protocol, in milliseconds. @default 10000 */
  openTimeoutMs?: number
}

/**
 * A provider on another agent. Puts go over one stream and reads over another, so that a read never
 * waits behind the bytes of puts. What is received is verified.
 */
export class RemoteProvider implements CollectableProvider {
  readonly id: ProviderId
  readonly #clock: Clock
  readonly #signer: Signer | undefined
  readonly #puts: KeptChannel<StoreSession>
  readonly #reads: KeptChannel<StoreSession>
  readonly #putBytes: Budget
  readonly #readSlots: Budget
  readonly #timeoutMs: number
  #callCount = 0

  constructor(components: RemoteProviderComponents, options: RemoteProviderOptions = {}) {
    const { node, clock, peerId, signer } = components
    const {
      inFlightBytes = 4 * MIB,
      maxReads = 32,
      timeoutMs = 30_000,
      openTimeoutMs = 10_000
    } = options
    if (!(timeoutMs > 0)) throw new RangeError(`timeoutMs must be above 0, not ${timeoutMs}`)
    this.id = peerId
    this.#clock = clock
    this.#signer = signer
    this.#timeoutMs = timeoutMs
    this.#putBytes = new Budget(inFlightBytes, `bytes of puts to ${peerId}`)
    this.#readSlots = new Budget(maxReads, `reads from ${peerId}`)
    const attach = (channel: Channel): StoreSession => new StoreSession(channel, clock)
    const parts = { node, clock, peerId, spec: STORE_PROTOCOL, attach }
    this.#puts = new KeptChannel(parts, { openTimeoutMs })
    this.#reads = new KeptChannel(parts, { openTimeoutMs })
  }

  /** Whether nothing is waiting for an answer. */
  get isIdle(): boolean {
    return this.#callCount === 0
  }

  async has(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    const held = ids.map(isZeroChunk)
    const asked = [...ids.keys()].filter((index) => held[index] === false)
    for (let from = 0; from < asked.length; from += MAX_HAS_IDS) {
      const batch = asked.slice(from, from + MAX_HAS_IDS)
      const batchIds = batch.map((index) => ids[index] as ChunkId)
      const answers = await this.#read('has', options, (session, deadline) =>
        session.has(batchIds, deadline)
      )
      for (const [at, index] of batch.entries()) held[index] = answers[at] === true
    }
    return held
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
    const amount = Math.min(length, this.#putBytes.total)
    await this.#counted(this.#putBytes, amount, options, () =>
      this.#within('put', options, async (deadline) => {
        const session = await this.#puts.session(deadline)
        await session.put(id, bytes, deadline)
      })
    )
  }

  /** @throws {PeerChunkMismatchError} if the provider sent something else. */
  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    if (isZeroChunk(id)) throw new RangeError('the zero chunk is never sent')
    const bytes = await this.#read('get', options, (session, deadline) => session.get(id, deadline))
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
    return await this.#read('begin', options, (session, deadline) => session.begin(deadline))
  }

  async unleased(
    collection: string,
    after: ChunkId | undefined,
    options: AbortOptions = {}
  ): Promise<ChunkId[]> {
    if (after !== undefined) checkChunkId(after)
    if (!isCollectionName(collection)) throw new CollectionEndedError(collection)
    return await this.#read('list', options, (session, deadline) =>
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
    const { isDryRun } = options
    const order = { kind: 'chunks', provider: this.id, collection, keys: ids, isDryRun } as const
    const signed = signRetirementOrder(signer, order)
    return await this.#read('collect', options, (session, deadline) =>
      session.collect(signed, deadline)
    )
  }

  /** Closes the streams; what is in flight rejects. */
  async close(): Promise<void> {
    await Promise.all([this.#puts.close(), this.#reads.close()])
  }

  async #read<T>(
    what: string,
    options: AbortOptions,
    ask: (session: StoreSession, deadline: Deadline) => Promise<T>
  ): Promise<T> {
    return this.#counted(this.#readSlots, 1, options, () =>
      this.#within(what, options, async (deadline) =>
        ask(await this.#reads.session(deadline), deadline)
      )
    )
  }

  async #counted<T>(
    budget: Budget,
    amount: number,
    { signal }: AbortOptions,
    work: () => Promise<T>
  ): Promise<T> {
    this.#callCount += 1
    try {
      await budget.acquire(amount, { signal })
      try {
        return await work()
      } finally {
        budget.release(amount)
      }
    } finally {
      this.#callCount -= 1
    }
  }

  async #within<T>(
    what: string,
    { signal }: AbortOptions,
    work: (deadline: Deadline) => Promise<T>
  ): Promise<T> {
    const timeoutMs = this.#timeoutMs
    const timedOut = (): Error => new PeerTimeoutError(this.id, what, timeoutMs)
    return withDeadline(work, { clock: this.#clock, timeoutMs, signal, timedOut })
  }
}
