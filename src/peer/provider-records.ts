import { peerIdFromString } from '@libp2p/peer-id'
import { MemoryDatastore } from 'datastore-core/memory'
import type { Pair, Query } from 'interface-datastore'
import { Key } from 'interface-datastore/key'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import type { Clock } from '../lib/clock.ts'
import type { Random } from '../lib/random.ts'

/** Announcers that one answer of the DHT names at most. */
export const MAX_ANNOUNCERS_TOLD = 50

export interface ProviderRecordsOptions {
  /** How long an announcement holds that is not repeated, in milliseconds. @default 15 minutes */
  validMs?: number
  /** Announcements kept of one key; when full, the oldest goes. @default 1024 */
  maxPerKey?: number
  /** Announcements kept in all; when full, the oldest key loses one. @default 200000 */
  maxRecords?: number
}

interface Announcement {
  readonly key: Key
  readonly value: Uint8Array
  readonly untilMs: number
  /** Where the peer's addresses are; made when it is first asked for. */
  addressesKey: Key | undefined
}

// Where kad-dht keeps its provider records: PREFIX/<multihash, base32>/<peer id>.
const PREFIX = '/dht/provider/'

/**
 * The datastore of a libp2p node, in memory, which knows how announcements are best kept: they expire, can
 * be taken back (image-keys.ts), are bounded, and a question is answered by a random few of them, only
 * such whose addresses are known. kad-dht by itself keeps each for 48 hours, answers with all, and fails
 * for the whole key when it has no address of one.
 */
export class ProviderRecords extends MemoryDatastore {
  readonly #clock: Clock
  readonly #random: Random
  readonly #validMs: number
  readonly #maxPerKey: number
  readonly #maxRecords: number
  readonly #byKey = new Map<string, Map<string, Announcement>>()
  #count = 0
  #sweptMs: number

  constructor(
    components: { readonly clock: Clock; readonly random: Random },
    options: ProviderRecordsOptions = {}
  ) {
    super()
    const { validMs = 15 * 60_000, maxPerKey = 1024, maxRecords = 200_000 } = options
    this.#clock = components.clock
    this.#random = components.random
    this.#validMs = validMs
    this.#maxPerKey = maxPerKey
    this.#maxRecords = maxRecords
    this.#sweptMs = this.#clock.monotonic()
  }

  /** Announcements that are kept, those that have expired lately included. */
  get count(): number {
    return this.#count
  }

  override put(key: Key, value: Uint8Array): Key | Promise<Key> {
    const place = placeOf(key.toString())
    if (place === undefined) return super.put(key, value)
    const [name, peer] = place
    const takenBack = takenBackBy(name)
    if (takenBack === undefined) this.#keep(name, peer, { key, value })
    else this.#remove(takenBack, peer)
    return key
  }

  override has(key: Key): boolean | Promise<boolean> {
    const place = placeOf(key.toString())
    if (place === undefined) return super.has(key)
    return this.#byKey.get(place[0])?.has(place[1]) === true
  }

  override delete(key: Key): void | Promise<void> {
    const place = placeOf(key.toString())
    if (place === undefined) return super.delete(key)
    this.#remove(...place)
  }

  /** Of one key, a random few of its announcements; of all keys, none: they are cleaned up here. */
  override query(query: Query): ReturnType<MemoryDatastore['query']> {
    const { prefix } = query
    if (prefix === undefined || !`${prefix}/`.startsWith(PREFIX)) return super.query(query)
    return this.#sample(prefix.slice(PREFIX.length))
  }

  async *#sample(name: string): AsyncGenerator<Pair> {
    const nowMs = this.#clock.monotonic()
    const rest = Array.from(this.#byKey.get(name) ?? [])
    for (let told = 0; told < MAX_ANNOUNCERS_TOLD && rest.length > 0; ) {
      const at = Math.floor(this.#random() * rest.length)
      const chosen = rest[at]
      const last = rest.pop()
      if (chosen === undefined || last === undefined) return
      if (at < rest.length) rest[at] = last
      const [peer, announcement] = chosen
      const { key, value } = announcement
      announcement.addressesKey ??= addressesKey(peer)
      if (announcement.untilMs <= nowMs) this.#remove(name, peer)
      else if (await super.has(announcement.addressesKey)) {
        told += 1
        yield { key, value }
      }
    }
  }

  #keep(name: string, peer: string, record: Pick<Announcement, 'key' | 'value'>): void {
    const nowMs = this.#clock.monotonic()
    this.#sweepNowAndThen(nowMs)
    this.#remove(name, peer) // so that it becomes the newest
    if (this.#count >= this.#maxRecords) this.#dropOldest(this.#byKey.keys().next().value)
    const announcements = this.#byKey.get(name) ?? new Map<string, Announcement>()
    if (announcements.size >= this.#maxPerKey) this.#dropOldest(name)
    const untilMs = nowMs + this.#validMs
    announcements.set(peer, { ...record, untilMs, addressesKey: undefined })
    this.#byKey.set(name, announcements)
    this.#count += 1
  }

  #dropOldest(name: string | undefined): void {
    if (name === undefined) return
    const oldest = this.#byKey.get(name)?.keys().next().value
    if (oldest !== undefined) this.#remove(name, oldest)
  }

  #remove(name: string, peer: string): void {
    const announcements = this.#byKey.get(name)
    if (announcements?.delete(peer) !== true) return
    this.#count -= 1
    if (announcements.size === 0) this.#byKey.delete(name)
  }

  /** Lets go of what has expired, of keys that nobody asks for too. */
  #sweepNowAndThen(nowMs: number): void {
    if (nowMs - this.#sweptMs < this.#validMs) return
    this.#sweptMs = nowMs
    for (const [name, announcements] of this.#byKey) {
      for (const [peer, { untilMs }] of announcements) {
        if (untilMs <= nowMs) this.#remove(name, peer)
      }
    }
  }
}

function placeOf(key: string): [name: string, peer: string] | undefined {
  if (!key.startsWith(PREFIX)) return undefined
  const slash = key.indexOf('/', PREFIX.length)
  return slash < 0 ? undefined : [key.slice(PREFIX.length, slash), key.slice(slash + 1)]
}

/** The name of the key whose announcement one under this name takes back; undefined if it announces. */
function takenBackBy(name: string): string | undefined {
  const multihash = fromString(name, 'base32')
  const last = multihash.at(-1) ?? 0
  if (last % 2 === 0) return undefined
  multihash[multihash.length - 1] = last - 1
  return toString(multihash, 'base32')
}

/** Where libp2p's peer store keeps what it knows of a peer. */
function addressesKey(peer: string): Key {
  return new Key(`/peers/${peerIdFromString(peer).toCID().toString()}`)
}
