import { forEachConcurrently } from '../../lib/concurrently.ts'
import type { Logger } from '../../lib/logger.ts'
import { toError } from '../../lib/to-error.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import { MetadataStoreError } from '../../metadata/errors.ts'
import type { KeptMetadata, MetadataKind } from '../../metadata/store-types.ts'
import {
  HANDED_NODES,
  HANDED_PAGES,
  HANDED_RECORDS,
  type HandedItem,
  type HandedKind
} from './handed-kinds.ts'
import type { OwnerStores } from './owner-stores.ts'
import { isRefusal } from './owner-writes.ts'

export interface HandOverPassComponents {
  /** Peer id of this agent. */
  readonly self: string
  readonly store: KeptMetadata
  /** The others. */
  readonly owners: OwnerStores
  /** Limits the bytes that are given. */
  readonly rate: TokenBucket
  readonly logger: Logger
  /** Called for what was given. */
  readonly onHandedOver: (kind: MetadataKind, count: number) => void
}

/** What one walk through the own keys found and did. */
export interface HandOverReport {
  /** Keys that this agent keeps. */
  readonly keys: number
  /** Copies that others were given. */
  readonly handedOver: number
  /** Keys that some owner does not have yet, as far as is known. */
  readonly underCopied: number
  /** Keys of other owners that this agent does not keep any more. */
  readonly dropped: number
  /** Owners that could not be asked or given, and why. */
  readonly failed: ReadonlyMap<string, Error>
}

export interface HandOverPassRequest {
  /** Whether what others own and have is dropped here. */
  readonly drops: boolean
  readonly signal: AbortSignal
}

/** Owners that are dealt with at once. */
const OWNERS_AT_ONCE = 4

/** Keys that are dropped at once. */
const DROPS_AT_ONCE = 1024

/** One key of a batch. */
interface Place {
  readonly key: Uint8Array
  readonly owners: readonly string[]
  /** Owners that surely have it, this agent left out. */
  readonly confirmed: Set<string>
}

/** Walks once through what this agent keeps and gives each owner what it lacks. */
export class HandOverPass {
  readonly #components: HandOverPassComponents
  readonly #drops: boolean
  readonly #signal: AbortSignal
  readonly #failed = new Map<string, Error>()
  #keys = 0
  #handedOver = 0
  #underCopied = 0
  #dropped = 0

  constructor(components: HandOverPassComponents, { drops, signal }: HandOverPassRequest) {
    this.#components = components
    this.#drops = drops
    this.#signal = signal
  }

  /** How far it is. */
  get report(): HandOverReport {
    return {
      keys: this.#keys,
      handedOver: this.#handedOver,
      underCopied: this.#underCopied,
      dropped: this.#dropped,
      failed: this.#failed
    }
  }

