import { ANY_COPIES, type RequestClass } from '../protocols/swarm.ts'
import type { AskReason } from './ask-reason.ts'
import type { Holds, Picker } from './picker.ts'
import type { RequestLedger } from './requests.ts'

export interface DoublingOptions {
  /** With no more chunks missing than this, they are asked for at a second neighbour, too. @default 16 */
  readonly endgameChunks?: number
  /** Age of a request before the endgame doubles it; at least twice the usual time. @default 250 ms */
  readonly endgameDelayMs?: number
  /** Age of a request before an idle neighbour is asked for the same at any time; at least four times the usual. @default 3000 */
  readonly doubleAfterMs?: number
}

export interface DoublingComponents {
  readonly ledger: RequestLedger
  readonly picker: Pick<Picker, 'isUrgent' | 'classOf'>
}

/** Who may be asked for what another was asked for already. */
export interface SecondNeighbour {
  readonly peerId: string
  readonly isSource: boolean
  readonly holds: Holds
}

/** A chunk to ask for once more. */
export interface SecondChoice {
  readonly chunk: number
  readonly requestClass: RequestClass
  readonly reason: AskReason
  readonly maxCopies: number
}

const MAX_ASKED_TWICE = 2
// Weight of the newest answer in the usual time that answers take.
const ANSWER_WEIGHT = 0.1

/** Near the end, or when an answer is long in coming, asks a second neighbour for the same chunk. */
export class Doubling {
  readonly #ledger: RequestLedger
  readonly #picker: Pick<Picker, 'isUrgent' | 'classOf'>
  readonly #endgameChunks: number
  readonly #endgameDelayMs: number
  readonly #doubleAfterMs: number
  #usualMs = 0

  constructor({ ledger, picker }: DoublingComponents, options: DoublingOptions = {}) {
    const { endgameChunks = 16, endgameDelayMs = 250, doubleAfterMs = 3000 } = options
    this.#ledger = ledger
    this.#picker = picker
    this.#endgameChunks = endgameChunks
    this.#endgameDelayMs = endgameDelayMs
    this.#doubleAfterMs = doubleAfterMs
  }

  /** A right answer came after so long. */
  answered(ms: number): void {
    this.#usualMs += (ms - this.#usualMs) * ANSWER_WEIGHT
  }

  /** Chooses what to ask a neighbour for although somebody else was asked; undefined for nothing now. */
  choose(neighbour: SecondNeighbour, missing: number, nowMs: number): SecondChoice | undefined {
    const isEndgame = missing <= this.#endgameChunks && !neighbour.isSource
    const ageMs = isEndgame
      ? Math.max(this.#endgameDelayMs, 2 * this.#usualMs)
      : Math.max(this.#doubleAfterMs, 4 * this.#usualMs)
    const { isUrgent } = this.#picker
    for (const [chunk, requests] of this.#ledger.pendingChunks()) {
      const [first] = requests
      if (first === undefined) continue
      const isOverdue = this.#ledger.isOverdue(first, nowMs) || nowMs - first.issuedMs > ageMs
      // The oldest come first, so that the search is short unless a younger one is demanded.
      if (!isOverdue && !isUrgent) return undefined
      if (isUrgent && this.#picker.classOf(chunk) !== 'demand') continue
      // What was asked for before anybody waited for it comes with less urgency than it has now.
      if (!isOverdue && first.requestClass === 'demand') continue
      if (requests.length >= MAX_ASKED_TWICE || !neighbour.holds(chunk)) continue
      if (first.peer === neighbour.peerId) continue
      const requestClass = this.#picker.classOf(chunk)
      const reason = isEndgame ? 'endgame' : 'overdue'
      return { chunk, requestClass, reason, maxCopies: ANY_COPIES }
    }
    return undefined
  }
}
