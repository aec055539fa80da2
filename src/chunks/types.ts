/**
 * BLAKE3-256 of a chunk's plain bytes, 32 bytes. Pages and leaf lists are named the same way. The
 * reserved ZERO_CHUNK_ID (32 zero bytes) names a chunk of zeros of any length, which is never
 * stored, sent or read from a disk.
 */
export type ChunkId = Uint8Array

/** A provider is named by its libp2p peer id in text form. */
export type ProviderId = string

export interface AbortOptions {
  readonly signal?: AbortSignal | undefined
}

export interface WriteBlockOptions extends AbortOptions {
  /**
   * The array is only lent: when the call has resolved, its owner uses it again.
   *
   * @default false: it is given away
   */
  readonly isLent?: boolean | undefined
}

/**
 * When a store may say that it has a chunk: after it is on disk, or in memory (the paper's
 * setting).
 */
export type Durability = 'fsync' | 'memory'

/** Space in a store that is promised to bytes which are about to come. */
export interface SpaceReservation {
  readonly bytes: number
  /** Gives back what was not used. Harmless when called twice. */
  release(): void
}

export interface ProviderPutOptions extends AbortOptions {
  /**
   * The id was computed from these very bytes in this process, so that the agent's own provider
   * need not do it again. Others always do.
   *
   * @default false
   */
  readonly isVerified?: boolean | undefined
}

export interface PutOptions extends AbortOptions {
  /**
   * Space that the store has promised to these bytes; the put releases it when it ends.
   *
   * @default none: the put reserves for itself
   */
  readonly reservation?: SpaceReservation | undefined
}

export interface DeleteOptions {
  /**
   * Asked at the moment from which on `has` would say no, when nothing else happens to the chunk;
   * true leaves it as it is.
   *
   * @default never
   */
  readonly isKept?: (() => boolean) | undefined
}

/**
 * Content-addressed chunks on this machine. What it has is known without waiting; bytes are read on
 * demand and verified on the first read after a start.
 */
export interface ChunkStore {
  /** Chunks held, without the zero chunk. */
  readonly chunkCount: number
  /** Bytes held. */
  readonly storedBytes: number
  /** Tells whether the chunk is held; always true for the zero chunk. */
  has(id: ChunkId): boolean
  /**
   * Stores a chunk and resolves when it is as durable as the store was told to make it. The caller
   * has hashed the bytes and must not change them before it resolves. A chunk that is held already
   * costs nothing. Concurrent puts of one chunk share one write.
   *
   * @returns true if the chunk was not held before.
   * @throws {StoreFullError} if the quota or the disk has no room; nothing is left behind.
   */
  put(id: ChunkId, bytes: Uint8Array, options?: PutOptions): Promise<boolean>
  /**
   * Reads a whole chunk. The array belongs to the taker.
   *
   * @returns undefined if the chunk is not held (or was found corrupt, and is then no longer held).
   * @throws {RangeError} for the zero chunk, whose length the id does not tell.
   */
  get(id: ChunkId, options?: AbortOptions): Promise<Uint8Array | undefined>
  /** Length of a chunk in bytes; undefined if it is not held, and for the zero chunk. */
  lengthOf(id: ChunkId): number | undefined
  /**
   * Forgets a chunk and frees its space.
   *
   * @returns false if it was not held, or was to be kept.
   */
  delete(id: ChunkId, options?: DeleteOptions): Promise<boolean>
  /** Ids of the chunks held, in no order: of all, or of those whose first byte is this one. */
  ids(firstByte?: number): Iterable<ChunkId>
  /** Makes ready: takes the lock, reads the index, removes what a crash left. Called once. */
  start(): Promise<void>
  /** Finishes what runs and releases the directory. */
  stop(): Promise<void>
}

/** How a chunk was found on its disk. */
export type ChunkCondition = 'intact' | 'corrupt' | 'missing'

/** A store whose chunks can be read and hashed again, whenever they were last. */
export interface CheckableStore extends ChunkStore {
  /** Chunks found corrupt, missing or unreadable since it was started. @default 0 */
  readonly lostCount?: number
  /** Whether its disk takes writes at present. @default true */
  readonly isWritable?: boolean
  /**
   * Verifies a chunk; what is corrupt or missing is no longer held.
   *
   * @returns undefined if the chunk was not held.
   * @throws {StoreFailedError} if the disk cannot read it.
   */
  check(id: ChunkId, options?: AbortOptions): Promise<ChunkCondition | undefined>
}

