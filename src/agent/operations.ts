import type { ProviderState } from '../chunks/provider-manager-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { CollectionReport } from '../metadata/collection-types.ts'
import type {
  EffectiveRetention,
  NamespaceEntry,
  RetentionPolicy
} from '../metadata/namespace-types.ts'
import type { ByteRange, VersionSummary } from '../metadata/types.ts'

import type { RateLimits } from '../peer/swarm/description.ts'
import type { ImageSummary } from '../peer/swarm/image-summary.ts'
import type { CachedImage } from './cached-image.ts'

/** How far a long operation is; `phase` names what it does now. */
export interface OperationProgress {
  readonly phase: string
  readonly doneBytes: number
  readonly totalBytes: number
  readonly fromProvidersBytes?: number
  readonly fromPeersBytes?: number
  readonly bytesPerSecond?: number
  /** Until all bytes are there if they keep coming like that. */
  readonly etaSeconds?: number
  /** Agents with which chunks are exchanged. */
  readonly neighbours?: number
  /** Why nothing moves, when nothing moves. */
  readonly waitingFor?: string | undefined
  /** How long nothing has moved, when something else is tried, and when it fails if nothing comes. */
  readonly waitedSeconds?: number
  readonly nextInSeconds?: number
  readonly giveUpInSeconds?: number
  /** Who is waited for, some of them. */
  readonly waitingPeers?: readonly string[]
}

/** Options of operations that take long. */
export interface LongOptions extends AbortOptions {
  readonly onProgress?: ((progress: OperationProgress) => void) | undefined
}

/** What to store a body as. */
export interface PushRequest {
  readonly path: string
  /** Size if known beforehand; a body of another length is refused. */
  readonly bytes?: number | undefined
  readonly note?: string | undefined
  /** Refused as a conflict unless this version is the newest when it is published. */
  readonly ifNewest?: number | undefined
}

/** What became of a body. */
export interface PushResult {
  readonly path: string
  readonly version: number
  readonly bytes: number
  /** Bytes of chunks that were new, known already, and all zero. */
  readonly storedBytes: number
  readonly reusedBytes: number
  readonly zeroBytes: number
  readonly seconds: number
}

/** An image of zeros to make. */
export interface CreateRequest {
  readonly path: string
  readonly bytes: number
  /** @default as the configuration says */
  readonly chunkBytes?: number | undefined
  readonly note?: string | undefined
}

/** A range of a version that is to appear in an image. */
export interface MergeRequest {
  readonly ref: string
  /** Made if there is none. */
  readonly path: string
  /** First byte of the range. @default 0 */
  readonly offset?: number | undefined
  /** @default to the end */
  readonly length?: number | undefined
  /** Where the range begins in the image. @default offset */
  readonly at?: number | undefined
  readonly note?: string | undefined
  /** Refused as a conflict unless this version is the newest when it is published. */
  readonly ifNewest?: number | undefined
}

/** One version of an image. */
export interface ImageVersion {
  readonly path: string
  readonly version: number
  readonly bytes: number
}

/** Two versions and where they differ. */
export interface DiffResult {
  readonly before: ImageVersion
  readonly after: ImageVersion
  /** In order; can be walked once. */
  readonly ranges: AsyncIterable<ByteRange>
}

/** Which versions of a path stay. */
export interface RetentionResult extends EffectiveRetention {
  readonly path: string
}

/** What to write where. */
export interface PullRequest {
  readonly ref: string
  /** Absolute path of the file to write on the agent's machine. */
  readonly file: string
  readonly force: boolean
}

/** Where the bytes of an image came from; they add up to its size. */
export interface MovedBytes {
  readonly fromProvidersBytes: number
  readonly fromPeersBytes: number
  readonly reusedBytes: number
  readonly zeroBytes: number
}

/** What was brought into the cache, and where its bytes came from. */
export interface PrefetchResult extends MovedBytes {
  readonly ref: string
  readonly path: string
  readonly version: number
  readonly bytes: number
  readonly seconds: number
}

