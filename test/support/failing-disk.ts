import type { ChunkId } from '../../src/chunks/types.ts'
import { type FileLayer, systemFiles } from '../../src/lib/file-layer.ts'
import { type ChunkOnDisk, findChunk } from './chunk-on-disk.ts'

/** What a disk does at present: `broken` fails all writes with EIO, the others say why. */
export type DiskCondition = 'well' | 'full' | 'read-only' | 'broken'

const CODES = { full: 'ENOSPC', 'read-only': 'EROFS', broken: 'EIO' } as const

/** The machine's files on a disk that goes bad: as a whole for writes, in places for reads. */
export class FailingDisk implements FileLayer {
  condition: DiskCondition = 'well'
  readonly #files: FileLayer
  readonly #paths = new Map<number, string>()
  #bad: readonly ChunkOnDisk[] = []

  constructor(files: FileLayer = systemFiles) {
    this.#files = files
  }

  /** From now on the place where a chunk is cannot be read. */
  async spoil(directory: string, id: ChunkId): Promise<void> {
    this.#bad = [...this.#bad, await findChunk(directory, id)]
  }

  async open(path: string, flags: string): Promise<number> {
    const file = await this.#run(flags === 'r', () => this.#files.open(path, flags))
    this.#paths.set(file, path)
    return file
  }

  async close(file: number): Promise<void> {
    await this.#run(true, () => this.#files.close(file))
  }

  async write(file: number, bytes: Uint8Array, position: number): Promise<number> {
    return await this.#run(false, () => this.#files.write(file, bytes, position))
  }

  async read(file: number, bytes: Uint8Array, position: number): Promise<number> {
    const path = this.#paths.get(file)
    const end = position + bytes.byteLength
    const isBad = this.#bad.some(
      (place) => place.path === path && position < place.offset + place.length && end > place.offset
    )
    if (isBad) throw failure('EIO')
    return await this.#run(true, () => this.#files.read(file, bytes, position))
  }

  async fsync(file: number): Promise<void> {
    await this.#run(false, () => this.#files.fsync(file))
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#run(false, () => this.#files.rename(from, to))
    this.#bad = this.#bad.map((place) => (place.path === from ? { ...place, path: to } : place))
  }

  async unlink(path: string): Promise<void> {
    await this.#run(this.condition === 'full', () => this.#files.unlink(path))
  }

  async makeFolder(path: string): Promise<void> {
    await this.#run(false, () => this.#files.makeFolder(path))
  }

  async list(path: string): Promise<string[]> {
    return await this.#run(true, () => this.#files.list(path))
  }

  async sizesOf(paths: readonly string[]): Promise<(number | undefined)[]> {
    return await this.#run(true, () => this.#files.sizesOf(paths))
  }

  async #run<T>(isHarmless: boolean, work: () => Promise<T>): Promise<T> {
    if (this.condition !== 'well' && !isHarmless) throw failure(CODES[this.condition])
    return await work()
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(`${code}: the disk fails`), { code })
}
