import type { Clock } from '../../lib/clock.ts'
import { majorityOf, OWNER_COUNT, OwnerMap } from '../owners.ts'

/** Who keeps a key, and who kept it a short while ago. */
export interface Placement {
  /** Its owners by the list in force. */
  readonly owners: readonly string[]
  /**
   * Its owners by the lists that were in force a short while ago, where others than now: what was
   * acknowledged by them may not have been handed over yet.
   */
  readonly former: readonly (readonly string[])[]
  /** Who else may have it, if lists before the first one known had fewer providers. */
  readonly others: readonly string[]
}

export interface OwnerListsOptions {
  /**
   * How long after a change of the list keys may still be on their way to their new owners, in
   * milliseconds.
   *
   * @default 60000
   */
  readonly settleMs?: number | undefined
}

interface FormerMap {
  readonly map: OwnerMap
  readonly untilMs: number
}

/** Lists that are remembered. More changes than that in one while are changes gone wrong. */
const MAX_FORMER = 16

/** The metadata list in force, and the ones before it as long as they matter. */
export class OwnerLists {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #settleMs: number
  #names = ''
  #current = new OwnerMap([])
  #former: FormerMap[] = []
  #freshUntilMs = 0

  constructor(clock: Pick<Clock, 'monotonic'>, { settleMs = 60_000 }: OwnerListsOptions = {}) {
    this.#clock = clock
    this.#settleMs = settleMs
  }

  /** Providers of the list in force. */
  get providers(): readonly string[] {
    return this.#current.providers
  }

  /** Names the list in force. */
  get name(): string {
    return this.#names
  }

  /** Takes over a list. @returns whether it is another than before. */
  update(list: readonly string[]): boolean {
    const names = list.join()
    if (names === this.#names) return false
    const untilMs = this.#clock.monotonic() + this.#settleMs
    if (this.#current.providers.length === 0) this.#freshUntilMs = untilMs
    else this.#former = [{ map: this.#current, untilMs }, ...this.#former].slice(0, MAX_FORMER)
    this.#names = names
    this.#current = new OwnerMap(list)
    return true
  }

  /** Who kept or keeps the key with this hash. */
  placementOf(keyHash: Uint8Array): Placement {
    const owners = this.#current.owners(keyHash)
    const isFresh = this.#clock.monotonic() < this.#freshUntilMs
    const others = isFresh
      ? this.#current.owners(keyHash, 2 * OWNER_COUNT).slice(owners.length)
      : []
    const former: (readonly string[])[] = []
    for (const { map } of this.#recent()) {
      const earlier = map.owners(keyHash)
      if (![owners, ...former].some((set) => isSameSet(set, earlier))) former.push(earlier)
    }
    return { owners, former, others }
  }

  /** Everybody on the lists that matter. */
  everybody(): ReadonlySet<string> {
    const maps = [this.#current, ...this.#recent().map(({ map }) => map)]
    return new Set(maps.flatMap(({ providers }) => providers))
  }

  #recent(): readonly FormerMap[] {
    if (this.#former.length === 0) return this.#former
    const nowMs = this.#clock.monotonic()
    this.#former = this.#former.filter(({ untilMs }) => nowMs < untilMs)
    return this.#former
  }
}

/**
 * Tells whether a key was surely never acknowledged: by each list that mattered, a majority of its
 * owners says that it does not have it. A majority has what was acknowledged, so each two
 * majorities have an owner in common, also when one of the owners has gone since.
 */
export function isSurelyAbsent(
  { owners, former }: Placement,
  lacking: Pick<ReadonlySet<string>, 'has'>
): boolean {
  return [owners, ...former].every((set) => {
    const saidSo = set.filter((owner) => lacking.has(owner))
    return saidSo.length >= majorityOf(set.length)
  })
}

function isSameSet(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((owner) => right.includes(owner))
}