/** What was written. */
export interface PullResult extends PrefetchResult {
  readonly file: string
}

/** What was dropped from the cache. */
export interface EvictResult {
  readonly ref: string
  /** Bytes that came free: those of chunks that no other image in the cache has. */
  readonly freedBytes: number
}

/** An image or folder; ids and version of images only. */
export interface StatResult {
  readonly path: string
  readonly kind: 'file' | 'directory'
  readonly bytes: number
  readonly modifiedMs: number
  readonly blob?: string
  readonly version?: number
  readonly chunkBytes?: number
  readonly manifestRoot?: string
  readonly note?: string
  readonly sha256?: string
}

/** What was found, counted in chunks where nothing else is said. */
export interface VerifyResult {
  readonly ref: string
  readonly chunks: number
  readonly zeroChunks: number
  /** Copies that there should be, at providers and here. */
  readonly copies: number
  /** Of these, copies that were read and hashed again and are right. */
  readonly intact: number
  /** Chunks that are whole everywhere, this agent's own store included. */
  readonly checked: number
  /** Chunks that this agent does not keep and that are whole at all their providers. */
  readonly confirmed: number
  /** Chunks that a provider should have and has not, or of which it does not say so. */
  readonly missing: number
  /** Chunks of which some copy is wrong. */
  readonly corrupt: number
  /** Chunks with fewer whole copies at live providers than wanted; that alone is no damage. */
  readonly underReplicated: number
  /** Providers that did not answer. */
  readonly unreachableProviders: number
  /** Chunks with something wrong that are as they should be again. */
  readonly repaired: number
}

/** A provider as operators see it; `seen` is the time of its last heartbeat, ISO 8601. */
export interface ListedProvider extends Omit<ProviderState, 'seenMs'> {
  readonly seen: string
}

/** An image that this agent fetches or serves, with its names as far as they are known here. */
export interface ListedImage extends ImageSummary {
  readonly names: readonly string[]
}

/** What this agent exchanges, all images together; rates in bytes a second. */
export interface SwarmTotals extends RateLimits {
  readonly images: number
  readonly downloading: number
  readonly seeding: number
  /** Downloads that get nothing now. */
  readonly waiting: number
  readonly neighbours: number
  readonly receivedPerSecond: number
  readonly sentPerSecond: number
}

/** An agent that this one is connected to. */
export interface ListedPeer {
  readonly peerId: string
  readonly roles: readonly string[]
  readonly rights: readonly string[]
  /** ISO 8601. */
  readonly certificateUntil: string
  /** Failure domain; empty if it never told. */
  readonly zone: string
  /** Who opened the connection: inbound is the other one. */
  readonly direction: 'inbound' | 'outbound'
  readonly address: string
  readonly ageSeconds: number
  /** Images that are exchanged with it now, by name, or by the start of the manifest root. */
  readonly images: readonly string[]
  /** Bytes of chunks. */
  readonly bytesReceived: number
  readonly bytesSent: number
}

/** Rate limits to change, bytes a second; 0 takes one away, undefined leaves it. */
export interface RateLimitChange {
  readonly uploadRate?: number | undefined
  readonly downloadRate?: number | undefined
}

/** What a token is to give. */
export interface TokenRequest {
  readonly roles?: readonly string[] | undefined
  readonly rights?: readonly string[] | undefined
  /** How long the token holds, from 1 s to 30 days. @default 1 h */
  readonly expiresMs?: number | undefined
}

/** A member as operators see it; times in ISO 8601. */
export interface ListedMember {
  readonly peerId: string
  readonly roles: readonly string[]
  readonly rights: readonly string[]
  readonly standing: 'valid' | 'expired' | 'revoked'
  /** Connected to the agent that was asked, or that agent itself. */
  readonly isConnected: boolean
  readonly admitted: string
  readonly certificateUntil: string
  /** When and why it was revoked. */
  readonly revoked?: string
  readonly reason?: string
}

