import type { MultiaddrConnection } from '@libp2p/interface'
import type { Clock } from '../lib/clock.ts'
import { toError } from '../lib/to-error.ts'
import { TokenBucket } from '../lib/token-bucket.ts'
import { originOf } from './addresses.ts'
import { Crowd } from './crowd.ts'
import { PeerUnreachableError } from './errors.ts'
import type { Refusals, RefusedConnection } from './refusals.ts'

export interface InboundConnectionsComponents {
  readonly clock: Clock
  readonly refusals: Pick<Refusals, 'connection'>
}

export interface InboundConnectionsOptions {
  /** Connections that have not begun with noise, from everywhere. @default 512 */
  readonly maxPending?: number
  /** … and that have begun and are not done. @default 256 */
  readonly maxBegun?: number
  /** Connections of one address that may begin with noise at once. @default 1000 */
  readonly burst?: number
  /** … and after these in each second: it takes some of the processor. @default 500 */
  readonly perSecond?: number
}

/**
 * Time that a handshake may take, in milliseconds. Patient, because those of many that start at once on a
 * busy host take seconds.
 */
export const HANDSHAKE_MS = 20_000

// Addresses whose allowance is remembered; one that is forgotten has all of it again.
const MAX_ORIGINS = 4096

/** What of a connection matters here. */
type PendingConnection = Pick<MultiaddrConnection, 'remoteAddr' | 'abort'>

/**
 * Lets other agents' TCP connections in, up to where it is known who is at their other end. There is
 * always room for one more: of those that got as far, the eldest goes of the address that most are from. So
 * whoever is silent on hundreds of them keeps nobody out, not even others behind the same address.
 */
export class InboundConnections {
  readonly #clock: Clock
  readonly #refusals: Pick<Refusals, 'connection'>
  readonly #maxPending: number
  readonly #maxBegun: number
  readonly #burst: number
  readonly #perSecond: number
  readonly #pending = new Crowd<PendingConnection>()
  readonly #begun = new Crowd<PendingConnection>()
  /** Why those were refused that this class refused. */
  readonly #fates = new WeakMap<PendingConnection, RefusedConnection>()
  /** What each address may still do; above all the agents behind one address translator. Least recently used first. */
  readonly #allowances = new Map<string, TokenBucket>()

  constructor(components: InboundConnectionsComponents, options: InboundConnectionsOptions = {}) {
    const { maxPending = 512, maxBegun = 256, burst = 1000, perSecond = 500 } = options
    if (!(maxPending >= 1 && maxBegun >= 1 && burst >= 1 && perSecond > 0)) {
      const room = `room for ${maxPending} connections and ${maxBegun} handshakes`
      throw new RangeError(`${room}, ${burst} at once, ${perSecond}/s`)
    }
    this.#clock = components.clock
    this.#refusals = components.refusals
    this.#maxPending = maxPending
    this.#maxBegun = maxBegun
    this.#burst = burst
    this.#perSecond = perSecond
  }

  /** Connections in the middle of their handshake. */
  get pendingCount(): number {
    return this.#pending.size + this.#begun.size
  }

  /**
   * Takes a connection through its handshake, which is what `upgrade` does.
   *
   * @throws {Error} what `upgrade` throws.
   */
  async admit(connection: PendingConnection, upgrade: () => Promise<void>): Promise<void> {
    const origin = originOf(connection.remoteAddr)
    const startedMs = this.#clock.monotonic()
    this.#pending.add(origin, connection)
    if (this.#pending.size > this.#maxPending) this.#makeRoom(this.#pending)
    try {
      await upgrade()
    } catch (thrown) {
      const isLate = this.#clock.monotonic() - startedMs >= HANDSHAKE_MS
      const fate = this.#fates.get(connection)
      const reason = fate ?? (isLate ? 'silent' : reasonOf(toError(thrown)))
      if (reason !== undefined) this.#refusals.connection(reason, origin)
      throw thrown
    } finally {
      this.#pending.delete(origin, connection)
      this.#begun.delete(origin, connection)
    }
  }

  /**
   * Told when the costly part of a handshake is to begin, of whatever connection. What is only opened costs
   * little, and takes nothing from others of its address.
   *
   * @throws {PeerUnreachableError} if its address has used up its allowance.
   */
  begin(connection: PendingConnection): void {
    const origin = originOf(connection.remoteAddr)
    if (!this.#pending.has(origin, connection)) return
    if (!this.#allows(origin)) {
      this.#fates.set(connection, 'tooFast')
      throw new PeerUnreachableError(`at ${origin}`, 'too many connections come from there')
    }
    this.#pending.delete(origin, connection)
    this.#begun.add(origin, connection)
    if (this.#begun.size > this.#maxBegun) this.#makeRoom(this.#begun)
  }

  #makeRoom(crowd: Crowd<PendingConnection>): void {
    const eldest = crowd.eldestOfMost
    if (eldest === undefined) return
    const origin = originOf(eldest.remoteAddr)
    crowd.delete(origin, eldest)
    this.#fates.set(eldest, 'crowded')
    eldest.abort(new PeerUnreachableError(`at ${origin}`, 'others came before it said anything'))
  }

  #allows(origin: string): boolean {
    const bucket = this.#allowances.get(origin) ?? this.#fullBucket()
    this.#allowances.delete(origin)
    this.#allowances.set(origin, bucket)
    if (this.#allowances.size > MAX_ORIGINS) {
      const [oldest] = this.#allowances.keys()
      if (oldest !== undefined) this.#allowances.delete(oldest)
    }
    return bucket.tryTake(1)
  }

  #fullBucket(): TokenBucket {
    const [perSecond, burst] = [this.#perSecond, this.#burst]
    return new TokenBucket(this.#clock, { perSecond, burstMs: (burst / perSecond) * 1000 })
  }
}

/** Undefined for what is counted elsewhere. */
function reasonOf(error: Error): RefusedConnection | undefined {
  if (error.name === 'ConnectionDeniedError') return 'full'
  return error.name === 'ConnectionInterceptedError' ? undefined : 'broken'
}
