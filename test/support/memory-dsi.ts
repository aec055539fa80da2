import type {
  ByteRange,
  DataStorageInterface,
  FileStatus,
  OpenWriteOptions,
  Published,
  PublishOptions,
  ReadHandle,
  WriteHandle
} from '../../src/gridftp/dsi.ts'
import {
  DirectoryNotEmptyError,
  IsDirectoryError,
  NoSpaceError,
  NotDirectoryError,
  PathExistsError,
  PathNotFoundError,
  StorageConflictError,
  UploadAbandonedError
} from '../../src/gridftp/errors.ts'
import { baseName, parentPath } from '../../src/gridftp/path.ts'

interface Node {
  readonly bytes: Uint8Array | undefined
  readonly modifiedMs: number
  readonly unique: string
}

/** One call of `write`, for tests that look at them. */
export interface WriteCall {
  readonly path: string
  readonly offset: number
  readonly length: number
}

/** Faults that a test plants. */
export interface MemoryDsiOptions {
  /** Runs before each write; may wait, and may throw. */
  readonly beforeWrite?: (call: WriteCall) => Promise<void>
  /** Runs before each read of a range; may wait, and may throw. */
  readonly beforeRead?: (path: string, range: ByteRange) => Promise<void>
  /** Largest upload. */
  readonly maxBytes?: number
}

const READ_BYTES = 100_000

/** A storage in memory, with everything that a real one does at its interface. */
export class MemoryDsi implements DataStorageInterface {
  /** Uploads that were opened and neither published nor aborted. */
  openUploads = 0
  /** Files opened for reading and not closed. */
  openReads = 0
  readonly writes: WriteCall[] = []
  readonly #options: MemoryDsiOptions
  readonly #nodes = new Map<string, Node>()
  #changes = 0

  constructor(options: MemoryDsiOptions = {}) {
    this.#options = options
    this.#set('/', undefined)
  }

  /** Content of a file, or undefined. */
  content(path: string): Uint8Array | undefined {
    return this.#nodes.get(path)?.bytes
  }

  /** Puts a file there, with the folders that it needs. */
  put(path: string, bytes: Uint8Array): void {
    for (let folder = parentPath(path); !this.#nodes.has(folder); folder = parentPath(folder)) {
      this.#set(folder, undefined)
    }
    this.#set(path, bytes)
  }

  async stat(path: string): Promise<FileStatus | undefined> {
    const node = this.#nodes.get(path)
    if (node === undefined) return undefined
    const { bytes, modifiedMs, unique } = node
    const type = bytes === undefined ? 'directory' : 'file'
    const length = bytes?.byteLength ?? 0
    return { name: baseName(path), type, bytes: length, modifiedMs, readOnly: false, unique }
  }

  async *list(path: string): AsyncGenerator<FileStatus> {
    this.#directory(path)
    for (const child of this.#children(path).toSorted()) {
      const status = await this.stat(child)
      if (status !== undefined) yield status
    }
  }

  async openRead(path: string): Promise<ReadHandle> {
    const node = this.#node(path)
    if (node.bytes === undefined) throw new IsDirectoryError(path)
    const { bytes } = node
    const { beforeRead } = this.#options
    this.openReads += 1
    return {
      bytes: bytes.byteLength,
      read: async function* read(range): AsyncGenerator<Uint8Array> {
        await beforeRead?.(path, range)
        const end = Math.min(range.offset + range.length, bytes.byteLength)
        for (let at = range.offset; at < end; at += READ_BYTES) {
          yield bytes.slice(at, Math.min(at + READ_BYTES, end))
        }
      },
      close: async () => {
        this.openReads -= 1
      }
    }
  }