/** A token that somebody can still join with; its secret is not kept. */
export interface ListedToken {
  readonly id: string
  readonly roles: readonly string[]
  readonly rights: readonly string[]
  readonly expires: string
}

/** What client commands ask of files, folders and versions. */
export interface FileOperations {
  push(
    request: PushRequest,
    body: AsyncIterable<Uint8Array>,
    options?: AbortOptions
  ): Promise<PushResult>
  /** The bytes of a range, clipped to the image. */
  cat(
    ref: string,
    range: { readonly offset?: number | undefined; readonly length?: number | undefined },
    options?: AbortOptions
  ): Promise<{ readonly bytes: number; readonly body: AsyncIterable<Uint8Array> }>
  list(path: string, options?: AbortOptions): Promise<NamespaceEntry[]>
  stat(
    ref: string,
    request: { readonly sha256?: boolean },
    options?: AbortOptions
  ): Promise<StatResult>
  log(path: string, options?: AbortOptions): Promise<VersionSummary[]>
  create(request: CreateRequest, options?: AbortOptions): Promise<ImageVersion>
  clone(ref: string, path: string, options?: AbortOptions): Promise<ImageVersion>
  merge(request: MergeRequest, options?: AbortOptions): Promise<ImageVersion>
  diff(before: string, after: string, options?: AbortOptions): Promise<DiffResult>
  setPinned(
    ref: string,
    isPinned: boolean,
    options?: AbortOptions
  ): Promise<{ readonly path: string; readonly version: number; readonly isPinned: boolean }>
  retention(path: string, options?: AbortOptions): Promise<RetentionResult>
  /** Sets it, or with undefined goes by the folders above again; returns what is in force then. */
  setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options?: AbortOptions
  ): Promise<RetentionResult>
  remove(ref: string, options?: AbortOptions): Promise<void>
  makeDirectory(path: string, options?: AbortOptions): Promise<void>
  rename(from: string, to: string, options?: AbortOptions): Promise<void>
}

/** What client commands ask of an agent; the control API carries exactly this. */
export interface AgentOperations {
  readonly files: FileOperations
  pull(request: PullRequest, options?: LongOptions): Promise<PullResult>
  /** Brings an image into the cache, without a file. */
  prefetch(ref: string, options?: LongOptions): Promise<PrefetchResult>
  /** Images of the cache, those used last first. */
  cached(): Promise<CachedImage[]>
  /** Drops a version from the cache; of a path all versions that are there. */
  evict(ref: string): Promise<EvictResult>
  collect(request: { readonly isDryRun: boolean }, options?: LongOptions): Promise<CollectionReport>
  verify(
    ref: string,
    request: { readonly repair?: boolean },
    options?: LongOptions
  ): Promise<VerifyResult>
  status(options?: AbortOptions): Promise<object>
  peers(): Promise<ListedPeer[]>
  providers(options?: AbortOptions): Promise<ListedProvider[]>
  /** Begins or ends the draining of a provider, by its id or the start of it. */
  setDraining(
    provider: string,
    isDraining: boolean,
    options?: AbortOptions
  ): Promise<ListedProvider>
  swarm(ref: string, options?: AbortOptions): Promise<object>
  limits(): Promise<RateLimits>
  /** Changes rate limits of the running agent; returns what is in force then. */
  setLimits(change: RateLimitChange): Promise<RateLimits>
  createToken(request: TokenRequest): Promise<{ token: string; expiresMs: number }>
  /** Tokens that nobody has used yet. */
  tokens(): Promise<ListedToken[]>
  /** Takes back a token, by its id or the start of it. */
  revokeToken(token: string): Promise<ListedToken>
  /** Everybody who was admitted; known to the agent with the authority only. */
  members(): Promise<ListedMember[]>
  /** Makes the certificates of a member void, by its peer id or the start of it. */
  revoke(member: string, reason: string): Promise<ListedMember>
}
