import type { AbortOptions } from '../lib/abort-options.ts'
import { MIB } from '../lib/bytes.ts'
import { BlobReader, checkRange, type Snapshot } from './blob-reader.ts'
import { PathExistsError, PathNotFoundError } from './errors.ts'
import type { ExtentWriter } from './extent-writer.ts'
import type { UploadOwner } from './kept-upload.ts'
import { diffManifests } from './manifest-diff.ts'
import { publishMerge } from './merge.ts'
import { NamedVersions, refOf } from './named-versions.ts'
import type {
  DirectoryEntry,
  EffectiveRetention,
  FileEntry,
  NamespaceEntry,
  RetentionPolicy,
  Usage
} from './namespace-types.ts'
import { checkNewPath, checkPath, type Ref } from './ref.ts'
import type {
  CreateOptions,
  FileStatus,
  MergeOptions,
  MergeRequest,
  NamedVersion,
  OpenWriteOptions,
  RepositoryComponents,
  RepositoryOptions,
  VersionDiff
} from './repository-types.ts'
import { openUpload } from './restartable-uploads.ts'
import type { SignedVersionRecord } from './sealing-types.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { StripedWriter } from './striped-writer.ts'
import type { BlobDescription, VersionRef, VersionSummary } from './types.ts'
import type { Upload } from './upload.ts'
import { type OpenExtentsOptions, UploadOpener } from './upload-opener.ts'
import { VersionHold, type VersionHoldOptions } from './version-hold.ts'
import { openedRecord } from './version-record.ts'

const PAGE_OF_ENTRIES = 1000

/** Images by path and version: what the fronts, the control API and the commands work with. */
export class Repository {
  readonly #components: RepositoryComponents
  readonly #options: RepositoryOptions
  readonly #named: NamedVersions
  readonly #blobs: BlobReader
  readonly #uploads: UploadOpener

  constructor(components: RepositoryComponents, options: RepositoryOptions) {
    const { readAheadBytes = 8 * MIB } = options
    this.#components = components
    this.#options = options
    this.#named = new NamedVersions(components)
    this.#blobs = new BlobReader(components, { readAheadBytes })
    this.#uploads = new UploadOpener({ ...components, blobs: this.#blobs }, options)
  }

  /** Status of a file or directory; undefined if there is none, or not in this version. */
  async stat(
    ref: string | Ref,
    options: AbortOptions = {}
  ): Promise<DirectoryEntry | FileStatus | undefined> {
    return await this.#named.status(ref, options)
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
    const { blob } = await this.#named.file(path, options)
    return await this.#components.versions.history(blob, options)
  }

