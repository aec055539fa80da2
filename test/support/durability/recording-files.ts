import { type FileLayer, systemFiles } from '../../../src/lib/file-layer.ts'
import type { FileEvent } from './flush-check.ts'

/** The machine's files, and a record of what is done to them. */
export class RecordingFiles implements FileLayer {
  readonly events: FileEvent[] = []
  readonly #files: FileLayer = systemFiles
  readonly #paths = new Map<number, string>()

  /** Records that somebody is told now that something is durable. */
  acknowledge(what: string): void {
    this.events.push({ kind: 'acknowledged', what })
  }

  async open(path: string, flags: string): Promise<number> {
    const file = await this.#files.open(path, flags)
    this.#paths.set(file, path)
    if (!flags.startsWith('r')) this.#note('made', path)
    return file
  }

  async close(file: number): Promise<void> {
    await this.#files.close(file)
  }

  async write(file: number, bytes: Uint8Array, position: number): Promise<number> {
    const written = await this.#files.write(file, bytes, position)
    this.#note('written', this.#pathOf(file))
    return written
  }

  async read(file: number, bytes: Uint8Array, position: number): Promise<number> {
    return await this.#files.read(file, bytes, position)
  }

  async fsync(file: number): Promise<void> {
    const path = this.#pathOf(file)
    this.#note('flushing', path)
    await this.#files.fsync(file)
    this.#note('flushed', path)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#files.rename(from, to)
    this.events.push({ kind: 'renamed', from, path: to })
  }

  async unlink(path: string): Promise<void> {
    await this.#files.unlink(path)
    this.#note('removed', path)
  }

  async makeFolder(path: string): Promise<void> {
    await this.#files.makeFolder(path)
    this.#note('made', path)
  }

  async list(path: string): Promise<string[]> {
    return await this.#files.list(path)
  }

  async sizesOf(paths: readonly string[]): Promise<(number | undefined)[]> {
    return await this.#files.sizesOf(paths)
  }

  #note(kind: 'made' | 'written' | 'removed' | 'flushing' | 'flushed', path: string): void {
    this.events.push({ kind, path })
  }

  #pathOf(file: number): string {
    return this.#paths.get(file) ?? ''
  }
}
