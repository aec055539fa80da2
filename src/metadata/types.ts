import type { AbortOptions, ChunkId, Collected, ProviderId } from '../chunks/types.ts'

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
export type SignedPurpose = 'ticket' | 'version-record' | 'location' | 'nodes' | 'retirement'

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
   * Checks signature, certificate and that its roles allow this purpose (all but nodes need
   * `versionManager`).
   *
   * @returns the signer's peer id.
   * @throws {UntrustedSignatureError}
   */
  verify(purpose: SignedPurpose, envelope: SignedEnvelope): string
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

/** A blob as collection sees it, all blobs at one moment. */
export interface BlobRoots {
  readonly blob: BlobId
  readonly chunkBytes: number
  /** Newest published version; nodes of later ones are not looked at. */
  readonly published: Version
  /**
   * Versions whose manifests stay: those that can be read or are held, and the newest published
   * one, on which the next stands. Sorted; empty for a blob that nobody can reach any more.
   */
  readonly manifests: readonly Version[]
  /**
   * Those of them that are not sealed yet. What they are made from is among the roots, here or in
   * the blob that this one was cloned from: leaf lists, and the manifest that they begin with.
   */
  readonly unsealed: readonly Version[]
  /** Versions whose trees stay: those, what clones stand on, and bases of tickets. Sorted. */
  readonly trees: readonly Version[]
  /** Leaf lists of versions in flight, and of published ones that are not sealed yet. */
  readonly leafLists: readonly ChunkId[]
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

// ---- stores of the metadata providers ----

/** Put-once store of tree nodes. */
export interface NodeStore {
  /** undefined for a node that is not there (yet). */
  getNodes(keys: readonly NodeKey[], options?: AbortOptions): Promise<(TreeNode | undefined)[]>
  /**
   * Stores nodes durably. The same bytes under a key again are fine.
   *
   * @throws {NodeConflictError} if a key holds other bytes; nothing of the batch is stored then.
   * @throws {InvalidNodeError} if a node does not follow from the ticket's ranges.
   */
  putNodes(nodes: readonly KeyedNode[], proof: NodeProof, options?: AbortOptions): Promise<void>
}

export interface Page {
  readonly id: ChunkId
  readonly bytes: Uint8Array
}

/** Content-addressed metadata: manifest pages and leaf-list pages. */
export interface PageStore {
  /** Verified bytes, or undefined. */
  getPages(ids: readonly ChunkId[], options?: AbortOptions): Promise<(Uint8Array | undefined)[]>
  /** Stores pages durably. @throws {ChunkMismatchError} if bytes do not hash to their id. */
  putPages(pages: readonly Page[], options?: AbortOptions): Promise<void>
}

/**
 * A signed record under a name; the highest sequence wins, other bytes under the same sequence
 * are refused.
 */
export interface NamedRecord {
  /** `location/<page id hex>` or `version/<blob id>/<version>`. */
  readonly name: string
  readonly sequence: number
  readonly purpose: SignedPurpose
  readonly envelope: SignedEnvelope
}

export interface RecordStore {
  getRecords(names: readonly string[], options?: AbortOptions): Promise<(NamedRecord | undefined)[]>
  /** Stores records durably; one with a lower sequence than what is there is dropped silently. */
  putRecords(records: readonly NamedRecord[], options?: AbortOptions): Promise<void>
}

/** All that a metadata provider keeps. */
export interface MetadataStore extends NodeStore, PageStore, RecordStore {}

/**
 * Kinds of what a metadata provider keeps, each under keys that sort as bytes: node keys
 * (node-codec.ts), page ids, record names in UTF-8.
 */
export type MetadataKind = 'nodes' | 'pages' | 'records'

/** A stretch of a provider's keys. */
export interface KeyScan {
  readonly kind: MetadataKind
  /** Only keys above this one. */
  readonly after?: Uint8Array | undefined
  /** Only keys that begin so. */
  readonly prefix?: Uint8Array | undefined
  /** @default 1024, the most */
  readonly limit?: number | undefined
}

/** A node with what it was stored beside, so that it can be stored elsewhere. */
export interface ProvenNode extends KeyedNode {
  readonly proof: NodeProof
}

/** What hand-over and repair ask of one metadata provider. */
export interface HandedOverStore extends MetadataStore {
  /** Keys in order; fewer than the limit mean that there are no more. */
  scan(scan: KeyScan, options?: AbortOptions): Promise<Uint8Array[]>
  /** Tells for each key whether the provider lacks it. */
  lacking(
    kind: MetadataKind,
    keys: readonly Uint8Array[],
    options?: AbortOptions
  ): Promise<boolean[]>
  /** As `getNodes`, with the proof of each. Nodes of one batch share one proof object. */
  getProvenNodes(
    keys: readonly NodeKey[],
    options?: AbortOptions
  ): Promise<(ProvenNode | undefined)[]>
  /** Tells for each record whether the provider has none, or an older one. */
  behind(
    records: readonly Pick<NamedRecord, 'name' | 'sequence'>[],
    options?: AbortOptions
  ): Promise<boolean[]>
}

/**
 * What collection asks of one metadata provider. Pages and records have leases as chunks do, from
 * each put; nodes need none, because only versions that are published and no longer wanted lose
 * any.
 */
export interface CollectableMetadata {
  /** As CollectableProvider. */
  beginCollection(options?: AbortOptions): Promise<string>
  /** Keys without a lease, in order, at most 1,024; none when there are no more. */
  unleased(collection: string, scan: KeyScan, options?: AbortOptions): Promise<Uint8Array[]>
  /** Versions that have nodes here, in order of blob and version, above `after`; at most 1,024. */
  nodeVersions(
    collection: string,
    after: NodeRef | undefined,
    options?: AbortOptions
  ): Promise<NodeRef[]>
  /** Deletes those of the keys that still have no lease. @throws {CollectionEndedError} */
  collect(
    collection: string,
    request: { readonly kind: MetadataKind; readonly keys: readonly Uint8Array[] },
    options?: AbortOptions
  ): Promise<Collected>
}

/** What an agent's own metadata store does. */
export interface KeptMetadata extends HandedOverStore, CollectableMetadata {
  /** Deletes what others keep now in the place of this agent; leases do not count. */
  drop(kind: MetadataKind, keys: readonly Uint8Array[], options?: AbortOptions): Promise<Collected>
}

// ---- version manager and namespace ----

export interface CreateBlobRequest {
  readonly chunkBytes: number
  readonly replicas: number
  /** Expected size; fixes the tree span at first, so that growth is rare. */
  readonly sizeHint?: number | undefined
}

/** Hands out tickets, publishes in order, seals. Every answer is durable before it is given. */
export interface VersionManager {
  createBlob(request: CreateBlobRequest, options?: AbortOptions): Promise<BlobDescription>
  describe(blob: BlobId, options?: AbortOptions): Promise<BlobDescription | undefined>
  /** → assigned. @throws {UnknownBlobError | TicketConflictError | MetadataLimitError} */
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

/** What collection asks of the version manager, beside `record`. */
export interface CollectedVersions {
  /** When its state began, milliseconds since the epoch; 0 if nobody knows. */
  beganMs(options?: AbortOptions): Promise<number>
  /**
   * Retires what no policy keeps any more, and everything of blobs that no path names.
   *
   * @param isDryRun only say what would be retired.
   */
  applyRetention(
    request: { readonly isDryRun: boolean },
    options?: AbortOptions
  ): Promise<readonly NodeRef[]>
  /** What must stay, at this moment, as if `retired` were retired already. */
  roots(retired: readonly NodeRef[], options?: AbortOptions): Promise<readonly BlobRoots[]>
  /** What versions `from` to `to`, both included, wrote. */
  assigned(
    blob: BlobId,
    range: { readonly from: Version; readonly to: Version },
    options?: AbortOptions
  ): Promise<readonly AssignedVersion[]>
  /** Seals the version if nobody has yet, also one that is retired but stays for others. */
  recordOf(ref: NodeRef, options?: AbortOptions): Promise<SignedVersionRecord>
  /**
   * Forgets blobs of which nothing is left anywhere; those that somebody has come to need meanwhile
   * stay.
   */
  forget(blobs: readonly BlobId[], options?: AbortOptions): Promise<void>
}

/**
 * What a collection found and did. Copies are counted one by one; bytes of chunks are as stored. A
 * dry run says the same as the collection right after it, but does not know the bytes of nodes, pages
 * and records, and says 0.
 */
export interface CollectionReport {
  readonly isDryRun: boolean
  readonly retiredVersions: number
  readonly forgottenBlobs: number
  readonly chunks: Collected
  readonly nodes: Collected
  readonly pages: Collected
  readonly records: Collected
  /** Chunks of versions that stay, each counted once. */
  readonly liveChunks: number
  /** Providers that could not be asked; what they keep is collected another time. */
  readonly missed: readonly ProviderId[]
  readonly seconds: number
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
