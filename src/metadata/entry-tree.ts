import assert from 'node:assert/strict'
import { MetadataLimitError, NotDirectoryError } from './errors.ts'
import { type Entry, Folder } from './folder.ts'
import type { RetentionPolicy } from './namespace-types.ts'
import { checkPath } from './ref.ts'
import type { BlobId } from './types.ts'
import type { EntryRemovalRow, EntryRow, PolicyRemovalRow, PolicyRow } from './version-rows.ts'

/** What must be durable before anybody is told. */
export type NamespaceRow = EntryRow | EntryRemovalRow | PolicyRow | PolicyRemovalRow
export type NamespaceRows = readonly NamespaceRow[]

/** Id of the root folder, which has no row. */
export const ROOT_ID = 0

/**
 * Files and folders by path, by id and by blob, hidden ones too: what the rules in namespace.ts
 * stand on. Every change comes back as rows.
 */
export class EntryTree {
  readonly #maxEntries: number
  readonly #isBusy: (blob: BlobId) => boolean
  readonly #entries = new Map<number, Entry>()
  readonly #byBlob = new Map<BlobId, Entry>()
  /** Sizes of files by blob, those of folders stand in them. */
  readonly #bytes = new Map<BlobId, number>()
  /** Retention policies by the id of the entry that they were set for. */
  readonly #policies = new Map<number, RetentionPolicy>()
  /** Rows that were loaded before the folder that they are in. */
  readonly #loading = new Map<number, EntryRow[]>()
  #nextId = 1

