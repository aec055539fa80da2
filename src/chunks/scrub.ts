import type { AbortOptions } from '../lib/abort-options.ts'
import { MIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/errors.ts'
import { SortedIds } from './sorted-ids.ts'
import type { CheckableStore, ChunkCondition } from './store-types.ts'
import type { ChunkId } from './types.ts'

/** What is wrong with a chunk: its bytes are not its own, its file is gone, or its disk fails. */
export type Damage = Exclude<ChunkCondition, 'intact'> | 'unreadable'

/** What a round has found. */
export interface ScrubReport {
  /** Chunks looked at, whatever was found. */
  readonly checked: number
  /** Chunks whose bytes were not theirs; the store holds them no longer. */
  readonly corrupt: number
  /** Chunks whose bytes were gone; the store holds them no longer. */
  readonly missing: number
  /** Chunks that the disk could not read. */
  readonly unreadable: number
}

export interface ScrubOptions extends AbortOptions {
  /** Bytes read a second at most. @default 64 MiB */
  readonly bytesPerSecond?: number | undefined
  /** Where to go on: only ids above this one are looked at. @default at the beginning */
  readonly after?: ChunkId | undefined
  /** Told of each chunk that was looked at, in order of their ids. */
  readonly onChecked?: ((id: ChunkId, damage: Damage | undefined) => void) | undefined
}

/** What a slow disk has held up may be made good within this time. */
const LATE_MS = 1000

/** Failures that are one chunk's, or may be. */
const UNREADABLE: ReadonlySet<string> = new Set(['ERR_CHUNK_UNREADABLE', 'ERR_STORE_FAILED'])

/**
 * Reads every chunk of a store again and hashes it, slowly and in order of the ids. What is not
 * what it should be is dropped by the store, so that it is fetched from elsewhere instead of being
 * served; what cannot be read is passed over.
 */
export async function scrub(
  store: CheckableStore,
  clock: Clock,
  options: ScrubOptions = {}
): Promise<ScrubReport> {
  const { signal, bytesPerSecond = 64 * MIB, after, onChecked } = options
  if (!(bytesPerSecond > 0)) throw new RangeError(`cannot scrub ${bytesPerSecond} bytes a second`)
  const report = { checked: 0, corrupt: 0, missing: 0, unreadable: 0 }
  const sortedIds = new SortedIds(store)
  let dueAt = clock.monotonic()
  for (let firstByte = after?.[0] ?? 0; firstByte < 256; firstByte++) {
    for (const id of sortedIds.startingWith(firstByte, after)) {
      signal?.throwIfAborted()
      const bytes = store.lengthOf(id)
      if (bytes === undefined) continue // deleted meanwhile
      const earlyMs = dueAt - clock.monotonic()
      if (earlyMs > 0) await clock.sleep(earlyMs, signal && { signal })
      const damage = await checked(store, id, { signal })
      dueAt = Math.max(dueAt, clock.monotonic() - LATE_MS) + (bytes / bytesPerSecond) * 1000
      report.checked++
      if (damage !== undefined) report[damage]++
      onChecked?.(id, damage)
    }
  }
  return report
}

async function checked(
  store: CheckableStore,
  id: ChunkId,
  options: AbortOptions
): Promise<Damage | undefined> {
  try {
    const condition = await store.check(id, options)
    return condition === 'intact' ? undefined : condition
  } catch (error) {
    options.signal?.throwIfAborted()
    if (!UNREADABLE.has(errorCode(error) ?? '')) throw error
    return 'unreadable'
  }
}
