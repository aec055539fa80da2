import type { AbortOptions } from '../lib/abort-options.ts'
import type { TicketRequest } from './ticket-types.ts'
import type { BlobDescription, BlobId, Version, VersionRef, VersionSummary } from './types.ts'
import type { CreateBlobRequest } from './version-manager-types.ts'

/** A short file, whose chunks are stored and whose whole leaf list comes along. */
export interface NewFileRequest
  extends CreateBlobRequest,
    Pick<TicketRequest, 'writer' | 'endBytes' | 'leafList' | 'note'> {
  readonly path: string
  /** At most MAX_LEAF_PAGES of at most MAX_LEAF_PAGE_BYTES together. */
  readonly leafPages: readonly Uint8Array[]
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

/** A folder. */
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

/** What a path names. */
export type NamespaceEntry = DirectoryEntry | FileEntry

/** What lies below a path. */
export interface Usage {
  /** Sizes of the newest versions together. */
  readonly bytes: number
}

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
  clone(from: VersionRef, path: string, options?: AbortOptions): Promise<FileEntry>
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