/** A store that promises space before the bytes come, and knows whether its disk takes writes. */
export interface ReservingStore extends CheckableStore {
  /** False after a write has failed for another reason than lack of room, until one succeeds. */
  readonly isWritable: boolean
  /** Chunks that were lost since the start: corrupt, missing, or on a bad part of the disk. */
  readonly lostCount: number
  /**
   * Promises space to a chunk that is about to come, so that whoever sends it need not send it in
   * vain. Pass the promise to `put`, or release it.
   *
   * @throws {StoreFullError} if the quota or the disk has no room.
   * @throws {StoreFailedError} if the disk takes no writes at present.
   */
  reserve(bytes: number): Promise<SpaceReservation>
}

/**
 * A place that keeps chunks durably for others: this agent's own store or another agent's over the
 * network.
 */
export interface ChunkProvider {
  readonly id: ProviderId
  /**
   * Tells for each id whether the provider has the chunk; a yes is a lease (design: section 4,
   * store).
   */
  has(ids: readonly ChunkId[], options?: AbortOptions): Promise<boolean[]>
  /** Stores a chunk durably. @throws {StoreFullError | ProviderError} */
  put(id: ChunkId, bytes: Uint8Array, options?: ProviderPutOptions): Promise<void>
  /** Reads a chunk, verified. @returns undefined if the provider does not have it. */
  get(id: ChunkId, options?: AbortOptions): Promise<Uint8Array | undefined>
}

/** What a collection took away. */
export interface Collected {
  readonly count: number
  readonly bytes: number
}

export interface CollectChunksOptions extends AbortOptions {
  /** Only say what would be deleted. @default false */
  readonly isDryRun?: boolean | undefined
}

/**
 * What collection asks of a provider. A chunk has a lease for a while after it was stored and after
 * each yes to `has`: whoever is about to refer to it needs no other protection until a ticket names
 * it. After a start every chunk has a lease, because nobody remembers the earlier ones.
 */
export interface CollectableProvider extends ChunkProvider {
  /**
   * Opens a collection, in place of any before. Chunks that have a lease now, or get one from now
   * on, are safe from it until it ends.
   *
   * @returns its name; it ends with the provider's process, with the next one, or after an hour.
   */
  beginCollection(options?: AbortOptions): Promise<string>
  /**
   * Chunks that the collection may delete, in the order of their ids, above `after`; at most 1,024,
   * none when there are no more.
   *
   * @throws {CollectionEndedError}
   */
  unleased(
    collection: string,
    after: ChunkId | undefined,
    options?: AbortOptions
  ): Promise<ChunkId[]>
  /**
   * Deletes those of the chunks that still have no lease.
   *
   * @throws {CollectionEndedError}
   */
  collect(
    collection: string,
    ids: readonly ChunkId[],
    options?: CollectChunksOptions
  ): Promise<Collected>
}

/** Opens providers by name; undefined when a name is unknown to the cluster. */
export interface ProviderDirectory {
  open(id: ProviderId): ChunkProvider | undefined
  /** Looks again who belongs to the cluster, where that is remembered. Does not reject. */
  refresh?(): Promise<void>
}

/** What a provider says of itself, with its registration and each heartbeat. */
export interface ProviderReport {
  readonly id: ProviderId
  /** Failure domain, such as a rack; providers of one zone may die together. */
  readonly zone: string
  readonly freeBytes: number
  readonly storedBytes: number
  readonly chunkCount: number
  /** Puts and gets in progress. */
  readonly load: number
  /** Whether it takes no new chunks, because all of its own shall move elsewhere. */
  readonly isDraining: boolean
  /** Version of its program. */
  readonly version: string
  /** How long puts took lately until they were durable, in milliseconds; 0 before the first. */
  readonly latencyMs: number
  /** Chunks that it found corrupt, missing or unreadable since its process began. */
  readonly lostCount: number
}

/** What the provider manager answers to a report. */
export interface ReportAnswer {
  /** Whether the provider shall drain from now on; it remembers that, and reports it. */
  readonly isDraining: boolean
}

export type ProviderCondition = 'live' | 'suspect' | 'dead'

/** `isDraining` is what the provider manager wants, which the provider may not know yet. */
export interface ProviderState extends ProviderReport {
  readonly condition: ProviderCondition
  /** Time of the last heartbeat, milliseconds since the epoch. */
  readonly seenMs: number
}

export interface PlacementRequest {
  /** Number of chunks to place. */
  readonly count: number
  /** Bytes of each. */
  readonly chunkBytes: number
  /** New copies of each, on different providers; those `beside` come on top. */
  readonly replicas: number
  /** Providers that must not be chosen, such as one that has just failed. */
  readonly exclude?: readonly ProviderId[] | undefined
  /** Providers that hold copies already: they are not chosen, and their zones count as taken. */
  readonly beside?: readonly ProviderId[] | undefined
  /**
   * Name of what the chunks belong to, such as a blob. Chunks of one stripe go to the same few
   * providers as long as those have room.
   *
   * @default no stripe: to all providers
   */
  readonly stripe?: string | undefined
}

