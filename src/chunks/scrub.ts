import { equalBytes, MIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { chunkId } from './chunk-id.ts'
import type { AbortOptions, ChunkId, ChunkStore } from './types.ts'

export interface ScrubReport {
  /** Chunks that were read and hashed. */
  readonly checked: number
  readonly checkedBytes: number
  /** Chunks whose bytes were not theirs; the store does not hold them any more. */
  readonly corrupt: readonly ChunkId[]
  /** Chunks that the store listed but could not give; removed meanwhile or lost. */
  readonly missing: readonly ChunkId[]
}

export interface ScrubOptions extends AbortOptions {
  /** Bytes read a second at most. @default 64 MiB */
  readonly bytesPerSecond?: number
  /** Called after each chunk. */
  readonly onProgress?: (progress: { readonly checked: number; readonly total: number }) => void
}

/**
 * Reads every chunk of a store again and hashes it, slowly. What is not what it should be is deleted, so
 * that it is fetched from elsewhere instead of being served.
 *
 * @throws {StoreFailedError} if the disk cannot read a chunk.
 */
export async function scrub(
  store: ChunkStore,
  clock: Clock,
  options: ScrubOptions = {}
): Promise<ScrubReport> {
  const { signal, bytesPerSecond = 64 * MIB, onProgress } = options
  if (!(bytesPerSecond > 0)) throw new RangeError(`cannot scrub ${bytesPerSecond} bytes a second`)
  const corrupt: ChunkId[] = []
  const missing: ChunkId[] = []
  let [checked, checkedBytes] = [0, 0]
  const startedAt = clock.monotonic()
  for (const id of Array.from(store.ids())) {
    signal?.throwIfAborted()
    const bytes = await store.get(id, { signal })
    if (bytes === undefined) missing.push(id)
    else {
      checked++
      checkedBytes += bytes.byteLength
      if (!equalBytes(chunkId(bytes), id)) {
        corrupt.push(id)
        await store.delete(id)
      }
    }
    onProgress?.({ checked: checked + missing.length, total: store.chunkCount })
    const aheadMs = (checkedBytes / bytesPerSecond) * 1000 - (clock.monotonic() - startedAt)
    if (aheadMs > 0) await clock.sleep(aheadMs, signal === undefined ? {} : { signal })
  }
  return { checked, checkedBytes, corrupt, missing }
}