  async openWrite(path: string, options: OpenWriteOptions): Promise<WriteHandle> {
    if (path === '/') throw new IsDirectoryError(path)
    const under = this.#nodes.get(path)
    if (under !== undefined && under.bytes === undefined) throw new IsDirectoryError(path)
    for (let folder = parentPath(path); folder !== '/'; folder = parentPath(folder)) {
      if (this.#nodes.get(folder)?.bytes !== undefined) throw new NotDirectoryError(folder)
    }
    if ((options.expectedBytes ?? 0) > this.#maxBytes) throw new NoSpaceError(path)
    this.openUploads += 1
    return this.#upload(path, options.mode, under)
  }

  async makeDirectory(path: string): Promise<void> {
    if (this.#nodes.has(path)) throw new PathExistsError(path)
    this.#directory(parentPath(path))
    this.#set(path, undefined)
  }

  async removeDirectory(path: string): Promise<void> {
    this.#directory(path)
    if (path === '/' || this.#children(path).length > 0) throw new DirectoryNotEmptyError(path)
    this.#nodes.delete(path)
  }

  async removeFile(path: string): Promise<void> {
    if (this.#node(path).bytes === undefined) throw new IsDirectoryError(path)
    this.#nodes.delete(path)
  }

  async rename(from: string, to: string): Promise<void> {
    const node = this.#node(from)
    this.#directory(parentPath(to))
    const target = this.#nodes.get(to)
    if (target !== undefined && target.bytes === undefined) throw new PathExistsError(to)
    for (const path of this.#nodes.keys().toArray()) {
      const moved = this.#nodes.get(path)
      if (moved === undefined || !path.startsWith(`${from}/`)) continue
      this.#nodes.delete(path)
      this.#nodes.set(to + path.slice(from.length), moved)
    }
    this.#nodes.delete(from)
    this.#nodes.set(to, node)
  }

  async setModified(path: string, modifiedMs: number): Promise<void> {
    this.#nodes.set(path, { ...this.#node(path), modifiedMs })
  }

  get #maxBytes(): number {
    return this.#options.maxBytes ?? Number.MAX_SAFE_INTEGER
  }

  #upload(path: string, mode: OpenWriteOptions['mode'], under: Node | undefined): WriteHandle {
    const base = mode === 'append' ? (under?.bytes?.byteLength ?? 0) : 0
    let bytes = mode === 'replace' ? Buffer.alloc(0) : Buffer.from(under?.bytes ?? [])
    let length = bytes.byteLength
    let isOpen = true
    const close = (): void => {
      if (isOpen) this.openUploads -= 1
      isOpen = false
    }
    return {
      write: async (offset, piece, options = {}) => {
        const call = { path, offset: base + offset, length: piece.byteLength }
        this.writes.push(call)
        await this.#options.beforeWrite?.(call)
        options.signal?.throwIfAborted()
        const end = call.offset + call.length
        if (end > this.#maxBytes) throw new NoSpaceError(path)
        if (end > bytes.byteLength) bytes = Buffer.concat([bytes, Buffer.alloc(end)])
        bytes.set(piece, call.offset)
        length = Math.max(length, end)
      },
      readBack: async function* readBack(offset): AsyncGenerator<Uint8Array> {
        yield Uint8Array.from(bytes.subarray(offset, length))
      },
      publish: async ({ isStillWanted, signal }: PublishOptions = {}): Promise<Published> => {
        signal?.throwIfAborted()
        if (isStillWanted?.() === false) {
          close()
          throw new UploadAbandonedError(path)
        }
        const isSame = this.#nodes.get(path) === under
        if (mode !== 'replace' && !isSame) throw new StorageConflictError(path, 'was changed')
        this.put(path, bytes.subarray(0, length))
        close()
        return { bytes: length }
      },
      abort: async () => close()
    }
  }

  #set(path: string, bytes: Uint8Array | undefined): void {
    this.#changes += 1
    const modifiedMs = Date.UTC(2020, 0, 2, 3, 4, 5)
    this.#nodes.set(path, { bytes, modifiedMs, unique: String(this.#changes) })
  }

  #node(path: string): Node {
    const node = this.#nodes.get(path)
    if (node === undefined) throw new PathNotFoundError(path)
    return node
  }

  #directory(path: string): void {
    if (this.#node(path).bytes !== undefined) throw new NotDirectoryError(path)
  }

  #children(path: string): string[] {
    return [...this.#nodes.keys()].filter((child) => child !== '/' && parentPath(child) === path)
  }
}
