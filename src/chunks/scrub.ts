import { MIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { AbortOptions, CheckableStore, ChunkId } from './types.ts'

export interface ScrubProgress {
  /** Chunks looked at so far. */
  readonly checked: number
  /** Chunks to look at: those that the store held at the start. */
  readonly total: number
}

export interface ScrubReport {
  /** Chunks looked at, whatever was found. */
  readonly checked: number
  /** Chunks whose bytes were not theirs; the store holds them no longer. */
  readonly corrupt: readonly ChunkId[]
  /** Chunks whose file was gone; the store holds them no longer. */
  readonly missing: readonly ChunkId[]
}

export interface ScrubOptions extends AbortOptions {
  /** Bytes read a second at most, by the average size of a chunk. @default 64 MiB */
  readonly bytesPerSecond?: number | undefined
  /** Called after each chunk. */
  readonly onProgress?: ((progress: ScrubProgress) => void) | undefined
}

/**
 * Reads every chunk of a store again and hashes it, slowly. What is not what it should be is
 * dropped by the store, so that it is fetched from elsewhere instead of being served.
 *
 * @throws {StoreFailedError} if the disk cannot read a chunk.
 */
export async function scrub(
  store: CheckableStore,
  clock: Clock,
  options: ScrubOptions = {}
): Promise<ScrubReport> {
  const { signal, bytesPerSecond = 64 * MIB, onProgress } = options
  if (!(bytesPerSecond > 0)) throw new RangeError(`cannot scrub ${bytesPerSecond} bytes a second`)
  const total = store.chunkCount
  const msPerChunk = (store.storedBytes / Math.max(1, total) / bytesPerSecond) * 1000
  const corrupt: ChunkId[] = []
  const missing: ChunkId[] = []
  let checked = 0
  // The ids are not copied; chunks stored meanwhile come last and have just been hashed.
  for (const id of Iterator.from(store.ids()).take(total)) {
    const startedAt = clock.monotonic()
    const condition = await store.check(id, { signal })
    if (condition === 'corrupt') corrupt.push(id)
    else if (condition === 'missing') missing.push(id)
    checked++
    onProgress?.({ checked, total })
    const earlyMs = msPerChunk - (clock.monotonic() - startedAt)
    if (earlyMs > 0 && checked < total) await clock.sleep(earlyMs, signal && { signal })
  }
  return { checked, corrupt, missing }
}
