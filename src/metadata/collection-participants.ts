import type { Collected } from '../chunks/provider-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'

/** What a provider and a metadata provider have in common here. */
export interface Collectable {
  beginCollection(options?: AbortOptions): Promise<string>
}

/** A store that a collection should reach; without `store` it is known not to answer. */
export interface CollectionMember<S> {
  /** Its peer id. */
  readonly id: string
  readonly store: S | undefined
}

/** How a collection calls a store. */
export type CollectionCall<S, T> = (
  store: S,
  collection: string,
  options: AbortOptions
) => Promise<T>

/**
 * A store that takes part in a collection, from `begin` on until a call fails: what it keeps is
 * collected another time then.
 */
export class Participant<S extends Collectable> {
  readonly id: string
  readonly #store: S
  readonly #collection: string
  readonly #onLost: (error: Error) => void
  #isLost = false

  constructor(id: string, begun: { store: S; collection: string }, onLost: (e: Error) => void) {
    this.id = id
    this.#store = begun.store
    this.#collection = begun.collection
    this.#onLost = onLost
  }

  /** @returns undefined if it cannot be asked, now or ever again in this collection. */
  async ask<T>(call: CollectionCall<S, T>, options: AbortOptions): Promise<T | undefined> {
    if (this.#isLost) return undefined
    try {
      return await call(this.#store, this.#collection, options)
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!this.#isLost) this.#onLost(toError(error))
      this.#isLost = true
      return undefined
    }
  }
}

/** The stores of one kind that take part in a collection. */
export class Participants<S extends Collectable> {
  readonly #logger: Logger
  readonly #limit: number
  readonly #taking: Participant<S>[] = []
  readonly #missed = new Set<string>()

  /** @param limit stores that are worked on at the same time. */
  constructor(logger: Logger, limit: number) {
    this.#logger = logger
    this.#limit = limit
  }

  /** Stores that could not be asked, or not to the end. */
  get missed(): ReadonlySet<string> {
    return this.#missed
  }

  /** Begins the collection wherever somebody answers. */
  async begin(members: readonly CollectionMember<S>[], options: AbortOptions): Promise<void> {
    const work = async ({ id, store }: CollectionMember<S>, signal: AbortSignal): Promise<void> => {
      if (store === undefined) {
        this.#missed.add(id)
        return
      }
      try {
        const collection = await store.beginCollection({ signal })
        const onLost = (error: Error): void => this.#miss(id, error)
        this.#taking.push(new Participant(id, { store, collection }, onLost))
      } catch (error) {
        signal.throwIfAborted()
        this.#miss(id, toError(error))
      }
    }
    await forEachConcurrently(members, this.#limit, work, options)
  }

  /** Does something with each that takes part. */
  async each(
    work: (participant: Participant<S>, options: AbortOptions) => Promise<void>,
    options: AbortOptions
  ): Promise<void> {
    const taking = this.#taking.filter(({ id }) => !this.#missed.has(id))
    await forEachConcurrently(
      taking,
      this.#limit,
      async (participant, signal) => await work(participant, { signal }),
      options
    )
  }

  #miss(id: string, error: Error): void {
    this.#missed.add(id)
    this.#logger.info('%p is left out of the collection: %e', id, error)
  }
}

/** Adds up what was collected. */
export class Tally implements Collected {
  count = 0
  bytes = 0

  add({ count, bytes }: Collected): void {
    this.count += count
    this.bytes += bytes
  }

  /** As it is now; a copy. */
  get sum(): Collected {
    return { count: this.count, bytes: this.bytes }
  }
}
