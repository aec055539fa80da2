import { KIB, MIB } from '../../lib/bytes.ts'
import { RateMeter } from '../../lib/rate-meter.ts'
import type { Picker } from './picker.ts'
import type { RequestLedger } from './requests.ts'
import type { Scorecard } from './scorecard.ts'

export interface CreditOptions {
  /** Bytes asked for and not yet stored, of all neighbours. @default 32 MiB */
  readonly maxInFlightBytes?: number
  /** Chunks asked for in all, in equal shares, before rates are known; each neighbour's is a chunk at least. @default 16 */
  readonly sharedCreditChunks?: number
  /** Bytes that may be asked for while somebody waits for chunks now and then, however slow they come. @default 256 KiB */
  readonly leastBackgroundBytes?: number
}

export interface CreditComponents {
  readonly ledger: RequestLedger
  readonly picker: Pick<Picker, 'isUrgent'>
  readonly chunkBytes: number
}

/** Who may be asked for more, as far as that is known of it. */
export interface Debtor {
  readonly peerId: string
  readonly scorecard: Scorecard
}

// Chunks that somebody waits for and that a neighbour may be asked for at a time, whatever its credit.
const MAX_DEMANDED = 8
// After a demand another is likely for this long; background then fills the way down no more than this.
const DEMANDED_AGAIN_MS = 2000
const BACKGROUND_QUEUE_MS = 30
// A neighbour that answers this many cancelled requests neither way is asked for nothing more.
const MAX_ABANDONED = 32
// Requests that a neighbour may have to answer, whatever its credit; it takes twice as many (protocols/swarm.ts).
const MAX_OWED = 256

/** How much may be asked for at once, of each neighbour and of all together. */
export class Credit {
  readonly #ledger: RequestLedger
  readonly #picker: Pick<Picker, 'isUrgent'>
  readonly #chunkBytes: number
  readonly #maxInFlightBytes: number
  readonly #sharedCreditChunks: number
  readonly #leastBackgroundBytes: number
  readonly #byteRate = new RateMeter()
  #storingBytes = 0
  #demandedMs = -Infinity

  constructor({ ledger, picker, chunkBytes }: CreditComponents, options: CreditOptions = {}) {
    const { maxInFlightBytes = 32 * MIB, sharedCreditChunks = 16 } = options
    const { leastBackgroundBytes = 256 * KIB } = options
    this.#ledger = ledger
    this.#picker = picker
    this.#chunkBytes = chunkBytes
    this.#maxInFlightBytes = maxInFlightBytes
    this.#sharedCreditChunks = sharedCreditChunks
    this.#leastBackgroundBytes = leastBackgroundBytes
  }

  /** Somebody waits for a chunk just now. */
  demanded(nowMs: number): void {
    this.#demandedMs = nowMs
  }

  /** Bytes have come that are not stored yet. */
  arrived(bytes: number, nowMs: number): void {
    this.#byteRate.add(bytes, nowMs)
    this.#storingBytes += bytes
  }

  /** Bytes that had come are stored. */
  stored(bytes: number): void {
    this.#storingBytes -= bytes
  }

  /** Nothing is being stored any more. */
  clear(): void {
    this.#storingBytes = 0
  }

  /**
   * Tells whether one of so many neighbours may be asked for another chunk. The question that is asked most
   * often; what most often says no comes first.
   */
  mayAsk(debtor: Debtor, neighbourCount: number, nowMs: number): boolean {
    const chunkBytes = this.#chunkBytes
    const { peerId } = debtor
    const toCome = this.#ledger.bytesToCome(peerId)
    if (toCome > 0) {
      // Demanded chunks pass whatever else it has to send, however much that is.
      const isEnough = this.#picker.isUrgent
        ? this.#ledger.demandedOf(peerId) >= MAX_DEMANDED
        : toCome > this.#aheadOf(debtor, neighbourCount, nowMs)
      if (isEnough) return false
    }
    const inFlight = this.#ledger.bytes + this.#storingBytes
    if (inFlight > 0 && inFlight + chunkBytes > this.#inFlightLimit(nowMs)) return false
    if (this.#ledger.abandonedBy(peerId) >= MAX_ABANDONED) return false
    return this.#ledger.owedBy(peerId) < MAX_OWED
  }

  /** While somebody waits for chunks now and then, the others leave the way down nearly free. */
  #inFlightLimit(nowMs: number): number {
    const isQuiet = nowMs - this.#demandedMs > DEMANDED_AGAIN_MS
    if (isQuiet || this.#picker.isUrgent) return this.#maxInFlightBytes
    const queued = (this.#byteRate.perSecond(nowMs) * BACKGROUND_QUEUE_MS) / 1000
    return Math.max(queued, this.#leastBackgroundBytes)
  }

  /** A neighbour that has no more than this to send is asked for another chunk. */
  #aheadOf({ peerId, scorecard }: Debtor, neighbourCount: number, nowMs: number): number {
    if (scorecard.isOnProbation || this.#ledger.isBorneWith(peerId)) return 0
    const share = (this.#sharedCreditChunks * this.#chunkBytes) / neighbourCount
    const credit = Math.max(share, scorecard.creditBytes) - this.#chunkBytes
    return Math.max(credit, scorecard.aheadBytes(nowMs))
  }
}
