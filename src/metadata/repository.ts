import { autoChunkBytes } from '../chunks/chunk-size.ts'
import type { AbortOptions, ChunkReader, ChunkWriter } from '../chunks/types.ts'
import { Budget } from '../lib/budget.ts'
import { MIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/errors.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { BlobReader, type Snapshot } from './blob-reader.ts'
import { BlobWriter, type WriteMode } from './blob-writer.ts'
import { IsDirectoryError, PathExistsError, PathNotFoundError } from './errors.ts'
import { checkNewPath, checkPath, parseRef, type Ref } from './ref.ts'
import type {
  BlobDescription,
  DirectoryEntry,
  FileEntry,
  MetadataStore,
  Namespace,
  NamespaceEntry,
  SignedVersionRecord,
  Signer,
  Verifier,
  Version,
  VersionManager,
  VersionSummary
} from './types.ts'

export interface RepositoryComponents {
  readonly versions: VersionManager
  readonly namespace: Namespace
  readonly metadata: MetadataStore
  readonly writer: ChunkWriter
  readonly reader: ChunkReader
  readonly signer: Signer
  readonly verifier: Verifier
  readonly clock: Clock
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
}

export interface RepositoryOptions {
  /** Folder for temporary files of uploads; it must exist. */
  readonly stagingFolder: string
  /** Memory of all uploads together, at least 32 MiB. @default 96 MiB */
  readonly uploadBudgetBytes?: number | undefined
  /** Copies of each chunk of new blobs. @default 1 */
  readonly replicas?: number | undefined
  /**
   * Copies that a chunk which is there already must have to be left alone. @default replicas of the
   * blob
   */
  readonly writeQuorum?: number | undefined
  /** Chunk size of new blobs; `auto` goes by the announced size. @default 'auto' */
  readonly chunkBytes?: number | 'auto' | undefined
  /** Bytes that a reader fetches ahead. @default 8 MiB */
  readonly readAheadBytes?: number | undefined
}

export interface OpenWriteOptions extends AbortOptions {
  readonly mode: WriteMode
  /** What the client announced, in bytes: a hint for chunk size and tree. */
  readonly expectedBytes?: number | undefined
  /** Of a new blob. @default as the repository's options say */
  readonly chunkBytes?: number | undefined
  readonly replicas?: number | undefined
  /** Text that stays with the version. */
  readonly note?: string | undefined
  /** Refuses the version with a TicketConflictError unless this one is the newest then. */
  readonly ifNewest?: Version | undefined
}

export interface CreateOptions extends AbortOptions {
  readonly chunkBytes?: number | undefined
  readonly replicas?: number | undefined
  readonly note?: string | undefined
}

/** A file in one of its versions. */
export interface FileStatus extends FileEntry {
  readonly chunkBytes: number
  readonly replicas: number
  /** True if the reference named the version. */
  readonly isFixed: boolean
}

const PAGE_OF_ENTRIES = 1000

/** Images by path and version: what the fronts, the control API and the commands work with. */
export class Repository {
  readonly #components: RepositoryComponents
  readonly #options: RepositoryOptions
  readonly #blobs: BlobReader
  readonly #inFlight: Budget
  readonly #staging: Budget
  readonly #uploadedBytes: Counter | undefined

  constructor(components: RepositoryComponents, options: RepositoryOptions) {
    const { uploadBudgetBytes = 96 * MIB, readAheadBytes = 8 * MIB } = options
    if (!(uploadBudgetBytes >= 32 * MIB)) {
      throw new RangeError(`uploadBudgetBytes ${uploadBudgetBytes}, at least 32 MiB`)
    }
    this.#components = components
    this.#options = options
    this.#blobs = new BlobReader(components, { readAheadBytes })
    // Two budgets, because chunks that are not whole yet free theirs only when more data comes,
    // which must not have to wait for them.
    this.#inFlight = new Budget(uploadBudgetBytes / 2, 'memory of uploads in flight')
    this.#staging = new Budget(uploadBudgetBytes / 2, 'memory of uploads being cut')
    this.#uploadedBytes = components.metrics?.counter('blobswarm_metadata_uploaded_bytes_total', {
      help: 'Bytes of uploads by what became of them: stored, reused, zero',
      labels: ['kind']
    })
  }

  /** Status of a file or directory; undefined if there is none, or not in this version. */
  async stat(
    ref: string | Ref,
    options: AbortOptions = {}
  ): Promise<DirectoryEntry | FileStatus | undefined> {
    const { path, version } = refOf(ref)
    const entry = await this.#components.namespace.lookup(path, options)
    if (entry === undefined) return undefined
    if (entry.kind === 'directory') return version === undefined ? entry : undefined
    const { chunkBytes, replicas } = await this.#describe(entry, options)
    if (version === undefined) return { ...entry, chunkBytes, replicas, isFixed: false }
    const fixed = await this.#findVersion(entry, version, options)
    if (fixed === undefined) return undefined
    const { bytes, timeMs: modifiedMs } = fixed
    return { ...entry, version, bytes, modifiedMs, chunkBytes, replicas, isFixed: true }
  }

  /**
   * Lists a directory.
   *
   * @yields its entries in order of their names.
   * @throws {PathNotFoundError | NotDirectoryError}
   */
  async *list(path: string, options: AbortOptions = {}): AsyncGenerator<NamespaceEntry, void> {
    checkPath(path)
    const { namespace } = this.#components
    for (let after: string | undefined; ; ) {
      const request = { limit: PAGE_OF_ENTRIES, ...(after === undefined ? {} : { after }) }
      const entries = await namespace.list(path, request, options)
      yield* entries
      const last = entries.at(-1)
      if (last === undefined || entries.length < PAGE_OF_ENTRIES) return
      after = last.path.slice(last.path.lastIndexOf('/') + 1)
    }
  }

  /** Published versions of a file, oldest first. */
  async history(path: string, options: AbortOptions = {}): Promise<VersionSummary[]> {
    const { blob } = await this.#file(path, options)
    return await this.#components.versions.history(blob, options)
  }

  /** Signed record of what a reference names, sealing it if nobody has yet. */
  async record(ref: string | Ref, options: AbortOptions = {}): Promise<SignedVersionRecord> {
    const { path, version } = refOf(ref)
    const entry = await this.#file(path, options)
    return await this.#components.versions.record(entry.blob, version ?? entry.version, options)
  }

  /**
   * Opens a file for reading, as it is now; what is published later does not show.
   *
   * @throws {PathNotFoundError | IsDirectoryError | UnknownVersionError}
   */
  async openRead(ref: string | Ref, options: AbortOptions = {}): Promise<Snapshot> {
    return await this.#blobs.open(await this.record(ref, options), options)
  }

  /**
   * Opens an upload. A new file and its folders are made, but cannot be seen before it is
   * published.
   *
   * @throws {InvalidPathError} for a path that is not normal, or names a version.
   * @throws {IsDirectoryError | NotDirectoryError}
   */
  async openWrite(path: string, options: OpenWriteOptions): Promise<BlobWriter> {
    checkNewPath(path)
    const { expectedBytes, chunkBytes, replicas = this.#options.replicas ?? 1 } = options
    const create = {
      chunkBytes: chunkBytes ?? this.#chunkBytesFor(expectedBytes),
      replicas,
      sizeHint: expectedBytes
    }
    const description = await this.#components.namespace.reserve(path, create, options)
    return await this.#openBlob(description, path, options)
  }

  /**
   * Makes a file of zeros, as its first version.
   *
   * @throws {PathExistsError} if there is something already.
   */
  async create(path: string, bytes: number, options: CreateOptions = {}): Promise<VersionSummary> {
    checkNewPath(path)
    if ((await this.#components.namespace.lookup(path, options)) !== undefined) {
      throw new PathExistsError(path)
    }
    const upload = { ...options, mode: 'patch', expectedBytes: bytes, ifNewest: 0 } as const
    const writer = await this.openWrite(path, upload)
    try {
      writer.extendTo(bytes)
      return await writer.publish(options)
    } finally {
      await writer.abort()
    }
  }

  /** Makes a directory, with `parents` also those above it and without complaint if it exists. */
  async makeDirectory(
    path: string,
    options: AbortOptions & { readonly parents?: boolean } = {}
  ): Promise<void> {
    checkNewPath(path)
    const { parents = false } = options
    await this.#components.namespace.makeDirectory(path, { parents }, options)
  }

  /**
   * Removes a file with all its versions, one version of it, or an empty directory.
   *
   * @param kind what may be removed; a version counts as a file.
   * @throws {PathNotFoundError | UnknownVersionError | IsDirectoryError | NotDirectoryError |
   *   DirectoryNotEmptyError}
   */
  async remove(
    ref: string | Ref,
    kind: 'file' | 'directory' | 'any' = 'file',
    options: AbortOptions = {}
  ): Promise<void> {
    const { path, version } = refOf(ref)
    if (version === undefined) {
      await this.#components.namespace.remove(path, { kind }, options)
      return
    }
    if (kind === 'directory') throw new PathNotFoundError(`${path}@${version}`)
    const { blob } = await this.#file(path, options)
    await this.#components.versions.retire(blob, version, options)
  }

  /** Moves a file or a directory with all below it; a file at the target is replaced by a file. */
  async rename(from: string, to: string, options: AbortOptions = {}): Promise<void> {
    checkPath(from)
    checkNewPath(to)
    await this.#components.namespace.rename(from, to, options)
  }

  async #openBlob(
    description: BlobDescription,
    path: string,
    { mode, note, ifNewest, signal }: OpenWriteOptions
  ): Promise<BlobWriter> {
    const { stagingFolder, writeQuorum } = this.#options
    const components = {
      ...this.#components,
      blobs: this.#blobs,
      inFlight: this.#inFlight,
      staging: this.#staging,
      uploadedBytes: this.#uploadedBytes
    }
    const upload = { description, mode, stagingFolder, path, note, ifNewest, writeQuorum, signal }
    return await BlobWriter.open(components, upload)
  }

  #chunkBytesFor(expectedBytes: number | undefined): number {
    const { chunkBytes = 'auto' } = this.#options
    return chunkBytes === 'auto' ? autoChunkBytes(expectedBytes) : chunkBytes
  }

  async #file(path: string, options: AbortOptions): Promise<FileEntry> {
    checkPath(path)
    const entry = await this.#components.namespace.lookup(path, options)
    if (entry === undefined) throw new PathNotFoundError(path)
    if (entry.kind === 'directory') throw new IsDirectoryError(path)
    return entry
  }

  async #describe({ path, blob }: FileEntry, options: AbortOptions): Promise<BlobDescription> {
    const description = await this.#components.versions.describe(blob, options)
    if (description === undefined) throw new PathNotFoundError(path)
    return description
  }

  async #findVersion(
    { blob }: FileEntry,
    version: Version,
    options: AbortOptions
  ): Promise<{ readonly bytes: number; readonly timeMs: number } | undefined> {
    const { versions } = this.#components
    if (version > 0) {
      const history = await versions.history(blob, options)
      return history.find((summary) => summary.version === version)
    }
    try {
      return (await versions.record(blob, version, options)).record
    } catch (error) {
      if (errorCode(error) === 'ERR_UNKNOWN_VERSION') return undefined
      throw error
    }
  }
}

function refOf(ref: string | Ref): Ref {
  if (typeof ref === 'string') return parseRef(ref)
  checkPath(ref.path)
  return ref
}