  /** Signed record of what a reference names, sealing it if nobody has yet. */
  async record(ref: string | Ref, options: AbortOptions = {}): Promise<SignedVersionRecord> {
    const { blob, version } = await this.#named.version(ref, options)
    return await this.#components.versions.record(blob, version, options)
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
   * @throws {UploadLostError} if it is to continue one that is not there any more.
   */
  async openWrite(path: string, options: OpenWriteOptions): Promise<Upload> {
    const parts = { opener: this.#uploads, kept: this.#components.keptUploads }
    const openLarge = async (): Promise<Upload> => await openUpload(parts, path, options)
    return (await this.#uploads.openSmall(path, options, openLarge)) ?? (await openLarge())
  }

  /** Forgets the broken upload of a user to a path, if there is one. */
  async forgetUpload(owner: UploadOwner): Promise<void> {
    await this.#components.keptUploads?.discard(owner)
  }

  /**
   * Opens an upload whose blocks other agents take, with `openExtents` there. Otherwise as
   * `openWrite`.
   */
  async openStripedWrite(path: string, options: OpenWriteOptions): Promise<StripedWriter> {
    const opener = {
      reserve: this.#uploads.reserve.bind(this.#uploads),
      open: this.#uploads.openStriped.bind(this.#uploads)
    }
    return await openUpload({ opener, kept: this.#components.keptUploads }, path, options)
  }

  /** Opens this agent's part of an upload that another agent publishes. */
  async openExtents(
    description: BlobDescription,
    options: OpenExtentsOptions & AbortOptions
  ): Promise<ExtentWriter> {
    return await this.#uploads.openExtents(description, options)
  }

  /** Opens a version by its record. @throws {UntrustedSignatureError} if nobody may sign it. */
  async openSealed(envelope: SignedEnvelope, options: AbortOptions = {}): Promise<Snapshot> {
    return await this.#blobs.open(openedRecord(envelope), options)
  }

  /**
   * Makes a file of zeros, as its first version, at the same cost for any size.
   *
   * @throws {PathExistsError} if there is something already.
   */
  async create(path: string, bytes: number, options: CreateOptions = {}): Promise<VersionSummary> {
    checkNewPath(path)
    if ((await this.#components.namespace.lookup(path, options)) !== undefined) {
      throw new PathExistsError(path)
    }
    // A patch has a leaf for what is written only, which is nothing.
    const upload = { ...options, mode: 'patch', expectedBytes: bytes, ifNewest: 0 } as const
    const description = await this.#uploads.reserve(path, upload)
    // Somebody may have cloned something to this path meanwhile, which shows through a patch.
    const there = await this.#components.versions.latest(description.blob, options)
    if (there !== undefined) throw new PathExistsError(path)
    const writer = await this.#uploads.open(description, path, upload)
    try {
      writer.extendTo(bytes)
      return await writer.publish(options)
    } finally {
      await writer.abort()
    }
  }

  /**
   * Makes a file that is, for now, a version of another. No data is copied, and neither file sees
   * what is written to the other afterwards. Folders are made as for an upload.
   *
   * @throws {PathExistsError} if there is something already.
   * @throws {PathNotFoundError | IsDirectoryError | UnknownVersionError}
   */
  async clone(ref: string | Ref, path: string, options: AbortOptions = {}): Promise<FileEntry> {
    checkNewPath(path)
    const from = await this.#named.version(ref, options)
    return await this.#components.namespace.clone(from, path, options)
  }

  /**
   * Makes a version of one file in which a range reads as it does in a version of another, or of
   * the same. No data moves, except one chunk where the range ends inside of one.
   *
   * @throws {ChunkUnavailableError} if a chunk of the range is nowhere any more.
   * @throws {PathNotFoundError | IsDirectoryError | UnknownVersionError | TicketConflictError}
   */
  async merge(request: MergeRequest, options: MergeOptions = {}): Promise<VersionSummary> {
    const { from, to: path, at, offset, length } = request
    const { ifNewest, note, signal, replicas } = options
    checkNewPath(path)
    checkRange({ offset, length })
    checkRange({ offset: at, length })
    const source = await this.openRead(from, options)
    const { chunkBytes = source.record.chunkBytes } = options
    const expectedBytes = at + Math.min(length, source.bytes)
    const create = { chunkBytes, replicas, expectedBytes, signal }
    const target = await this.#uploads.reserve(path, create)
    const { leaseMs } = this.#options
    const written = { target, at, path, ifNewest, note, leaseMs }
    const merge = { source, range: { offset, length }, ...written }
    return await publishMerge(this.#components, merge, { signal })
  }

  /**
   * Tells where two versions differ, of one file or of two, at the cost of what differs.
   *
   * @throws {PathNotFoundError | IsDirectoryError | UnknownVersionError}
   * @throws {IncomparableVersionsError} from `ranges`, if their chunks differ in size.
   */
  async diff(
    before: string | Ref,
    after: string | Ref,
    options: AbortOptions = {}
  ): Promise<VersionDiff> {
    const [left, right] = await Promise.all([
      this.openRead(before, options),
      this.openRead(after, options)
    ])
    return {
      before: namedVersion(before, left),
      after: namedVersion(after, right),
      ranges: diffManifests(left.manifest, right.manifest, options)
    }
  }

  /** Pins a version, which keeps it whatever the policy says, or lets go of it again. */
  async setPinned(
    ref: string | Ref,
    isPinned: boolean,
    options: AbortOptions = {}
  ): Promise<VersionRef> {
    const version = await this.#named.version(ref, options)
    await this.#components.versions.setPinned(version, isPinned, options)
    return version
  }

  /** Tells which versions of a file, or of files below a folder, stay. */
  async retention(path: string, options: AbortOptions = {}): Promise<EffectiveRetention> {
    checkPath(path)
    return await this.#components.namespace.retention(path, options)
  }

  /** Sets it; undefined goes by the folders above again. @throws {PathNotFoundError | RangeError} */
  async setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options: AbortOptions = {}
  ): Promise<void> {
    checkPath(path)
    await this.#components.namespace.setRetention(path, policy, options)
  }

  /**
   * Keeps a version from collection until the hold is released.
   *
   * @throws {UnknownVersionError} if it is not there any more.
   */
  async hold(
    { blob, version }: VersionRef,
    purpose: string,
    options: VersionHoldOptions & AbortOptions = {}
  ): Promise<VersionHold> {
    const { versions, clock, signer, logger: loggers } = this.#components
    const logger = loggers.forComponent('blobswarm:metadata:hold')
    const held = { blob, version, holder: signer.peerId, purpose }
    return await VersionHold.take({ versions, clock, logger }, held, options)
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
    const { blob } = await this.#named.file(path, options)
    await this.#components.versions.retire(blob, version, options)
  }

  /** Moves a file or a directory with all below it; a file at the target is replaced by a file. */
  async rename(from: string, to: string, options: AbortOptions = {}): Promise<void> {
    checkPath(from)
    checkNewPath(to)
    await this.#components.namespace.rename(from, to, options)
  }

  /**
   * Sets the time that a file or directory shows, until it gets a new version or something in it
   * changes.
   *
   * @throws {InvalidPathError} for a path that names a version, or the root.
   * @throws {PathNotFoundError | RangeError}
   */
  async setModified(path: string, modifiedMs: number, options: AbortOptions = {}): Promise<void> {
    checkNewPath(path)
    await this.#components.namespace.setModified(path, modifiedMs, options)
  }

  /** What the newest versions of all files below a path take; 0 if there is none. */
  async usage(path: string, options: AbortOptions = {}): Promise<Usage> {
    checkPath(path)
    return await this.#components.namespace.usage(path, options)
  }
}

function namedVersion(ref: string | Ref, { record, bytes }: Snapshot): NamedVersion {
  return { path: refOf(ref).path, version: record.version, bytes }
}
