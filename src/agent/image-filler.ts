import { Bitfield } from '../chunks/bitfield.ts'
import { isZeroChunk } from '../chunks/chunk-id.ts'
import type { Manifest } from '../chunks/manifest.ts'
import { toError } from '../lib/to-error.ts'
import type { ImageFile } from './image-file.ts'

export interface ImageFillerComponents {
  readonly manifest: Manifest
  readonly file: ImageFile
  /** Reads a chunk that is held. */
  readonly read: (index: number, signal: AbortSignal) => Promise<Uint8Array>
  /** Takes back an array that was read. */
  readonly giveBack?: ((bytes: Uint8Array) => void) | undefined
}

export interface ImageFillerOptions {
  /** Chunks that are read and written at the same time. @default 4 */
  readonly maxWrites?: number | undefined
  /** Bytes after which the system is asked to bring them to the disk. @default 32 MiB */
  readonly flushBytes?: number | undefined
}

/**
 * Writes an image to a file while its chunks are still coming, so that next to nothing is left to do when the last one
 * is there. Chunks of zeros stay holes.
 */
export class ImageFiller {
  readonly #components: ImageFillerComponents
  readonly #maxWrites: number
  readonly #flushBytes: number
  readonly #taken: Bitfield
  /** The chunk that came last is written first: it is still in memory. */
  readonly #ready: number[] = []
  readonly #workers = new Set<Promise<void>>()
  #workerCount = 0
  readonly #failed = new AbortController()
  #unflushedBytes = 0
  #flush: Promise<void> | undefined
  #doneBytes = 0

  constructor(components: ImageFillerComponents, options: ImageFillerOptions = {}) {
    const { maxWrites = 4, flushBytes = 33_554_432 } = options
    if (!(maxWrites > 0) || !(flushBytes > 0)) {
      throw new RangeError(`${maxWrites} writes, flushed after ${flushBytes} bytes`)
    }
    this.#components = components
    this.#maxWrites = maxWrites
    this.#flushBytes = flushBytes
    this.#taken = new Bitfield(components.manifest.chunkCount)
  }

  /** Aborted with the reason when a chunk cannot be read or written, or when it was stopped. */
  get failed(): AbortSignal {
    return this.#failed.signal
  }

  /** Bytes of chunks that are in the file. */
  get doneBytes(): number {
    return this.#doneBytes
  }

  /**
   * Writes a chunk that has just come and need not be read again.
   *
   * @returns when the array is free again. Never rejects: a failure is kept.
   */
  async take(index: number, bytes: Uint8Array): Promise<void> {
    if (this.#failed.signal.aborted || !this.#taken.set(index)) return
    const writing = this.#put(index, bytes)
    this.#workers.add(writing)
    await writing
    this.#workers.delete(writing)
  }

  /** A chunk is held from now on. */
  add(index: number): void {
    if (this.#failed.signal.aborted || !this.#taken.set(index)) return
    this.#ready.push(index)
    if (this.#workerCount >= this.#maxWrites) return
    this.#workerCount++
    const worker = this.#work()
    this.#workers.add(worker)
    worker.finally(() => this.#workers.delete(worker)).catch(() => {}) // it keeps its failure
  }

  /** Writes what was not told of, such as chunks that occur twice. All must be held now. */
  async finish(): Promise<void> {
    const { ids, chunkCount } = this.#components.manifest
    for (let index = 0; index < chunkCount; index++) {
      this.#failed.signal.throwIfAborted()
      if (this.#ready.length >= this.#maxWrites * 2) await Promise.race(this.#workers)
      if (!this.#taken.get(index) && !isZeroChunk(ids.get(index))) this.add(index)
    }
    await Promise.all(this.#workers)
    await this.#flush
    this.#failed.signal.throwIfAborted()
  }

  /** Ends what runs. Harmless afterwards. */
  async stop(reason: unknown): Promise<void> {
    this.#failed.abort(reason)
    await Promise.all(this.#workers)
    await this.#flush
  }

  async #work(): Promise<void> {
    const { signal } = this.#failed
    for (;;) {
      const index = this.#ready.pop()
      if (index === undefined || signal.aborted) {
        this.#workerCount-- // at once: nothing comes between this look and the end
        return
      }
      await this.#write(index, signal)
    }
  }

  async #write(index: number, signal: AbortSignal): Promise<void> {
    const { read, giveBack } = this.#components
    try {
      const bytes = await read(index, signal)
      await this.#put(index, bytes)
      giveBack?.(bytes)
    } catch (error) {
      this.#failed.abort(toError(error))
    }
  }

  async #put(index: number, bytes: Uint8Array): Promise<void> {
    const { manifest, file } = this.#components
    const { byteLength } = bytes
    try {
      await file.write(index * manifest.chunkBytes, bytes)
    } catch (error) {
      this.#failed.abort(toError(error))
      return
    }
    this.#doneBytes += byteLength
    this.#unflushedBytes += byteLength
    if (this.#unflushedBytes < this.#flushBytes || this.#flush !== undefined) return
    this.#unflushedBytes = 0
    this.#flush = this.#flushNow()
  }

  /** A file that is mostly on the disk is flushed soon at the end. */
  async #flushNow(): Promise<void> {
    try {
      await this.#components.file.flush()
    } catch (error) {
      this.#failed.abort(toError(error))
    } finally {
      this.#flush = undefined
    }
  }
}
