import { MovingAverage } from '../../lib/moving-average.ts'
import { RateMeter } from '../../lib/rate-meter.ts'
import type { ChunkReceivedEvent, LeaveReason, NeighbourJoinedEvent } from './events.ts'

// Answers over which the time that one takes is averaged.
const ANSWER_SPAN = 16

/** What went to and came from one agent for one image, while it is a neighbour and after that. */
export class PeerAccount {
  readonly peerId: string
  isSource = false
  isProvider = false
  zone = ''
  /** This agent opened the channel. */
  isDialled = false
  /** When it last became a neighbour, monotonic. */
  joinedMs = 0
  /** Why it is none any more; undefined while it is one. */
  leftBecause: LeaveReason | undefined
  receivedChunks = 0
  receivedBytes = 0
  sentChunks = 0
  sentBytes = 0
  /** Bytes of chunks that came for nothing. */
  wastedBytes = 0
  /** Times that it was silent for too long and lost its requests. */
  silences = 0
  readonly #answers = new MovingAverage(ANSWER_SPAN)
  readonly #sentRate = new RateMeter()

  constructor(peerId: string) {
    this.peerId = peerId
  }

  /** From a request to the last byte of its answer, of late; 0 before the first. */
  get answerMs(): number {
    return this.#answers.value
  }

  /** Bytes a second that go to it, of late. */
  sentPerSecond(nowMs: number): number {
    return this.#sentRate.perSecond(nowMs)
  }

  joined(event: NeighbourJoinedEvent, nowMs: number): void {
    const { isSource, isProvider, isDialled, zone } = event
    this.isSource = isSource
    this.zone = zone
    this.isProvider = isProvider
    this.isDialled = isDialled
    this.joinedMs = nowMs
    this.leftBecause = undefined
  }

  received({ bytes, ms }: ChunkReceivedEvent): void {
    this.receivedChunks++
    this.receivedBytes += bytes
    this.#answers.add(ms)
  }

  sent(bytes: number, nowMs: number): void {
    this.sentChunks++
    this.sentBytes += bytes
    this.#sentRate.add(bytes, nowMs)
  }
}

/** Sums over agents that left and are not remembered one by one any more. */
export interface ForgottenPeers {
  readonly peers: number
  readonly receivedBytes: number
  readonly sentBytes: number
}
