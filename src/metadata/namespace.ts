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
import type { DirectoryEntry, EffectiveRetention, RetentionPolicy } from './namespace-types.ts'
import { checkNewPath } from './ref.ts'
import { checkPolicy } from './retention.ts'
import type { BlobId } from './types.ts'
import type { EntryRow, PolicyRow, SetTime } from './version-rows.ts'

/** Latest time that a `Date` can be. */
const MAX_TIME_MS = 8.64e15

export interface NamespaceStateOptions {
  /** Files, folders and reservations. @default 4000000 */
  readonly maxEntries?: number
  /** Tells whether a version of a blob is in flight, whose path must stay. @default none is */
  readonly isBusy?: (blob: BlobId) => boolean
}

/** A path that names a blob. */
export interface BlobPath {
  readonly kind: 'file'
  readonly path: string
  readonly blob: BlobId
  /** A time that was set for it, and for which version. */
  readonly setTime: SetTime | undefined
}

/**
 * The rules of paths, without I/O. A file's name is reserved, unseen, until its blob has a
 * version that can be read; folders that only hold reservations are unseen too, and give way like
 * them unless a version is on its way there. Entries point to
 * their folder, so renaming a tree changes one row.
 */
export class NamespaceState {
  readonly #tree: EntryTree

  constructor(options: NamespaceStateOptions = {}) {
    const { maxEntries = 4_000_000, isBusy = () => false } = options
    this.#tree = new EntryTree(maxEntries, isBusy)
  }

  /** Takes rows of an earlier run: entries in any order, then policies. */
  load(row: EntryRow | PolicyRow): void {
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

  /** Tells whether a path names a blob, seen or only reserved. */
  hasPath(blob: BlobId): boolean {
    return this.#tree.fileOf(blob) !== undefined
  }

  /** Path of a blob; undefined if it has none (any more). */
  pathOf(blob: BlobId): string | undefined {
    const entry = this.#tree.fileOf(blob)
    return entry === undefined ? undefined : this.#tree.pathOf(entry)
  }

  /**
   * Sets a policy for what can be seen at a path; undefined takes it away.
   *
   * @throws {PathNotFoundError | RangeError}
   */
  setRetention(path: string, policy: RetentionPolicy | undefined): NamespaceRows {
    if (policy !== undefined) checkPolicy(policy)
    return this.#tree.setPolicy(this.#visible(path), policy)
  }

  /**
   * Sets the time that a file, or a folder, shows.
   *
   * @throws {PathNotFoundError | InvalidPathError | RangeError}
   */
  setModified(path: string, time: SetTime): NamespaceRows {
    const { modifiedMs } = time
    if (!Number.isSafeInteger(modifiedMs) || modifiedMs < 0 || modifiedMs > MAX_TIME_MS) {
      throw new RangeError(`a time of ${modifiedMs} ms`)
    }
    const entry = this.#visible(path)
    if (entry.id === ROOT_ID) throw new InvalidPathError(path, 'the root folder keeps no time')
    const changed = entry.folder === undefined ? { setTime: time } : { modifiedMs }
    return [rowOf(this.#tree.replace({ ...entry, ...changed }))]
  }

  /** Sizes of all files that can be seen at or below a path, as `setBytes` has told them. O(1). */
  bytesBelow(path: string): number {
    const entry = this.#tree.find(path)
    return entry === undefined ? 0 : this.#tree.bytesOf(entry)
  }

  /** Notes what the file of a blob takes now; nothing if no path names it (any more). */
  setBytes(blob: BlobId, bytes: number): void {
    const entry = this.#tree.fileOf(blob)
    if (entry !== undefined) this.#tree.setBytes(entry, bytes)
  }

  /** @yields the blobs that paths name. */
  *blobs(): Generator<BlobId> {
    for (const { blob } of this.#tree.files()) if (blob !== undefined) yield blob
  }

  /** The policy that holds at a path. @throws {PathNotFoundError} */
  retention(path: string): EffectiveRetention {
    return this.#retentionOf(this.#visible(path))
  }

  /** The policy that holds for a blob; undefined if no path names it (any more). */
  policyFor(blob: BlobId): RetentionPolicy | undefined {
    const entry = this.#tree.fileOf(blob)
    return entry === undefined ? undefined : this.#retentionOf(entry).policy
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
    if (there?.blob !== undefined && this.#tree.isBusy(there)) throw new PathExistsError(path)
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
    if (entry !== undefined && this.#mustStay(entry)) throw new IsDirectoryError(path)
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

  /** Notes that somebody is about to write to a path that is only reserved. */
  renewReservation(path: string, nowMs: number): NamespaceRows {
    const entry = this.#tree.find(path)
    if (entry === undefined || entry.isVisible) return []
    return [rowOf(this.#tree.replace({ ...entry, modifiedMs: nowMs }))]
  }

  /**
   * Looks whether a file may be made at a path, where no more than a reservation is that nothing is
   * on its way to.
   *
   * @throws {PathExistsError | NotDirectoryError | InvalidPathError | MetadataLimitError}
   */
  checkFree(path: string): void {
    const entry = this.#tree.find(path)
    if (entry !== undefined && this.#mustStay(entry)) throw new PathExistsError(path)
    this.reserved(path)
  }

  /** Gives a path, and the folders above it, to a new blob; a reservation gives way. */
  link(path: string, blob: BlobId, nowMs: number): NamespaceRows {
    this.checkFree(path)
    const there = this.#tree.find(path)
    const dropped = there === undefined ? [] : this.#tree.drop(there)
    return [...dropped, ...this.reserve(path, blob, nowMs), ...this.show(blob, nowMs)]
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
    const isEmpty = entry.folder === undefined || entry.folder.visibleCount === 0
    if (!isEmpty || (entry.folder !== undefined && this.#tree.isBusy(entry))) {
      throw new DirectoryNotEmptyError(path)
    }
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
    if (there !== undefined && this.#mustStay(there)) checkReplaceable(entry, there, to)
    const dropped = there === undefined ? [] : this.#tree.drop(there)
    const moved = this.#tree.move(entry, parent, baseName(to))
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

  #retentionOf(entry: Entry): EffectiveRetention {
    for (let above = entry; ; above = this.#tree.parentOf(above)) {
      const policy = this.#tree.policyOf(above)
      if (policy !== undefined) return { policy, setFor: this.#tree.pathOf(above) }
      if (above.id === ROOT_ID) return { policy: {}, setFor: undefined }
    }
  }

  #mustStay(entry: Entry): boolean {
    return entry.isVisible || this.#tree.isBusy(entry)
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
  const { blob, modifiedMs, setTime } = entry
  if (blob !== undefined) return { kind: 'file', path, blob, setTime }
  return { kind: 'directory', path, modifiedMs }
}

function parentPath(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')))
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
