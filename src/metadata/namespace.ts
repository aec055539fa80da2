import { EntryTree, type NamespaceRows, namesOf, ROOT_ID, rowOf } from './entry-tree.ts'
import {
  DirectoryNotEmptyError,
  InvalidPathError,
  IsDirectoryError,
  NotDirectoryError,
  PathExistsError,
  PathNotFoundError
} from './errors.ts'
import type { Entry } from './folder.ts'
import { checkNewPath } from './ref.ts'
import type { BlobId, DirectoryEntry } from './types.ts'
import type { EntryRow } from './version-rows.ts'

export interface NamespaceStateOptions {
  /** Files, folders and reservations. @default 4000000 */
  readonly maxEntries?: number
}

/** A path that names a blob. */
export interface BlobPath {
  readonly kind: 'file'
  readonly path: string
  readonly blob: BlobId
}

/**
 * The rules of paths, without I/O. A file's name is reserved, unseen, until its blob has a
 * version that can be read; folders that only hold reservations are unseen too. Entries point to
 * their folder, so renaming a tree changes one row.
 */
export class NamespaceState {
  readonly #tree: EntryTree

  constructor(options: NamespaceStateOptions = {}) {
    const { maxEntries = 4_000_000 } = options
    this.#tree = new EntryTree(maxEntries)
  }

  /** Takes rows of an earlier run, in any order. */
  load(row: EntryRow): void {
    this.#tree.load(row)
  }

  /** True if rows were loaded that are in no folder, which is a sign of a broken file. */
  get hasOrphans(): boolean {
    return this.#tree.hasOrphans
  }

  /** What can be seen at a path. @throws {InvalidPathError} */
  lookup(path: string): DirectoryEntry | BlobPath | undefined {
    const entry = this.#tree.find(path)
    return entry?.isVisible === true ? describe(entry, path) : undefined
  }

  /**
   * What can be seen in a folder, in order of names.
   *
   * @throws {PathNotFoundError | NotDirectoryError}
   */
  list(path: string, after: string | undefined, limit: number): (DirectoryEntry | BlobPath)[] {
    const entry = this.#visible(path)
    if (entry.folder === undefined) throw new NotDirectoryError(path)
    const prefix = path === '/' ? '/' : `${path}/`
    const listed: (DirectoryEntry | BlobPath)[] = []
    for (const inside of entry.folder.listAfter(after)) {
      if (listed.length >= limit) break
      listed.push(describe(inside, prefix + inside.name))
    }
    return listed
  }

  /** Blob that a path names, seen or only reserved. */
  blobAt(path: string): BlobId | undefined {
    return this.#tree.find(path)?.blob
  }

  /** Path of a blob; undefined if it has none (any more). */
  pathOf(blob: BlobId): string | undefined {
    const entry = this.#tree.fileOf(blob)
    return entry === undefined ? undefined : this.#tree.pathOf(entry)
  }

