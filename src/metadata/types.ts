import type { AbortOptions, ChunkId, ProviderId } from '../chunks/types.ts'

/** BLAKE3-256 of (authority public key, nonce) as 64 lower-case hex digits. */
export type BlobId = string

/** Snapshot number of a blob: 1, 2, 3 …; 0 is empty, or in a clone the alias of its source. */
export type Version = number

/** Half-open range of chunk indexes, `[start, end)`. */
export interface ChunkRange {
  readonly start: number
  readonly end: number
}

/** Half-open range of bytes, `[offset, offset + length)`. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

// ---- segment tree (live layer) ----

/**
 * Names the version of a blob whose node stands somewhere; offset and span follow from the place.
 */
export interface NodeRef {
  readonly blob: BlobId
  readonly version: Version
}

/**
 * Key of a tree node; `offset` and `span` in chunks, span a power of two, offset a multiple of
 * it.
 */
export interface NodeKey extends NodeRef {
  readonly offset: number
  readonly span: number
}

/**
 * Part of a leaf that one write brought: `length` bytes at `at`, found at `chunkOffset` of a
 * chunk.
 */
export interface Fragment {
  readonly at: number
  readonly length: number
  /** May be the zero chunk. */
  readonly chunk: ChunkId
  readonly chunkOffset: number
  /** Where the chunk was stored when this was written, sorted; empty for the zero chunk. */
  readonly replicas: readonly ProviderId[]
}

/** `undefined` children are holes, which read as zeros. */
export interface InnerNode {
  readonly kind: 'inner'
  readonly left: NodeRef | undefined
  readonly right: NodeRef | undefined
}

/**
 * Fragments do not overlap and are sorted by `at`; what they leave open is read from `previous`.
 */
export interface LeafNode {
  readonly kind: 'leaf'
  readonly fragments: readonly Fragment[]
  readonly previous: NodeRef | undefined
}

export type TreeNode = InnerNode | LeafNode

/**
 * What one write brought to one chunk: fragments sorted by `at` that do not overlap, at least
 * one, at most MAX_LEAF_FRAGMENTS (geometry.ts), none reaching past the chunk or the version's
 * end. A leaf list is an iterable of these, sorted by `index`, each index once.
 */
export interface LeafEntry {
  readonly index: number
  readonly fragments: readonly Fragment[]
}

export interface KeyedNode {
  readonly key: NodeKey
  readonly node: TreeNode
}

/** What a version reads as at some range of bytes; a hole has no chunk. */
export interface Extent extends ByteRange {
  readonly chunk: ChunkId | undefined
  readonly chunkOffset: number
  readonly replicas: readonly ProviderId[]
}

// ---- signatures ----

/** What a signature is for; mixed into the signed bytes so that one cannot pass for another. */
export type SignedPurpose =
  | 'ticket'
  | 'version-record'
  | 'location'
  | 'path'
  | 'nodes'
  | 'retirement'
  | 'surplus'

/** A payload, the signature over (purpose, payload), and the certificate of who signed. */
export interface SignedEnvelope {
  readonly payload: Uint8Array
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array
  /** Encoded membership certificate that names signer and roles; opaque here. */
  readonly certificate: Uint8Array
}

export interface Signer {
  readonly peerId: string
  sign(purpose: SignedPurpose, payload: Uint8Array): SignedEnvelope
}

export interface Verifier {
  /**
   * Checks signature, certificate and that its roles allow this purpose: `versionManager` for all
   * but nodes, which any writer signs, and surplus, which is the `providerManager`'s. Both sign
   * locations.
   *
   * @param signedMs when it was signed, as far as the payload says so; a signer that had been shut out
   *   of the cluster by then is not believed.
   * @returns the signer's peer id.
   * @throws {UntrustedSignatureError}
   */
  verify(purpose: SignedPurpose, envelope: SignedEnvelope, signedMs?: number): string
}

// ---- tickets ----

/** What is known of a version that was assigned: enough to decide which tree nodes it owns. */
export interface AssignedVersion {
  readonly version: Version
  /** Chunks it rewrites: sorted, disjoint, at most 4,096. */
  readonly ranges: readonly ChunkRange[]
  /** Size of the blob as of this version, in bytes. */
  readonly bytes: number
  /** Tree span in chunks as of this version and the one before. */
  readonly span: number
  readonly previousSpan: number
  /** True if everything at and past its end is cut off (STOR over an older version). */
  readonly truncates: boolean
}

