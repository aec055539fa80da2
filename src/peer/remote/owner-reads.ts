import { toError } from '../../lib/to-error.ts'
import { isSurelyAbsent, type Placement } from './owner-lists.ts'

/** Keys to look for, and how. */
export interface OwnerRead<K, V> {
  readonly keys: readonly K[]
  /** Who may have a key; all in the order in which they are asked. */
  placementOf(key: K): Placement
  /** Asks one owner for some keys; undefined for what it does not have. */
  ask(owner: string, keys: readonly K[]): Promise<readonly (V | undefined)[]>
  /** Rejects with its reason. */
  readonly signal?: AbortSignal | undefined
}

/** What became of one key. */
export interface OwnerFinding<V> {
  readonly value: V | undefined
  /** Who gave the value. */
  readonly from: string | undefined
  /** Owners that said before that they do not have it. */
  readonly lacking: readonly string[]
}

/** A key on its way through its owners. */
interface Search<K, V> {
  readonly key: K
  readonly placement: Placement
  /** Owners, others, and those of former lists. */
  readonly candidates: readonly string[]
  asked: number
  readonly lacking: Set<string>
  value: V | undefined
  from: string | undefined
  failure: Error | undefined
}

/**
 * Looks for keys at their owners: each at its first owner, those that are not there (or whose owner
 * failed) at the second, and so on, with one call an owner and round. Owners by former lists are
 * asked after those of now, if it is not sure without them that a key was never acknowledged.
 *
 * @returns a finding for each key; one without a value was never acknowledged.
 * @throws {Error} what an owner failed with, if a key was not found and too few owners answered.
 */
export async function readFromOwners<K, V>(read: OwnerRead<K, V>): Promise<OwnerFinding<V>[]> {
  const searches = read.keys.map((key) => startSearch<K, V>(key, read.placementOf(key)))
  for (;;) {
    read.signal?.throwIfAborted()
    const open = searches.filter(isOpen)
    if (open.length === 0) break
    const groups = Map.groupBy(open, ({ candidates, asked }) => candidates[asked] ?? '')
    await Promise.all([...groups].map(([owner, group]) => askOwner(read, owner, group)))
  }
  return searches.map(({ placement, lacking, value, from, failure }) => {
    if (value === undefined && failure !== undefined && !isSurelyAbsent(placement, lacking)) {
      throw failure
    }
    return { value, from, lacking: placement.owners.filter((owner) => lacking.has(owner)) }
  })
}

function startSearch<K, V>(key: K, placement: Placement): Search<K, V> {
  const { owners, former, others } = placement
  return {
    key,
    placement,
    candidates: [...new Set([...owners, ...others, ...former.flat()])],
    asked: 0,
    lacking: new Set(),
    value: undefined,
    from: undefined,
    failure: undefined
  }
}

function isOpen<K, V>({ placement, candidates, asked, value, lacking }: Search<K, V>): boolean {
  if (value !== undefined || asked >= candidates.length) return false
  if (asked < placement.owners.length) return true
  const isOther = placement.others.includes(candidates[asked] ?? '')
  return isOther || !isSurelyAbsent(placement, lacking)
}

async function askOwner<K, V>(
  read: OwnerRead<K, V>,
  owner: string,
  group: readonly Search<K, V>[]
): Promise<void> {
  try {
    const keys = group.map(({ key }) => key)
    const values = await read.ask(owner, keys)
    for (const [at, search] of group.entries()) {
      search.asked += 1
      search.value = values[at]
      if (search.value === undefined) search.lacking.add(owner)
      else search.from = owner
    }
  } catch (thrown) {
    const error = toError(thrown)
    for (const search of group) {
      search.asked += 1
      search.failure ??= error
    }
  }
}
