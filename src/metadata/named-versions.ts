import type { AbortOptions } from '../lib/abort-options.ts'
import { IsDirectoryError, PathNotFoundError } from './errors.ts'
import type { DirectoryEntry, FileEntry, Namespace } from './namespace-types.ts'
import { checkPath, parseRef, type Ref } from './ref.ts'
import type { FileStatus } from './repository-types.ts'
import type { BlobDescription, Version, VersionRef, VersionSummary } from './types.ts'
import type { VersionManager } from './version-manager-types.ts'

export interface NamedVersionsComponents {
  readonly namespace: Pick<Namespace, 'lookup'>
  readonly versions: Pick<VersionManager, 'describe' | 'history'>
}

/** Finds what paths and references name. */
export class NamedVersions {
  readonly #components: NamedVersionsComponents

  constructor(components: NamedVersionsComponents) {
    this.#components = components
  }

  /** The file at a path. @throws {PathNotFoundError | IsDirectoryError | InvalidPathError} */
  async file(path: string, options: AbortOptions): Promise<FileEntry> {
    checkPath(path)
    const entry = await this.#components.namespace.lookup(path, options)
    if (entry === undefined) throw new PathNotFoundError(path)
    if (entry.kind === 'directory') throw new IsDirectoryError(path)
    return entry
  }

  /**
   * The version that a reference names, the newest one if it names none; whether one that it does name is there
   * is not looked at.
   *
   * @throws {PathNotFoundError | IsDirectoryError | InvalidPathError}
   */
  async version(ref: string | Ref, options: AbortOptions): Promise<VersionRef> {
    const { path, version } = refOf(ref)
    const entry = await this.file(path, options)
    return { blob: entry.blob, version: version ?? entry.version }
  }

  /** Status of a file or directory; undefined if there is none, or not in this version. */
  async status(
    ref: string | Ref,
    options: AbortOptions
  ): Promise<DirectoryEntry | FileStatus | undefined> {
    const { path, version } = refOf(ref)
    const entry = await this.#components.namespace.lookup(path, options)
    if (entry === undefined) return undefined
    if (entry.kind === 'directory') return version === undefined ? entry : undefined
    const { chunkBytes, replicas } = await this.#describe(entry, options)
    if (version === undefined) return { ...entry, chunkBytes, replicas, isFixed: false }
    const fixed = await this.#find(entry, version, options)
    if (fixed === undefined) return undefined
    const { bytes, timeMs: modifiedMs } = fixed
    return { ...entry, version, bytes, modifiedMs, chunkBytes, replicas, isFixed: true }
  }

  async #describe({ path, blob }: FileEntry, options: AbortOptions): Promise<BlobDescription> {
    const description = await this.#components.versions.describe(blob, options)
    if (description === undefined) throw new PathNotFoundError(path)
    return description
  }

  async #find(
    { blob }: FileEntry,
    version: Version,
    options: AbortOptions
  ): Promise<VersionSummary | undefined> {
    const history = await this.#components.versions.history(blob, options)
    return history.find((summary) => summary.version === version)
  }
}

/** Reads a reference, or checks the path of one. @throws {InvalidPathError} */
export function refOf(ref: string | Ref): Ref {
  if (typeof ref === 'string') return parseRef(ref)
  checkPath(ref.path)
  return ref
}