/** Root of the newest published version below a ticket. */
export interface RootRef extends NodeRef {
  readonly span: number
}

/**
 * What the version manager hands a writer; travels signed. Weaving is a pure function of it and
 * the leaf list.
 */
export interface Ticket extends AssignedVersion {
  readonly blob: BlobId
  readonly chunkBytes: number
  readonly writer: string
  /**
   * Root of the writer's leaf list (see leaf-list-codec.ts), stored as pages before the ticket was
   * asked for.
   */
  readonly leafList: ChunkId
  /** Versions assigned and not yet published below this one, oldest first. */
  readonly inFlight: readonly AssignedVersion[]
  /** undefined when nothing was published yet. */
  readonly base: RootRef | undefined
  /**
   * Milliseconds since the epoch; a commit after it may find the version already rolled forward.
   */
  readonly leaseUntilMs: number
}

export interface TicketRequest {
  readonly blob: BlobId
  /** Peer id of who writes; the version manager checks it against the connection. */
  readonly writer: string
  readonly ranges: readonly ChunkRange[]
  /**
   * End of what is written in bytes; the new size if `truncates`, else the size becomes at least
   * this.
   */
  readonly endBytes: number
  readonly truncates: boolean
  readonly leafList: ChunkId
  /**
   * The pages of the leaf list, where it is short (MAX_LEAF_PAGES, MAX_LEAF_PAGE_BYTES together) and
   * not stored yet: the version manager stores them first, which saves a request.
   */
  readonly leafPages?: readonly Uint8Array[] | undefined
  /** Refused with a conflict unless the newest assigned version is this one. */
  readonly ifNewest?: Version | undefined
  /** Refused with a conflict unless the newest assigned size is this (append). */
  readonly ifBytes?: number | undefined
  /** Refused with a conflict unless this path still names the blob. */
  readonly path?: string | undefined
  readonly note?: string | undefined
}

export interface SignedTicket {
  readonly ticket: Ticket
  readonly envelope: SignedEnvelope
}

/** Stands beside nodes that are put: the ticket they follow from, and the putter's signature. */
export interface NodeProof {
  readonly ticket: SignedEnvelope
  /** By the putter over the digests of the batch's nodes. */
  readonly nodes: SignedEnvelope
}

// ---- blobs, versions, records ----

export interface BlobDescription {
  readonly blob: BlobId
  readonly chunkBytes: number
  readonly replicas: number
  readonly createdMs: number
}

export type VersionCondition = 'assigned' | 'committed' | 'published' | 'retired'

export interface VersionSummary {
  readonly version: Version
  readonly bytes: number
  /** When it was published, else assigned; milliseconds since the epoch. */
  readonly timeMs: number
  readonly note: string
  readonly condition: VersionCondition
  /** Kept whatever the policy says, until it is unpinned. */
  readonly isPinned: boolean
}

/** Which versions of a path stay: a version that any rule keeps does. No rule keeps all. */
export interface RetentionPolicy {
  /** The newest so many, at least 1. */
  readonly last?: number | undefined
  /** Those published not longer ago. */
  readonly youngerMs?: number | undefined
}

/** A policy, and the path that it was set for: the asked one or a folder above it. */
export interface EffectiveRetention {
  readonly policy: RetentionPolicy
  /** undefined if none was set anywhere, which keeps all. */
  readonly setFor: string | undefined
}

export interface HoldRequest extends NodeRef {
  /** Peer id of who holds it; the version manager checks it against the connection. */
  readonly holder: string
  /** What for, such as `pull /a/b`; together with the holder it names the hold. */
  readonly purpose: string
  /** How long without renewal, at most 7 days. */
  readonly forMs: number
}

/**
 * The sealed form of a published version: all that a deployer needs besides a few manifest pages.
 * Travels signed.
 */
export interface VersionRecord {
  readonly blob: BlobId
  readonly version: Version
  readonly bytes: number
  readonly chunkBytes: number
  /** Multihash code of the algorithm that names chunks and pages (0x1e, BLAKE3). */
  readonly hashCode: number
  readonly manifestRoot: ChunkId
  readonly parent: NodeRef | undefined
  readonly timeMs: number
  readonly note: string
}

export interface SignedVersionRecord {
  readonly record: VersionRecord
  readonly envelope: SignedEnvelope
}

/**
 * A published version that is to get its manifest; all that the record says is in here, so
 * sealing is deterministic.
 */
