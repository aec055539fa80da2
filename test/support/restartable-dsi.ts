import type { OpenWriteOptions, WriteHandle } from '../../src/gridftp/dsi.ts'
import { UploadLostError } from '../../src/gridftp/errors.ts'
import { subtractRanges } from '../../src/lib/range-arithmetic.ts'
import { RangeSet } from '../../src/lib/range-set.ts'
import { MemoryDsi } from './memory-dsi.ts'

interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** A storage in memory that keeps broken uploads, to the byte. */
export class RestartableDsi extends MemoryDsi {
  /** Calls of `checkpoint`. */
  checkpoints = 0
  /** Runs in each `checkpoint`; may wait, and may throw. */
  onCheckpoint: () => Promise<void> = async () => {}
  readonly #kept = new Map<string, readonly Piece[]>()

  /** Paths of broken uploads. */
  get keptPaths(): string[] {
    return [...this.#kept.keys()]
  }

  override async openWrite(path: string, options: OpenWriteOptions): Promise<WriteHandle> {
    const { continuing = [] } = options
    const pieces = continuing.length > 0 ? [...(this.#kept.get(path) ?? [])] : []
    const written = new RangeSet()
    for (const { offset, bytes } of pieces) written.add(offset, offset + bytes.byteLength)
    const [missing] = subtractRanges(continuing, written)
    if (missing !== undefined) {
      throw new UploadLostError(path, `bytes ${missing.start}-${missing.end} are gone`)
    }
    this.#kept.delete(path)
    const handle = await super.openWrite(path, options)
    for (const { offset, bytes } of pieces) await handle.write(offset, bytes)
    return {
      ...handle,
      write: async (offset, bytes, how) => {
        await handle.write(offset, bytes, how)
        pieces.push({ offset, bytes: bytes.slice() })
        written.add(offset, offset + bytes.byteLength)
      },
      checkpoint: async () => {
        this.checkpoints += 1
        await this.onCheckpoint()
        return written
      },
      suspend: async () => {
        if (pieces.length > 0) this.#kept.set(path, pieces)
        await handle.abort()
      }
    }
  }
}
