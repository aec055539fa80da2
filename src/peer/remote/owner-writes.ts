import { errorCode } from '../../lib/errors.ts'
import { toError } from '../../lib/to-error.ts'
import { NotEnoughOwnersError } from '../errors.ts'
import { majorityOf } from '../owners.ts'

/** Items to put, and how. */
export interface OwnerWrite<T> {
  readonly items: readonly T[]
  /** What the items are called in errors. */
  readonly what: string
  ownersOf(item: T): readonly string[]
  /** Stores some items durably at one owner. */
  put(owner: string, items: readonly T[]): Promise<void>
}

/** One owner's share of a write; never rejects. */
export interface OwnerShare<T> {
  readonly owner: string
  readonly items: readonly T[]
  /** undefined when the owner acknowledged; else what it failed with. */
  readonly outcome: Promise<Error | undefined>
}

/** An item on its way to a majority. */
interface Tally {
  readonly needed: number
  readonly ownerCount: number
  acknowledged: number
  failed: number
}

/** Failures that another owner would answer with too: the items themselves are refused. */
const REFUSALS: ReadonlySet<string> = new Set([
  'ERR_NODE_CONFLICT',
  'ERR_RECORD_CONFLICT',
  'ERR_INVALID_NODE',
  'ERR_CHUNK_MISMATCH',
  'ERR_UNTRUSTED_SIGNATURE',
  'ERR_METADATA_LIMIT',
  'ERR_NOT_PERMITTED',
  'ERR_INVALID_REQUEST'
])

/**
 * Tells whether a put failed because of what was put, and not because of the owner or the network.
 */
export function isRefusal(error: Error): boolean {
  return REFUSALS.has(errorCode(error) ?? '') || error instanceof RangeError
}

/**
 * Puts items to their owners, with one call an owner. Resolves as soon as each item is acknowledged
 * by a majority of its owners.
 *
 * @returns the shares of all owners, some of which may still be on their way.
 * @throws {Error} what an owner refused the items with.
 * @throws {NotEnoughOwnersError} if a majority of some item's owners can no longer be reached.
 */
export async function writeToOwners<T>(write: OwnerWrite<T>): Promise<OwnerShare<T>[]> {
  const tallies = new Map<T, Tally>()
  const groups = new Map<string, T[]>()
  for (const item of new Set(write.items)) {
    const owners = write.ownersOf(item)
    const { length: ownerCount } = owners
    tallies.set(item, { needed: majorityOf(ownerCount), ownerCount, acknowledged: 0, failed: 0 })
    for (const owner of owners) {
      const group = groups.get(owner)
      if (group === undefined) groups.set(owner, [item])
      else group.push(item)
    }
  }
  const shares = [...groups].map(([owner, items]) => startShare(write, owner, items))
  await quorum(write.what, shares, tallies)
  return shares
}

function startShare<T>(write: OwnerWrite<T>, owner: string, items: readonly T[]): OwnerShare<T> {
  const outcome = write.put(owner, items).then(
    () => undefined,
    (thrown: unknown) => toError(thrown)
  )
  return { owner, items, outcome }
}

async function quorum<T>(
  what: string,
  shares: readonly OwnerShare<T>[],
  tallies: ReadonlyMap<T, Tally>
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let open = tallies.size
  if (open === 0) resolve()
  const settle = ({ items }: OwnerShare<T>, error: Error | undefined): void => {
    if (error !== undefined && isRefusal(error)) reject(error)
    for (const item of items) {
      const tally = tallies.get(item)
      if (tally === undefined) continue
      if (error === undefined) {
        tally.acknowledged += 1
        if (tally.acknowledged === tally.needed) open -= 1
      } else {
        tally.failed += 1
        const { acknowledged, needed, failed, ownerCount } = tally
        if (failed <= ownerCount - needed) continue
        reject(new NotEnoughOwnersError(what, acknowledged, needed, { cause: error }))
      }
    }
    if (open === 0) resolve()
  }
  for (const share of shares) void share.outcome.then((error) => settle(share, error))
  await promise
}