export interface SealRequest {
  readonly description: BlobDescription
  readonly version: Version
  readonly bytes: number
  /** True if it starts from nothing. */
  readonly truncates: boolean
  /** Chunks that its ticket allowed it to write; what its leaf list says of others is ignored. */
  readonly ranges: readonly ChunkRange[]
  readonly leafList: ChunkId
  /** When it was published. */
  readonly timeMs: number
  readonly note: string
  /** The version below, or in a clone's first version the source; undefined when there is none. */
  readonly parent: NodeRef | undefined
  /** Record of `parent`; undefined when there is no parent or the version truncates. */
  readonly parentRecord: SignedVersionRecord | undefined
}

/** Gives published versions their manifests. */
export interface Sealer {
  /** Stores manifest, locations and signed record, and returns the record; twice gives the same. */
  seal(request: SealRequest, options?: AbortOptions): Promise<SignedVersionRecord>
}

/**
 * Where the chunks of one manifest page are: a hint. A higher sequence replaces a lower one.
 * Travels signed.
 */
export interface LocationRecord {
  readonly page: ChunkId
  readonly sequence: number
  /** One replica set per chunk of the page, empty for the zero chunk. */
  readonly replicas: readonly (readonly ProviderId[])[]
}

// ---- version manager and namespace ----

export interface CreateBlobRequest {
  readonly chunkBytes: number
  readonly replicas: number
  /** Expected size; fixes the tree span at first, so that growth is rare. */
  readonly sizeHint?: number | undefined
}

/** A short file, whose chunks are stored and whose whole leaf list comes along. */
export interface NewFileRequest
  extends CreateBlobRequest,
    Pick<TicketRequest, 'writer' | 'endBytes' | 'leafList' | 'note'> {
  readonly path: string
  /** At most MAX_LEAF_PAGES of at most MAX_LEAF_PAGE_BYTES together. */
  readonly leafPages: readonly Uint8Array[]
}

/** Hands out tickets, publishes in order, seals. Every answer is durable before it is given. */
export interface VersionManager {
  createBlob(request: CreateBlobRequest, options?: AbortOptions): Promise<BlobDescription>
  describe(blob: BlobId, options?: AbortOptions): Promise<BlobDescription | undefined>
  /**
   * → assigned.
   *
   * @throws {UnknownBlobError | TicketConflictError | SizeConflictError | MetadataLimitError}
   */
  assign(request: TicketRequest, options?: AbortOptions): Promise<SignedTicket>
  /** Extends the lease. @throws {TicketConflictError} if it was fenced already. */
  renew(blob: BlobId, version: Version, options?: AbortOptions): Promise<number>
  /**
   * assigned → committed, once all nodes are stored; published with the longest finished prefix.
   */
  commit(blob: BlobId, version: Version, options?: AbortOptions): Promise<void>
  /** As `commit` and then `waitPublished`, in one request where the version manager is elsewhere. */
  finish(blob: BlobId, version: Version, options?: AbortOptions): Promise<VersionSummary>
  /** Resolves when the version is published. */
  waitPublished(blob: BlobId, version: Version, options?: AbortOptions): Promise<VersionSummary>
  /**
   * Newest published version that is not retired, in a clone without one its version 0; undefined if
   * there is none.
   */
  latest(blob: BlobId, options?: AbortOptions): Promise<VersionSummary | undefined>
  /**
   * Record of the newest version that can be read and is sealed already; nothing is sealed for it.
   * What is new beyond it is unknown.
   */
  sealed(blob: BlobId, options?: AbortOptions): Promise<SignedVersionRecord | undefined>
  /** Newest assigned version and size, what an append is cut on. */
  newest(blob: BlobId, options?: AbortOptions): Promise<{ version: Version; bytes: number }>
  /** Versions that can be read, oldest first, a clone's version 0 among them. */
  history(blob: BlobId, options?: AbortOptions): Promise<VersionSummary[]>
  /** Seals the version if nobody has yet. @throws {UnknownVersionError} if it is not published. */
  record(blob: BlobId, version: Version, options?: AbortOptions): Promise<SignedVersionRecord>
  /**
   * published → retired: hidden from now on, collected later.
   *
   * @throws {VersionPinnedError}
   */
  retire(blob: BlobId, version: Version, options?: AbortOptions): Promise<void>
  /**
   * Keeps a version from collection, also when it or its path is removed meanwhile. Again renews.
   *
   * @returns when it ends, milliseconds since the epoch.
   * @throws {UnknownVersionError | MetadataLimitError | RangeError}
   */
  hold(request: HoldRequest, options?: AbortOptions): Promise<number>
  /** Ends a hold; one that is not there is fine. */
  release(hold: Omit<HoldRequest, 'forMs'>, options?: AbortOptions): Promise<void>
  /** Pins a version or lets go of it again. @throws {UnknownVersionError} */
  setPinned(ref: NodeRef, isPinned: boolean, options?: AbortOptions): Promise<void>
}

