/** What a cache keeps of something that it can have again, as far as eviction must know it. */
export interface CachedItem {
  readonly key: string
  /** When it was last used, milliseconds since the epoch. */
  readonly usedMs: number
}

/** How full a cache is, in bytes. */
export interface CacheFill {
  readonly usedBytes: number
  /** What is about to come. */
  readonly neededBytes: number
  /** What may be used at most. */
  readonly limitBytes: number
}

/** Share of the limit down to which a cache is emptied once it is full, so that the next have room too. */
const LOW_SHARE = 0.9

/**
 * Tells how many bytes a cache has to give up: none while all that is about to come fits; otherwise
 * so many that a tenth of it is free afterwards, or all if what comes is larger than the rest.
 */
export function bytesToFree({ usedBytes, neededBytes, limitBytes }: CacheFill): number {
  if (usedBytes + neededBytes <= limitBytes) return 0
  return usedBytes - Math.max(0, limitBytes * LOW_SHARE - neededBytes)
}

/** What may be given up, in the order in which it is: what was not used for longest first. */
export function evictionOrder<Item extends CachedItem>(
  items: Iterable<Item>,
  isInUse: (item: Item) => boolean
): Item[] {
  return Array.from(items)
    .filter((item) => !isInUse(item))
    .toSorted((left, right) => left.usedMs - right.usedMs)
}
