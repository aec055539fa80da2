import type { AbortOptions } from '../../lib/abort-options.ts'
import { abortable } from '../../lib/abortable.ts'
import { forEachConcurrently } from '../../lib/concurrently.ts'
import type { BackgroundPuts } from './background-puts.ts'
import type { OwnedKind } from './owned-kinds.ts'
import type { OwnerStores } from './owner-stores.ts'
import { isRefusal, type OwnerShare, writeToOwners } from './owner-writes.ts'

export interface QuorumPutsComponents {
  readonly owners: OwnerStores
  readonly background: BackgroundPuts
}

/** Items of one call to a store, which checks them in one go. */
const ITEMS_AT_ONCE = 512

/** Calls to one store that are under way for one put. */
const CALLS_AT_ONCE = 4

/** Puts things to a majority of their owners, and to the rest of them in the background. */
export class QuorumPuts {
  readonly #owners: OwnerStores
  readonly #background: BackgroundPuts

  constructor({ owners, background }: QuorumPutsComponents) {
    this.#owners = owners
    this.#background = background
  }

  /**
   * Resolves when a majority of the owners of each item has it durably. Aborting ends what has not
   * reached its majority; some owners may have some of the items then.
   *
   * @throws {Error} what an owner refused the items with.
   * @throws {NotEnoughOwnersError} if a majority of some item's owners cannot be reached.
   */
  async put<T>(
    items: readonly T[],
    kind: OwnedKind<T>,
    { signal }: AbortOptions = {}
  ): Promise<void> {
    signal?.throwIfAborted()
    const local = this.#owners.onlyLocal
    if (local !== undefined && items.length <= ITEMS_AT_ONCE) {
      await abortable(kind.put(local, items, { signal }), signal)
      return
    }
    const controller = new AbortController()
    const within = { signal: AbortSignal.any([controller.signal, this.#background.signal]) }
    try {
      const writing = writeToOwners<T>({
        items,
        what: kind.what,
        ownersOf: kind.placing((keyHash) => this.#owners.ownersOf(keyHash)),
        put: (owner, some) => this.#putAt(owner, some, kind, within)
      })
      for (const share of await abortable(writing, signal)) {
        this.#goOn(share, kind, () => controller.abort(new Error('given up')))
      }
    } catch (error) {
      controller.abort(error)
      throw error
    }
  }

  /** Brings items to owners that lack them, in the background. */
  repair<T>(owners: readonly string[], items: readonly T[], kind: OwnedKind<T>): void {
    for (const owner of owners) {
      this.#background.add({
        owner,
        what: kind.what,
        bytes: items.reduce((sum, item) => sum + kind.bytesOf(item), 0),
        attempt: (signal) => this.#putAt(owner, items, kind, { signal }),
        isFinal: isRefusal
      })
    }
  }

  /** Lets an owner's share go on now that a majority has its items. */
  #goOn<T>(
    { owner, items, outcome }: OwnerShare<T>,
    kind: OwnedKind<T>,
    abandon: () => void
  ): void {
    this.#background.add({
      owner,
      what: kind.what,
      bytes: items.reduce((sum, item) => sum + kind.bytesOf(item), 0),
      underWay: outcome,
      abandon,
      attempt: (signal) => this.#putAt(owner, items, kind, { signal }),
      isFinal: isRefusal
    })
  }

  async #putAt<T>(
    owner: string,
    items: readonly T[],
    kind: OwnedKind<T>,
    options: AbortOptions
  ): Promise<void> {
    await forEachConcurrently(
      slices(items, ITEMS_AT_ONCE),
      CALLS_AT_ONCE,
      (some, signal) => this.#owners.ask(owner, (store) => kind.put(store, some, { signal })),
      options
    )
  }
}

function slices<T>(items: readonly T[], length: number): T[][] {
  const count = Math.ceil(items.length / length)
  return Array.from({ length: count }, (_, at) => items.slice(at * length, (at + 1) * length))
}