/** What is wrong with a provider that was used: it did not do as asked, or had no room. */
export type FailureReason = 'failed' | 'full'

export interface FailureOptions extends AbortOptions {
  /** @default 'failed' */
  readonly reason?: FailureReason | undefined
}

/**
 * Knows the providers and where new chunks go. Entry i of a placement lists the providers for chunk
 * i, fewer than `replicas` when there are not that many, none when the space has run out before it.
 */
export interface ProviderManager {
  /** Takes a registration or heartbeat, and says what it wants of the provider. */
  report(report: ProviderReport, options?: AbortOptions): Promise<ReportAnswer>
  /**
   * @throws {NoProviderError} if there is not a single provider that takes chunks.
   * @throws {StoreFullError} if there are some, and all are full.
   */
  place(request: PlacementRequest, options?: AbortOptions): Promise<ProviderId[][]>
  /**
   * Notes that a provider failed, or had no room, while it was used, so that it is not chosen until
   * it reports again; longer if it has often been so.
   */
  reportFailure(id: ProviderId, options?: FailureOptions): Promise<void>
  list(options?: AbortOptions): Promise<ProviderState[]>
  /**
   * Stops, or resumes, placing new chunks on a provider. Repair moves the chunks of a draining one
   * elsewhere. Holds until the opposite is asked for, also when either side restarts.
   *
   * @throws {UnknownProviderError}
   */
  setDraining(id: ProviderId, isDraining: boolean, options?: AbortOptions): Promise<ProviderState>
}

export interface LocateOptions extends AbortOptions {
  /** For each id the providers that are asked; none for all. @default all, for every id */
  readonly among?: readonly (readonly ProviderId[])[] | undefined
  /**
   * Told of each provider that should have been asked and gave no answer, so that nobody knows what
   * it has; of undefined if not even the list of providers could be had.
   */
  readonly onUnanswered?: ((provider: ProviderId | undefined) => void) | undefined
}

export interface WriteChunkOptions extends ProviderPutOptions {
  /** Live providers that have the chunk already; they count as copies. @default none */
  readonly beside?: readonly ProviderId[] | undefined
  /** As in `PlacementRequest`. @default no stripe */
  readonly stripe?: string | undefined
}

export interface MakeWholeOptions extends AbortOptions {
  /**
   * Time since the first of the chunks was acknowledged, or all were last confirmed, in
   * milliseconds. What has just been acknowledged by providers that have not failed since needs no
   * question.
   *
   * @default unknown
   */
  readonly ageMs?: number | undefined
  /** Bytes of a chunk at most; replacements must have room for as much. @default 262_144 */
  readonly chunkBytes?: number | undefined
  /** As in `PlacementRequest`. @default no stripe */
  readonly stripe?: string | undefined
}

/** A chunk that was written, and the providers that have acknowledged it. */
export interface WrittenChunk {
  readonly id: ChunkId
  readonly replicas: readonly ProviderId[]
}

/** Stores a new chunk on as many providers as asked, and says where. */
export interface ChunkWriter {
  /**
   * @returns the providers that acknowledged and those `beside`, together at least the write quorum.
   * @throws {NotEnoughReplicasError} if they are fewer.
   */
  write(id: ChunkId, bytes: Uint8Array, options?: WriteChunkOptions): Promise<readonly ProviderId[]>
  /** Tells for each id which live providers have it already (one batched look-up a provider). */
  locate(ids: readonly ChunkId[], options?: LocateOptions): Promise<(readonly ProviderId[])[]>
  /**
   * Makes sure that written chunks still have their copies at live providers: what those that are
   * gone had acknowledged is copied from its twins to others.
   *
   * @returns for each chunk the live providers that have it now; none for the zero chunk.
   * @throws {NotEnoughReplicasError} if a chunk has fewer copies than the write quorum though there
   *   are providers that could take one.
   */
  makeWhole(
    chunks: readonly WrittenChunk[],
    options?: MakeWholeOptions
  ): Promise<(readonly ProviderId[])[]>
}

/** Reads a chunk from wherever it is. */
export interface ChunkReader {
  /**
   * Fetches and verifies a chunk, trying the providers of the hint first, then every provider.
   *
   * @throws {ChunkUnavailableError} if nobody could give it.
   */
  read(id: ChunkId, hint: readonly ProviderId[], options?: AbortOptions): Promise<Uint8Array>
}
