import type { FileLayer } from '../../src/lib/file-layer.ts'

/** Files that know up to which length each was on the disk when its last flush began. */
export class FlushedLengths implements FileLayer {
  readonly flushed = new Map<string, number>()
  flushCount = 0
  readonly #files: FileLayer
  readonly #paths = new Map<number, string>()
  readonly #written = new Map<string, number>()

  constructor(files: FileLayer) {
    this.#files = files
  }

  async open(path: string, flags: string): Promise<number> {
    const file = await this.#files.open(path, flags)
    this.#paths.set(file, path)
    return file
  }

  async close(file: number): Promise<void> {
    await this.#files.close(file)
  }

  async write(file: number, bytes: Uint8Array, position: number): Promise<number> {
    const count = await this.#files.write(file, bytes, position)
    const path = this.#paths.get(file) ?? ''
    this.#written.set(path, Math.max(this.#written.get(path) ?? 0, position + count))
    return count
  }

  async read(file: number, bytes: Uint8Array, position: number): Promise<number> {
    return await this.#files.read(file, bytes, position)
  }

  async fsync(file: number): Promise<void> {
    const path = this.#paths.get(file) ?? ''
    const length = this.#written.get(path) ?? 0
    await this.#files.fsync(file)
    this.flushed.set(path, length)
    this.flushCount++
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#files.rename(from, to)
  }

  async unlink(path: string): Promise<void> {
    await this.#files.unlink(path)
  }

  async makeFolder(path: string): Promise<void> {
    await this.#files.makeFolder(path)
  }

  async list(path: string): Promise<string[]> {
    return await this.#files.list(path)
  }

  async sizesOf(paths: readonly string[]): Promise<(number | undefined)[]> {
    return await this.#files.sizesOf(paths)
  }
}