  /** Called once. An owner that fails is left out from then on. */
  async run(): Promise<HandOverReport> {
    if (this.#components.owners.all().length === 0) return this.report // nobody is known yet
    // Pages and records first: a root that is there is of no use without them.
    await this.#walk(HANDED_RECORDS)
    await this.#walk(HANDED_PAGES)
    await this.#walk(HANDED_NODES)
    return this.report
  }

  async #walk<T>(kind: HandedKind<T>): Promise<void> {
    const { store } = this.#components
    const { keysAtOnce: limit } = kind
    for (let after: Uint8Array | undefined; ; ) {
      const keys = await store.scan({ kind: kind.kind, after, limit }, { signal: this.#signal })
      if (keys.length > 0) await this.#batch(kind, keys)
      if (keys.length < limit) return
      after = keys.at(-1)
    }
  }

  async #batch<T>(kind: HandedKind<T>, keys: readonly Uint8Array[]): Promise<void> {
    const { self, owners } = this.#components
    const list = owners.listName
    const places = this.#placesOf(kind, keys)
    const byOwner = new Map<string, Place[]>()
    for (const place of places) {
      for (const owner of place.owners) {
        if (owner === self) continue
        const group = byOwner.get(owner)
        if (group === undefined) byOwner.set(owner, [place])
        else group.push(place)
      }
    }
    await forEachConcurrently(
      byOwner,
      OWNERS_AT_ONCE,
      async ([owner, group]) => this.#supply(kind, owner, group),
      { signal: this.#signal }
    )
    const isComplete = ({ owners: all, confirmed }: Place): boolean =>
      all.every((owner) => owner === self || confirmed.has(owner))
    this.#keys += places.length
    this.#underCopied += places.filter((place) => !isComplete(place)).length
    if (!this.#drops || owners.listName !== list) return
    const surplus = places.filter((place) => !place.owners.includes(self) && isComplete(place))
    await this.#drop(kind, surplus)
  }

  #placesOf<T>(kind: HandedKind<T>, keys: readonly Uint8Array[]): Place[] {
    const known = new Map<string, readonly string[]>()
    return keys.map((key) => {
      const name = kind.placeOf(key)
      const owners = known.get(name) ?? this.#components.owners.ownersOf(kind.hashOf(name, key))
      known.set(name, owners)
      return { key, owners, confirmed: new Set() }
    })
  }

  /** Finds out what an owner lacks and gives it that. */
  async #supply<T>(kind: HandedKind<T>, owner: string, group: readonly Place[]): Promise<void> {
    if (this.#failed.has(owner)) return
    const { owners, store } = this.#components
    const own = { store, signal: this.#signal }
    try {
      const keys = group.map(({ key }) => key)
      const lacking = await owners.ask(owner, (there) => kind.lacking(there, keys, own))
      const needed = group.filter((place, at) => {
        if (lacking[at] === false) place.confirmed.add(owner)
        return lacking[at] !== false
      })
      for (let from = 0; from < needed.length; from += kind.itemsAtOnce) {
        await this.#giveSome(kind, owner, needed.slice(from, from + kind.itemsAtOnce))
      }
    } catch (thrown) {
      this.#signal.throwIfAborted()
      if (thrown instanceof MetadataStoreError) throw thrown // this agent's own
      const error = toError(thrown)
      this.#failed.set(owner, error)
      this.#components.logger.debug('nothing more is handed over to %p: %e', owner, error)
    }
  }

  async #giveSome<T>(kind: HandedKind<T>, owner: string, places: readonly Place[]): Promise<void> {
    const { store } = this.#components
    const keys = places.map(({ key }) => key)
    const items = await kind.load(store, keys, { signal: this.#signal })
    const given = new Set<string>()
    for (const group of kind.group(items)) await this.#giveGroup(kind, { owner, group, given })
    const there = new Set(items.map(({ key }) => nameOf(key)))
    for (const { key, confirmed } of places) {
      const name = nameOf(key)
      // What is no longer here was collected meanwhile: nobody needs it.
      if (given.has(name) || !there.has(name)) confirmed.add(owner)
    }
  }

  /** Gives what one put can carry; if that is refused, each thing by itself. */
  async #giveGroup<T>(
    kind: HandedKind<T>,
    gift: {
      readonly owner: string
      readonly group: readonly HandedItem<T>[]
      /** Takes the keys of what was stored. */
      readonly given: Set<string>
    }
  ): Promise<void> {
    const { owners, rate, logger, onHandedOver } = this.#components
    const { owner, group, given } = gift
    const bytes = group.reduce((sum, { item }) => sum + kind.bytesOf(item), 0)
    await rate.take(bytes, { signal: this.#signal })
    try {
      await owners.ask(owner, (there) => kind.give(there, group, { signal: this.#signal }))
    } catch (thrown) {
      const error = toError(thrown)
      if (!isRefusal(error)) throw error
      if (group.length > 1) {
        for (const item of group) await this.#giveGroup(kind, { owner, group: [item], given })
      } else {
        logger.error('%p refuses what is handed over to it (%s): %e', owner, kind.kind, error)
      }
      return
    }
    for (const { key } of group) given.add(nameOf(key))
    this.#handedOver += group.length
    onHandedOver(kind.kind, group.length)
  }

  async #drop<T>({ kind }: HandedKind<T>, places: readonly Place[]): Promise<void> {
    const { store } = this.#components
    for (let from = 0; from < places.length; from += DROPS_AT_ONCE) {
      const keys = places.slice(from, from + DROPS_AT_ONCE).map(({ key }) => key)
      const { count } = await store.drop(kind, keys, { signal: this.#signal })
      this.#dropped += count
    }
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('latin1')
}