  /**
   * Makes a folder; with `parents` also those above it, and one that is there is fine.
   *
   * @throws {PathExistsError | PathNotFoundError | NotDirectoryError}
   */
  makeDirectory(path: string, parents: boolean, nowMs: number): NamespaceRows {
    checkNewPath(path)
    const there = this.#tree.find(path)
    if (there?.isVisible === true) {
      if (parents && there.folder !== undefined) return []
      throw there.folder === undefined && parents
        ? new NotDirectoryError(path)
        : new PathExistsError(path)
    }
    if (!parents) this.#visibleFolder(parentPath(path))
    const { entry, rows } = this.#tree.folderAt(path, nowMs)
    return [...rows, ...this.#tree.reveal(entry, nowMs)]
  }

  /**
   * Gives the blob that a path names for writing, or undefined if there is none yet and one may be
   * reserved.
   *
   * @throws {NotDirectoryError | IsDirectoryError | InvalidPathError | MetadataLimitError}
   */
  reserved(path: string): BlobId | undefined {
    checkNewPath(path)
    const entry = this.#tree.find(path)
    if (entry?.blob !== undefined) return entry.blob
    if (entry !== undefined && entry.isVisible) {
      throw new IsDirectoryError(path)
    }
    this.#tree.checkFoldersAbove(path)
    this.#tree.checkRoom(namesOf(path).length)
    return undefined
  }

  /**
   * Reserves a path for a new blob, unseen, with the folders above it.
   *
   * @throws what `reserved` throws
   */
  reserve(path: string, blob: BlobId, nowMs: number): NamespaceRows {
    if (this.reserved(path) !== undefined) throw new PathExistsError(path)
    const there = this.#tree.find(path)
    const dropped = there === undefined ? [] : this.#tree.drop(there)
    const { entry: parent, rows } = this.#tree.folderAt(parentPath(path), nowMs)
    const entry = this.#tree.add(parent, { name: baseName(path), blob, isVisible: false }, nowMs)
    return [...dropped, ...rows, rowOf(entry)]
  }

  /** Shows the path of a blob from now on, with the folders above it. */
  show(blob: BlobId, nowMs: number): NamespaceRows {
    const entry = this.#tree.fileOf(blob)
    return entry === undefined ? [] : this.#tree.reveal(entry, nowMs)
  }

  /** Makes the path of a blob a mere reservation again. */
  hide(blob: BlobId, nowMs: number): NamespaceRows {
    const entry = this.#tree.fileOf(blob)
    if (entry === undefined || !entry.isVisible) return []
    const hidden = this.#tree.replace({ ...entry, isVisible: false, modifiedMs: nowMs })
    return [rowOf(hidden), ...this.#tree.touch(entry.parent, nowMs)]
  }

  /**
   * Removes a file or a folder in which nothing can be seen.
   *
   * @throws {PathNotFoundError | DirectoryNotEmptyError | IsDirectoryError | NotDirectoryError}
   */
  remove(path: string, kind: 'file' | 'directory' | 'any', nowMs: number): NamespaceRows {
    const entry = this.#visible(path)
    if (kind === 'file' && entry.folder !== undefined) throw new IsDirectoryError(path)
    if (kind === 'directory' && entry.folder === undefined) throw new NotDirectoryError(path)
    if (entry.id === ROOT_ID) throw new InvalidPathError(path, 'the root folder stays')
    if ((entry.folder?.visibleCount ?? 0) > 0) throw new DirectoryNotEmptyError(path)
    return [...this.#tree.drop(entry), ...this.#tree.touch(entry.parent, nowMs)]
  }

  /**
   * Moves a file or a folder with all below it. A file takes the place of a file; anything else
   * that can be seen at the target stays, and is an error.
   *
   * @throws {PathNotFoundError | PathExistsError | IsDirectoryError | NotDirectoryError |
   *   InvalidPathError}
   */
  rename(from: string, to: string, nowMs: number): NamespaceRows {
    checkNewPath(to)
    const entry = this.#visible(from)
    if (entry.id === ROOT_ID) throw new InvalidPathError(from, 'the root folder stays')
    const parent = this.#visibleFolder(parentPath(to))
    const there = this.#tree.find(to)
    if (there === entry) return []
    for (let above = parent; above.id !== ROOT_ID; above = this.#tree.parentOf(above)) {
      if (above === entry) throw new InvalidPathError(to, `inside of ${from}`)
    }
    if (there?.isVisible === true) checkReplaceable(entry, there, to)
    const dropped = there === undefined ? [] : this.#tree.drop(there)
    this.#tree.parentOf(entry).folder?.delete(entry.name)
    const moved = this.#tree.replace({ ...entry, parent: parent.id, name: baseName(to) })
    const touched = entry.parent === parent.id ? [] : this.#tree.touch(entry.parent, nowMs)
    return [...dropped, rowOf(moved), ...touched, ...this.#tree.touch(parent.id, nowMs)]
  }

  /**
   * Forgets reservations that nothing was published for since `beforeMs`, except those to be
   * kept.
   */
  dropReservations(beforeMs: number, isKept: (blob: BlobId) => boolean): NamespaceRows {
    const stale = Array.from(this.#tree.files()).filter(
      ({ isVisible, modifiedMs, blob }) =>
        !isVisible && modifiedMs < beforeMs && blob !== undefined && !isKept(blob)
    )
    return stale.flatMap((entry) => this.#tree.dropWithEmptyFolders(entry))
  }

  #visible(path: string): Entry {
    const entry = this.#tree.find(path)
    if (entry?.isVisible === true) return entry
    this.#tree.checkFoldersAbove(path)
    throw new PathNotFoundError(path)
  }

  #visibleFolder(path: string): Entry {
    const entry = this.#visible(path)
    if (entry.folder === undefined) throw new NotDirectoryError(path)
    return entry
  }
}

function checkReplaceable(moved: Entry, there: Entry, path: string): void {
  if (there.folder === undefined && moved.folder !== undefined) throw new NotDirectoryError(path)
  if (there.folder === undefined) return
  throw moved.folder === undefined ? new IsDirectoryError(path) : new PathExistsError(path)
}

function describe(entry: Entry, path: string): DirectoryEntry | BlobPath {
  const { blob, modifiedMs } = entry
  if (blob !== undefined) return { kind: 'file', path, blob }
  return { kind: 'directory', path, modifiedMs }
}

function parentPath(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')))
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
