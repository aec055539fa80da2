import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { secureBytes } from '../lib/random.ts'
import { CollectionEndedError } from './errors.ts'
import { KeySet } from './key-set.ts'

/** How long a chunk, page or record is safe after it was stored or asked for, in milliseconds. */
export const DEFAULT_LEASE_MS = 900_000

const NAME_BYTES = 16

export interface LeaseTableComponents {
  readonly clock: Pick<Clock, 'monotonic'>
}

export interface LeaseTableOptions {
  /**
   * How long a lease lasts at least, in milliseconds; at most twice as long while nothing is
   * collected.
   *
   * @default 900_000
   */
  readonly leaseMs?: number | undefined
  /** How long a collection stays open at most, in milliseconds. @default 3_600_000 */
  readonly collectionMs?: number | undefined
  /**
   * How long it stays open after it was last used, once it was, in milliseconds: a collector that
   * is done says nothing. @default as `collectionMs`
   */
  readonly idleMs?: number | undefined
}

/** Leases of a stretch of time. */
interface Generation {
  readonly keys: KeySet
  /** When the first lease in it may have been given. */
  readonly sinceMs: number
  /** When the last one was. */
  lastMs: number
}

interface OpenCollection {
  readonly name: string
  readonly beganMs: number
  /** When something was last asked in its name. */
  usedMs: number | undefined
  /** It began when nobody knew what had a lease, so all has, for it. */
  readonly coversAll: boolean
}

/**
 * What must not be collected because somebody is about to refer to it. Leases are in memory and go
 * by the clock that never jumps; for one lease time after the start everything has one, because
 * nobody remembers the earlier ones. While a collection is open no lease ends.
 *
 * Leases are kept in two generations, the older of which is dropped as a whole; 20 to 30 bytes of
 * memory each.
 */
export class LeaseTable {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #leaseMs: number
  readonly #collectionMs: number
  readonly #idleMs: number
  readonly #startedMs: number
  #recent: Generation
  #older: Generation | undefined
  #collection: OpenCollection | undefined

  constructor(components: LeaseTableComponents, options: LeaseTableOptions = {}) {
    const { leaseMs = DEFAULT_LEASE_MS, collectionMs = 3_600_000 } = options
    const { idleMs = collectionMs } = options
    if (!(leaseMs > 0) || !(collectionMs > 0) || !(idleMs > 0)) {
      throw new RangeError(`leases of ${leaseMs} ms, collections of ${collectionMs}, ${idleMs} ms`)
    }
    this.#clock = components.clock
    this.#leaseMs = leaseMs
    this.#collectionMs = collectionMs
    this.#idleMs = idleMs
    this.#startedMs = this.#clock.monotonic()
    this.#recent = newGeneration(this.#startedMs)
  }

  /** Number of leases that are remembered, a few of which may have ended. */
  get size(): number {
    return this.#recent.keys.size + (this.#older?.keys.size ?? 0)
  }

  /**
   * Gives a lease or renews it. Keys are hashes, or begin with 16 bytes of one.
   *
   * @throws {RangeError} if the key is shorter than 16 bytes.
   */
  grant(key: Uint8Array): void {
    const nowMs = this.#clock.monotonic()
    if (!this.#isOpen(nowMs)) this.#forgetEnded(nowMs)
    this.#recent.keys.add(key)
    this.#recent.lastMs = nowMs
  }

  /**
   * Opens a collection, in place of any before: what has a lease now, or gets one from now on, has
   * it until the collection ends.
   *
   * @returns its name, which nobody can guess.
   */
  begin(): string {
    const nowMs = this.#clock.monotonic()
    this.#forgetEnded(nowMs)
    const name = toHex(secureBytes(NAME_BYTES))
    const coversAll = nowMs - this.#startedMs < this.#leaseMs
    this.#collection = { name, beganMs: nowMs, usedMs: undefined, coversAll }
    return name
  }

  /** @throws {CollectionEndedError} if the collection is not the one that is open. */
  isLeased(collection: string, key: Uint8Array): boolean {
    if (this.#opened(collection).coversAll) return true
    return this.#recent.keys.has(key) || this.#older?.keys.has(key) === true
  }

  /** Tells whether a key has a lease now, for who deletes without a collection. */
  hasLease(key: Uint8Array): boolean {
    const nowMs = this.#clock.monotonic()
    if (nowMs - this.#startedMs < this.#leaseMs) return true
    const isOpen = this.#isOpen(nowMs)
    if (isOpen && this.#collection?.coversAll === true) return true
    const generations = [this.#recent, this.#older]
    return generations.some(
      (generation) =>
        generation?.keys.has(key) === true && (isOpen || !this.#hasEnded(generation, nowMs))
    )
  }

  /** @throws {CollectionEndedError} if the collection is not the one that is open. */
  checkOpen(collection: string): void {
    this.#opened(collection)
  }

  #opened(collection: string): OpenCollection {
    const nowMs = this.#clock.monotonic()
    const open = this.#isOpen(nowMs) ? this.#collection : undefined
    if (open?.name !== collection) throw new CollectionEndedError(collection)
    open.usedMs = nowMs
    return open
  }

  #isOpen(nowMs: number): boolean {
    const open = this.#collection
    if (open === undefined || nowMs - open.beganMs >= this.#collectionMs) return false
    return open.usedMs === undefined || nowMs - open.usedMs < this.#idleMs
  }

  /** Drops a generation when all of its leases have ended. */
  #forgetEnded(nowMs: number): void {
    if (this.#hasEnded(this.#older, nowMs)) this.#older = undefined
    if (this.#older !== undefined || nowMs - this.#recent.sinceMs < this.#leaseMs) return
    if (!this.#hasEnded(this.#recent, nowMs)) this.#older = this.#recent
    this.#recent = newGeneration(nowMs)
  }

  #hasEnded(generation: Generation | undefined, nowMs: number): boolean {
    return generation !== undefined && nowMs - generation.lastMs >= this.#leaseMs
  }
}

function newGeneration(nowMs: number): Generation {
  return { keys: new KeySet(), sinceMs: nowMs, lastMs: Number.NEGATIVE_INFINITY }
}
