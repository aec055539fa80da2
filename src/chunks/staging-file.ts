import { join } from 'node:path'
import { toHex } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import { type FileLayer, readFully, writeFully } from '../lib/file-layer.ts'
import { secureBytes } from '../lib/random.ts'
import { StoreFailedError, StoreFullError } from './errors.ts'

/**
 * Slots of one size in a temporary file. The file is made at the first write and loses its name at
 * once, so that it is gone with the process however that ends. Slots that are freed are used again.
 */
export class StagingFile {
  readonly #files: FileLayer
  readonly #folder: string
  readonly #slotBytes: number
  readonly #free: number[] = []
  #slotCount = 0
  #file: Promise<number> | undefined

  constructor(files: FileLayer, folder: string, slotBytes: number) {
    this.#files = files
    this.#folder = folder
    this.#slotBytes = slotBytes
  }

  /** Slots in use. */
  get usedSlots(): number {
    return this.#slotCount - this.#free.length
  }

  /** Takes a slot; what is in it is left over from earlier. */
  take(): number {
    return this.#free.pop() ?? this.#slotCount++
  }

  release(slot: number): void {
    this.#free.push(slot)
  }

  /** @throws {StoreFullError | StoreFailedError} */
  async write(slot: number, at: number, bytes: Uint8Array): Promise<void> {
    await this.#attempt('writing', bytes.byteLength, async () => {
      this.#file ??= this.#open()
      await writeFully(this.#files, await this.#file, bytes, slot * this.#slotBytes + at)
    })
  }

  /** Fills `into` with what was written there before. @throws {StoreFailedError} */
  async read(slot: number, at: number, into: Uint8Array): Promise<void> {
    await this.#attempt('reading', 0, async () => {
      const file = await this.#file
      if (file === undefined) throw new RangeError('nothing was written yet')
      const came = await readFully(this.#files, file, into, slot * this.#slotBytes + at)
      if (came < into.byteLength) throw new RangeError(`${came} of ${into.byteLength} bytes`)
    })
  }

  /** Frees the file. Nothing else may be under way. Harmless when called twice. */
  async close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    if (file === undefined) return
    const [opened] = await Promise.allSettled([file])
    if (opened.status === 'fulfilled') await this.#files.close(opened.value)
  }

  async #open(): Promise<number> {
    const path = join(this.#folder, `staging-${toHex(secureBytes(8))}`)
    const file = await this.#files.open(path, 'wx+')
    await this.#files.unlink(path)
    return file
  }

  async #attempt(what: string, neededBytes: number, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ENOSPC' || code === 'EDQUOT') {
        throw new StoreFullError(this.#folder, neededBytes, { cause: error })
      }
      throw new StoreFailedError(`${what} a staging file in ${this.#folder}`, { cause: error })
    }
  }
}