export interface DirectoryEntry {
  readonly kind: 'directory'
  readonly path: string
  readonly modifiedMs: number
}

/** A file with at least one published version; `bytes` and `modifiedMs` are those of the newest. */
export interface FileEntry {
  readonly kind: 'file'
  readonly path: string
  readonly blob: BlobId
  readonly version: Version
  readonly bytes: number
  readonly modifiedMs: number
}

/** What lies below a path. */
export interface Usage {
  /** Sizes of the newest versions together. */
  readonly bytes: number
}

export type NamespaceEntry = DirectoryEntry | FileEntry

/**
 * Paths are absolute, `/`-separated, normalised, UTF-8, at most 4,096 bytes with parts of at most
 * 255.
 */
export interface Namespace {
  lookup(path: string, options?: AbortOptions): Promise<NamespaceEntry | undefined>
  /**
   * At most `limit` (default 1,000) entries of a directory with names above `after`, in order.
   *
   * @throws {PathNotFoundError | NotDirectoryError}
   */
  list(
    path: string,
    request?: { readonly after?: string; readonly limit?: number },
    options?: AbortOptions
  ): Promise<NamespaceEntry[]>
  makeDirectory(
    path: string,
    request?: { readonly parents?: boolean },
    options?: AbortOptions
  ): Promise<void>
  /**
   * Gives the blob of a path for writing, making one (and the parent folders) when there is none.
   * A new one is invisible until its first version is published.
   *
   * @throws {NotDirectoryError | IsDirectoryError}
   */
  reserve(path: string, create: CreateBlobRequest, options?: AbortOptions): Promise<BlobDescription>
  /**
   * Tells whether a path names no blob yet, not even a reserved one, and a file can be made there.
   *
   * @throws {NotDirectoryError | IsDirectoryError | InvalidPathError | MetadataLimitError}
   */
  isFree(path: string, options?: AbortOptions): Promise<boolean>
  /**
   * Makes a file with its first version in one step, as `reserve`, `assign` and `commit` do together.
   *
   * @returns undefined if the path names a blob already, or the answer was lost: `reserve` tells.
   * @throws {NotDirectoryError | IsDirectoryError | MetadataLimitError}
   */
  publishFile(request: NewFileRequest, options?: AbortOptions): Promise<VersionSummary | undefined>
  /**
   * Removes a file or an empty directory.
   *
   * @throws {PathNotFoundError | DirectoryNotEmptyError | IsDirectoryError | NotDirectoryError}
   */
  remove(
    path: string,
    request: { readonly kind: 'file' | 'directory' | 'any' },
    options?: AbortOptions
  ): Promise<void>
  /** Moves a file or a directory with all below it; a file at the target is replaced by a file. */
  rename(from: string, to: string, options?: AbortOptions): Promise<void>
  /**
   * Makes a new blob at a path whose version 0 stands for a published version of another. O(1).
   *
   * @throws {PathExistsError | UnknownBlobError | UnknownVersionError | NotDirectoryError}
   */
  clone(from: NodeRef, path: string, options?: AbortOptions): Promise<FileEntry>
  /**
   * Sets the time that a file or folder shows, until a version is published or something in the
   * folder changes. Version times stay as they are.
   *
   * @throws {PathNotFoundError | InvalidPathError | RangeError}
   */
  setModified(path: string, modifiedMs: number, options?: AbortOptions): Promise<void>
  /** What the files below a folder take, or a file takes; nothing if there is none. O(1). */
  usage(path: string, options?: AbortOptions): Promise<Usage>
  /**
   * Sets which versions of a file, or of all files below a folder, stay; undefined goes by the
   * folders above again.
   *
   * @throws {PathNotFoundError | RangeError}
   */
  setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options?: AbortOptions
  ): Promise<void>
  /** @throws {PathNotFoundError} */
  retention(path: string, options?: AbortOptions): Promise<EffectiveRetention>
}
