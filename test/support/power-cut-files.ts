import type { FileLayer } from '../../src/lib/file-layer.ts'
import type { Random } from '../../src/lib/random.ts'

interface File {
  content: Buffer
  /** What an fsync has made sure of. */
  durable: Buffer | undefined
}

interface Folder {
  readonly entries: Map<string, Entry>
  /** Names that an fsync of the folder has made sure of. */
  durable: Map<string, Entry>
}

type Entry = File | Folder

const isFolder = (entry: Entry): entry is Folder => 'entries' in entry

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}

/**
 * Files in memory that obey no rule but POSIX's: what was not flushed may be lost, each name and
 * each file for itself. `cut` takes the power away after some operations; `restore` shows what the
 * disk kept.
 */
export class PowerCutFiles implements FileLayer {
  #root: Folder = { entries: new Map(), durable: new Map() }
  readonly #random: Random
  readonly #open = new Map<number, Entry>()
  #nextFile = 3
  #operationsLeft = Infinity

  /** `existing` is a folder that was there all along. */
  constructor(random: Random, existing: string) {
    this.#random = random
    let folder = this.#root
    for (const name of existing.split('/').slice(1)) {
      const next: Folder = { entries: new Map(), durable: new Map() }
      folder.entries.set(name, next)
      folder.durable.set(name, next)
      folder = next
    }
  }

  get isOff(): boolean {
    return this.#operationsLeft <= 0
  }

  /** Lets `operations` more succeed, then fails everything. */
  cutAfter(operations: number): void {
    this.#operationsLeft = operations
  }

  /** Goes on after the process was killed while the machine kept running: nothing is lost. */
  resume(): void {
    this.#operationsLeft = Infinity
    this.#open.clear()
  }

  /** Powers on again: every name and content that was not flushed is there or not, by chance. */
  restore(): void {
    this.#operationsLeft = Infinity
    this.#open.clear()
    this.#root = this.#survivorOf(this.#root) as Folder
  }

  async open(path: string, flags: string): Promise<number> {
    this.#step(path)
    const existing = this.#find(path)
    if (existing !== undefined && flags.includes('x')) throw failure('EEXIST', path)
    if (existing === undefined && flags.startsWith('r')) throw failure('ENOENT', path)
    const entry: Entry = existing ?? { content: Buffer.alloc(0), durable: undefined }
    if (existing === undefined) this.#parentOf(path).entries.set(nameOf(path), entry)
    else if (flags.startsWith('w') && !isFolder(entry)) entry.content = Buffer.alloc(0)
    this.#open.set(this.#nextFile, entry)
    return this.#nextFile++
  }

  async close(file: number): Promise<void> {
    this.#open.delete(file)
  }

  async write(file: number, bytes: Uint8Array, position: number): Promise<number> {
    this.#step(`file ${file}`)
    const entry = this.#fileOf(file)
    const content = Buffer.alloc(Math.max(entry.content.length, position + bytes.length))
    content.set(entry.content)
    content.set(bytes, position)
    entry.content = content
    return bytes.length
  }

  async read(file: number, bytes: Uint8Array, position: number): Promise<number> {
    this.#step(`file ${file}`)
    return this.#fileOf(file).content.copy(bytes, 0, position)
  }

  async fsync(file: number): Promise<void> {
    this.#step(`file ${file}`)
    const entry = this.#open.get(file)
    if (entry === undefined) throw failure('EBADF', `file ${file}`)
    if (isFolder(entry)) entry.durable = new Map(entry.entries)
    else entry.durable = Buffer.from(entry.content)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#step(from)
    const entry = this.#find(from)
    if (entry === undefined) throw failure('ENOENT', from)
    this.#parentOf(from).entries.delete(nameOf(from))
    this.#parentOf(to).entries.set(nameOf(to), entry)
  }

  async unlink(path: string): Promise<void> {
    this.#step(path)
    if (this.#find(path) === undefined) throw failure('ENOENT', path)
    this.#parentOf(path).entries.delete(nameOf(path))
  }

  async makeFolder(path: string): Promise<void> {
    this.#step(path)
    let folder = this.#root
    for (const name of path.split('/').slice(1)) {
      const next = folder.entries.get(name) ?? { entries: new Map(), durable: new Map() }
      if (!isFolder(next)) throw failure('ENOTDIR', path)
      folder.entries.set(name, next)
      folder = next
    }
  }

  async list(path: string): Promise<string[]> {
    this.#step(path)
    const entry = this.#find(path)
    if (entry === undefined || !isFolder(entry)) throw failure('ENOENT', path)
    return Array.from(entry.entries.keys())
  }

  async sizesOf(paths: readonly string[]): Promise<(number | undefined)[]> {
    return paths.map((path) => {
      const entry = this.#find(path)
      return entry === undefined || isFolder(entry) ? undefined : entry.content.length
    })
  }

  #step(path: string): void {
    if (this.#operationsLeft <= 0) throw failure('EIO', path)
    this.#operationsLeft--
  }

  #survivorOf(entry: Entry): Entry {
    if (!isFolder(entry)) return this.#survivingFile(entry)
    const entries = new Map<string, Entry>()
    for (const name of new Set([...entry.entries.keys(), ...entry.durable.keys()])) {
      const [now, before] = [entry.entries.get(name), entry.durable.get(name)]
      const kept = now === before || this.#random() < 0.5 ? now : before
      if (kept !== undefined) entries.set(name, this.#survivorOf(kept))
    }
    return { entries, durable: new Map(entries) }
  }

  #survivingFile({ content, durable }: File): File {
    const isKept = durable?.equals(content) === true || this.#random() < 0.3
    const part = content.subarray(0, Math.floor(this.#random() * content.length))
    const survivor = isKept ? content : (durable ?? part)
    return { content: survivor, durable: survivor }
  }

  #fileOf(file: number): File {
    const entry = this.#open.get(file)
    if (entry === undefined || isFolder(entry)) throw failure('EBADF', `file ${file}`)
    return entry
  }

  #find(path: string): Entry | undefined {
    let entry: Entry | undefined = this.#root
    for (const name of path.split('/').slice(1)) {
      if (entry === undefined || !isFolder(entry)) return undefined
      entry = entry.entries.get(name)
    }
    return entry
  }

  #parentOf(path: string): Folder {
    const parent = this.#find(path.slice(0, path.lastIndexOf('/')))
    if (parent === undefined || !isFolder(parent)) throw failure('ENOENT', path)
    return parent
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