  /** @param isBusy tells of a blob whether a version of it is in flight. */
  constructor(maxEntries: number, isBusy: (blob: BlobId) => boolean) {
    this.#maxEntries = maxEntries
    this.#isBusy = isBusy
    this.#entries.set(ROOT_ID, {
      kind: 'entry',
      id: ROOT_ID,
      parent: ROOT_ID,
      name: '',
      blob: undefined,
      isVisible: true,
      modifiedMs: 0,
      folder: new Folder()
    })
  }

  /** Number of entries without the root folder. */
  get entryCount(): number {
    return this.#entries.size - 1
  }

  /** True if rows were loaded that are in no folder, which is a sign of a broken file. */
  get hasOrphans(): boolean {
    return this.#loading.size > 0
  }

  /** Entries of blobs, in no order. */
  files(): Iterable<Entry> {
    return this.#byBlob.values()
  }

  fileOf(blob: BlobId): Entry | undefined {
    return this.#byBlob.get(blob)
  }

  /** Takes rows of an earlier run: entries in any order, then policies. */
  load(row: EntryRow | PolicyRow): void {
    if (row.kind === 'policy') {
      this.#entry(row.entry)
      this.#policies.set(row.entry, row.policy)
      return
    }
    const parent = this.#entries.get(row.parent)
    this.#nextId = Math.max(this.#nextId, row.id + 1)
    if (parent === undefined) {
      const waiting = this.#loading.get(row.parent) ?? []
      waiting.push(row)
      this.#loading.set(row.parent, waiting)
      return
    }
    const entry = this.#index({ ...row, folder: folderFor(row.blob) })
    parent.folder?.load(entry)
    const waiting = this.#loading.get(row.id) ?? []
    this.#loading.delete(row.id)
    for (const inside of waiting) this.load(inside)
  }

  /** The entry at a path, hidden or not. */
  find(path: string): Entry | undefined {
    checkPath(path)
    let entry = this.#entries.get(ROOT_ID)
    for (const name of namesOf(path)) {
      entry = entry?.folder?.get(name)
      if (entry === undefined) return undefined
    }
    return entry
  }

  /**
   * @throws {NotDirectoryError} if something above the path is no folder and can be seen, or is
   *   about to be.
   */
  checkFoldersAbove(path: string): void {
    let entry = this.#entries.get(ROOT_ID)
    for (const name of namesOf(path).slice(0, -1)) {
      entry = entry?.folder?.get(name)
      if (entry === undefined) return
      if (entry.folder === undefined && (entry.isVisible || this.isBusy(entry))) {
        throw new NotDirectoryError(this.pathOf(entry))
      }
    }
  }

  /** Tells whether a version is on its way to an entry or something in it, which must not go then. */
  isBusy({ blob, folder }: Entry): boolean {
    if (blob !== undefined) return this.#isBusy(blob)
    for (const inside of folder?.entries() ?? []) if (this.isBusy(inside)) return true
    return false
  }

  /** The folder at a path, made with those above it, unseen, where it is missing. */
  folderAt(path: string, nowMs: number): { entry: Entry; rows: NamespaceRows } {
    this.checkFoldersAbove(`${path}/x`)
    this.checkRoom(namesOf(path).length)
    const rows: NamespaceRow[] = []
    let entry = this.#entry(ROOT_ID)
    for (const name of namesOf(path)) {
      const there = entry.folder?.get(name)
      // A reservation that is not busy gives way to a folder; its upload meets a conflict.
      if (there !== undefined && there.folder === undefined) rows.push(...this.drop(there))
      const folder = there?.folder === undefined ? undefined : there
      if (folder === undefined) {
        entry = this.add(entry, { name, blob: undefined, isVisible: false }, nowMs)
        rows.push(rowOf(entry))
      } else {
        entry = folder
      }
    }
    return { entry, rows }
  }

  /** Makes an entry seen, and those above it. */
  reveal(entry: Entry, nowMs: number): NamespaceRows {
    const rows: EntryRow[] = []
    let last = entry
    while (!last.isVisible) {
      rows.push(rowOf(this.replace({ ...last, isVisible: true, modifiedMs: nowMs })))
      last = this.parentOf(last)
    }
    return rows.length === 0 ? [] : [...rows, ...this.touch(last.id, nowMs)]
  }

  add(
    parent: Entry,
    { name, blob, isVisible }: Pick<EntryRow, 'name' | 'blob' | 'isVisible'>,
    nowMs: number
  ): Entry {
    return this.replace({
      kind: 'entry',
      id: this.#nextId++,
      parent: parent.id,
      name,
      blob,
      isVisible,
      modifiedMs: nowMs,
      folder: folderFor(blob)
    })
  }

  /** Gives an entry another place and name, with all that is below it. */
  move(entry: Entry, parent: Entry, name: string): Entry {
    const bytes = this.bytesOf(entry)
    this.parentOf(entry).folder?.delete(entry.name)
    this.#addBytes(entry.parent, -bytes)
    this.#addBytes(parent.id, bytes)
    return this.replace({ ...entry, parent: parent.id, name })
  }

  /** Size of a file, or of all files below a folder. */
  bytesOf({ blob, folder }: Entry): number {
    return folder?.bytesBelow ?? this.#bytes.get(blob ?? '') ?? 0
  }

  /** Notes the size of a file, in the folders above it too. */
  setBytes(entry: Entry, bytes: number): void {
    if (entry.blob === undefined) return
    this.#addBytes(entry.parent, bytes - this.bytesOf(entry))
    if (bytes === 0) this.#bytes.delete(entry.blob)
    else this.#bytes.set(entry.blob, bytes)
  }

  #addBytes(folder: number, bytes: number): void {
    if (bytes === 0) return
    for (let above = this.#entry(folder); ; above = this.parentOf(above)) {
      if (above.folder !== undefined) above.folder.bytesBelow += bytes
      if (above.id === ROOT_ID) return
    }
  }

  /** @throws {MetadataLimitError} if not that many entries can be added. */
  checkRoom(count: number): void {
    if (this.entryCount + count > this.#maxEntries) {
      throw new MetadataLimitError(
        'entries of the namespace',
        this.entryCount + count,
        this.#maxEntries
      )
    }
  }

  /** Policy that was set for an entry itself. */
  policyOf({ id }: Entry): RetentionPolicy | undefined {
    return this.#policies.get(id)
  }

  setPolicy({ id }: Entry, policy: RetentionPolicy | undefined): NamespaceRows {
    if (policy !== undefined) {
      this.#policies.set(id, policy)
      return [{ kind: 'policy', entry: id, policy }]
    }
    return this.#policies.delete(id) ? [{ kind: 'policy-removal', entry: id }] : []
  }

  /** Removes a reservation and the unseen folders that were only there for it. */
  dropWithEmptyFolders(entry: Entry): NamespaceRow[] {
    const rows = this.drop(entry)
    let above = this.parentOf(entry)
    while (!above.isVisible && above.folder?.isEmpty === true) {
      rows.push(...this.drop(above))
      above = this.parentOf(above)
    }
    return rows
  }

  /** Removes an entry and all that is below it. */
  drop(entry: Entry): NamespaceRow[] {
    const rows: NamespaceRow[] = []
    for (const inside of entry.folder?.entries() ?? []) rows.push(...this.drop(inside))
    this.setBytes(entry, 0)
    this.parentOf(entry).folder?.delete(entry.name)
    this.#entries.delete(entry.id)
    if (entry.blob !== undefined) this.#byBlob.delete(entry.blob)
    rows.push({ kind: 'entry-removal', id: entry.id }, ...this.setPolicy(entry, undefined))
    return rows
  }

  /** Notes that what is seen in a folder has changed. */
  touch(id: number, nowMs: number): EntryRow[] {
    const entry = this.#entry(id)
    if (id === ROOT_ID) {
      this.#entries.set(id, { ...entry, modifiedMs: nowMs })
      return []
    }
    return [rowOf(this.replace({ ...entry, modifiedMs: nowMs }))]
  }

  replace(entry: Entry): Entry {
    this.parentOf(entry).folder?.set(entry)
    return this.#index(entry)
  }

  #index(entry: Entry): Entry {
    this.#entries.set(entry.id, entry)
    if (entry.blob !== undefined) this.#byBlob.set(entry.blob, entry)
    return entry
  }

  #entry(id: number): Entry {
    const entry = this.#entries.get(id)
    assert(entry !== undefined, `no entry ${id}`)
    return entry
  }

  parentOf(entry: Entry): Entry {
    return this.#entry(entry.parent)
  }

  pathOf(entry: Entry): string {
    const names: string[] = []
    for (let at = entry; at.id !== ROOT_ID; at = this.parentOf(at)) names.push(at.name)
    return `/${names.toReversed().join('/')}`
  }
}

/** The row of an entry. */
export function rowOf({ folder: _folder, ...row }: Entry): EntryRow {
  return row
}

function folderFor(blob: BlobId | undefined): Folder | undefined {
  return blob === undefined ? new Folder() : undefined
}

/** The parts of a path. */
export function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '')
}
