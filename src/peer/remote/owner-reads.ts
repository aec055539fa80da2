import { toError } from '../../lib/to-error.ts'
import { majorityOf } from '../owners.ts'

/** Keys to look for, and how. */
export interface OwnerRead<K, V> {
  readonly keys: readonly K[]
  /** Owners of a key in the order in which they are asked. */
  ownersOf(key: K): readonly string[]
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
  readonly owners: readonly string[]
  asked: number
  readonly lacking: string[]
  value: V | undefined
  from: string | undefined
  failure: Error | undefined
}

/**
 * Looks for keys at their owners: each at its first owner, those that are not there (or whose owner
 * failed) at the second, and so on, with one call an owner and round.
 *
 * @returns a finding for each key, without a value when a majority of its owners does not have it:
 *   it
 *   was then never acknowledged.
 * @throws {Error} what an owner failed with, if a key was not found and too few owners answered.
 */
export async function readFromOwners<K, V>(read: OwnerRead<K, V>): Promise<OwnerFinding<V>[]> {
  const searches = read.keys.map((key): Search<K, V> => {
    const owners = read.ownersOf(key)
    return {
      key,
      owners,
      asked: 0,
      lacking: [],
      value: undefined,
      from: undefined,
      failure: undefined
    }
  })
  for (;;) {
    read.signal?.throwIfAborted()
    const open = searches.filter(
      ({ value, asked, owners }) => value === undefined && asked < owners.length
    )
    if (open.length === 0) break
    const groups = Map.groupBy(open, ({ owners, asked }) => owners[asked] ?? '')
    await Promise.all([...groups].map(([owner, group]) => askOwner(read, owner, group)))
  }
  for (const { value, owners, lacking, failure } of searches) {
    const isSurelyAbsent = lacking.length >= majorityOf(owners.length)
    if (value === undefined && failure !== undefined && !isSurelyAbsent) throw failure
  }
  return searches
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
      if (search.value === undefined) search.lacking.push(owner)
      else search.from = owner
    }
  } catch (thrown) {
    const error = toError(thrown)
    for (const search of group) {
      search.asked += 1
      search.failure = error
    }
  }
}
