import { basename } from 'node:path'
import { type FileLayer, systemFiles } from '../../src/lib/file-layer.ts'

export type FileOperation = keyof FileLayer

export interface Fault {
  readonly operation: FileOperation
  /** Code that the operation fails with, such as ENOSPC. */
  readonly code: string
  /** Part of the path that the operation must concern. @default any */
  readonly path?: string
  /** How often. @default 1 */
  readonly times?: number
}

/** Files that remember what was done to them in which order, and fail, or stop short, on demand. */
export class FaultyFiles implements FileLayer {
  /**
   * Lines like `fsync tmp/0`, each written when the operation is over; with the path's last two
   * parts.
   */
  readonly trace: string[] = []
  /** Bytes that a read or write moves at most. */
  maxBytes = Infinity
  openFiles = 0
  mostOpenFiles = 0
  readonly #files: FileLayer
  readonly #faults: { fault: Fault; left: number }[] = []
  readonly #paths = new Map<number, string>()

  constructor(files: FileLayer = systemFiles) {
    this.#files = files
  }

  fail(fault: Fault): void {
    this.#faults.push({ fault, left: fault.times ?? 1 })
  }

  /** Forgets all faults. */
  heal(): void {
    this.#faults.length = 0
  }

  /** The trace without what only looks. */
  get changes(): string[] {
    return this.trace.filter((line) => !/^(?:open|close|read|list|sizesOf) /.test(line))
  }

  async open(path: string, flags: string): Promise<number> {
    const file = await this.#run('open', path, () => this.#files.open(path, flags))
    this.#paths.set(file, path)
    this.mostOpenFiles = Math.max(this.mostOpenFiles, ++this.openFiles)
    return file
  }

  async close(file: number): Promise<void> {
    const path = this.#pathOf(file)
    this.#paths.delete(file)
    await this.#run('close', path, () => this.#files.close(file))
    this.openFiles--
  }

  async write(file: number, bytes: Uint8Array, position: number): Promise<number> {
    const part = bytes.subarray(0, this.maxBytes)
    return await this.#run('write', this.#pathOf(file), () =>
      this.#files.write(file, part, position)
    )
  }

  async read(file: number, bytes: Uint8Array, position: number): Promise<number> {
    const part = bytes.subarray(0, this.maxBytes)
    return await this.#run('read', this.#pathOf(file), () => this.#files.read(file, part, position))
  }

  async fsync(file: number): Promise<void> {
    await this.#run('fsync', this.#pathOf(file), () => this.#files.fsync(file))
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#run('rename', to, () => this.#files.rename(from, to))
  }

  async unlink(path: string): Promise<void> {
    await this.#run('unlink', path, () => this.#files.unlink(path))
  }

  async makeFolder(path: string): Promise<void> {
    await this.#run('makeFolder', path, () => this.#files.makeFolder(path))
  }

  async list(path: string): Promise<string[]> {
    return await this.#run('list', path, () => this.#files.list(path))
  }

  async sizesOf(paths: readonly string[]): Promise<(number | undefined)[]> {
    return await this.#run('sizesOf', paths[0] ?? '', () => this.#files.sizesOf(paths))
  }

  /** @throws EBADF for what is closed: another file may have its number already. */
  #pathOf(file: number): string {
    const path = this.#paths.get(file)
    if (path !== undefined) return path
    throw Object.assign(new Error(`EBADF: file ${file} is not open`), { code: 'EBADF' })
  }

  async #run<T>(operation: FileOperation, path: string, work: () => Promise<T>): Promise<T> {
    const entry = this.#faults.find(
      ({ fault, left }) =>
        left > 0 && fault.operation === operation && path.includes(fault.path ?? '')
    )
    if (entry !== undefined) {
      entry.left--
      throw Object.assign(new Error(`${entry.fault.code}: injected`), { code: entry.fault.code })
    }
    const result = await work()
    this.trace.push(`${operation} ${shortPath(path)}`)
    return result
  }
}

function shortPath(path: string): string {
  const parent = basename(path.slice(0, path.lastIndexOf('/')))
  return `${parent}/${basename(path).slice(0, 12)}`
}
