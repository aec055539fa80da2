import type { Clock } from '../../lib/clock.ts'
import type { EventLog } from '../../lib/events.ts'
import { RateMeter } from '../../lib/rate-meter.ts'
import type { AskReason } from './ask-reason.ts'
import type { ChunkReceivedEvent, SwarmEvent } from './events.ts'
import { type ForgottenPeers, PeerAccount } from './peer-account.ts'
import { RunAccount } from './run-account.ts'
import type { SwarmMetrics } from './swarm-metrics.ts'

export interface AccountsComponents {
  readonly clock: Clock
  /** Where events go on to. */
  readonly events: EventLog<SwarmEvent>
  readonly metrics?: SwarmMetrics | undefined
}

export interface AccountsOptions {
  /** Agents that are remembered one by one; above it, the first that have left are summed up. @default 256 */
  readonly maxPeers?: number
}

/**
 * Keeps the accounts of one image: who sent what and was sent what, and what the download that runs, or
 * ran last, asked for, got, wasted and waited for. All of it is counted from the events that go through,
 * so that it agrees with what tools compute from the event file.
 */
export class ImageAccounts implements EventLog<SwarmEvent> {
  readonly #components: AccountsComponents
  readonly #clock: Clock
  readonly #maxPeers: number
  /** In order of first joining. */
  readonly #peers = new Map<string, PeerAccount>()
  readonly #sentRate = new RateMeter()
  #sentBytes = 0
  #forgotten: ForgottenPeers = { peers: 0, receivedBytes: 0, sentBytes: 0 }
  #run: RunAccount | undefined

  constructor(components: AccountsComponents, options: AccountsOptions = {}) {
    const { maxPeers = 256 } = options
    this.#components = components
    this.#clock = components.clock
    this.#maxPeers = maxPeers
  }

  /** The download that runs or ran last; undefined before the first. */
  get run(): RunAccount | undefined {
    return this.#run
  }

  /** Bytes of whole chunks sent, to all. */
  get sentBytes(): number {
    return this.#sentBytes
  }

  get forgotten(): ForgottenPeers {
    return this.#forgotten
  }

  /** Everybody who is or was a neighbour and is remembered. */
  peers(): PeerAccount[] {
    return Array.from(this.#peers.values())
  }

  /** The account of an agent; an empty one if it was never heard of. */
  peer(peerId: string): PeerAccount {
    return this.#peers.get(peerId) ?? new PeerAccount(peerId)
  }

  /** Bytes a second that go to neighbours, of late. */
  sentPerSecond(): number {
    return this.#sentRate.perSecond(this.#clock.monotonic())
  }

  /** A request goes out; no event, because there are too many of them. */
  ask(peer: string, reason: AskReason): void {
    this.#run?.ask(reason, this.#accountOf(peer).isSource)
    this.#components.metrics?.asked(reason)
  }

  emit(event: SwarmEvent): void {
    const { events, metrics } = this.#components
    this.#count(event)
    metrics?.count(event)
    events.emit(event)
  }

  #count(event: SwarmEvent): void {
    const nowMs = this.#clock.monotonic()
    switch (event.event) {
      case 'chunk-received':
        this.#received(event, nowMs)
        break
      case 'chunk-rejected':
        this.#accountOf(event.peer).wastedBytes += event.bytes
        this.#run?.rejected(event)
        break
      case 'chunk-sent':
        this.#sentBytes += event.bytes
        this.#sentRate.add(event.bytes, nowMs)
        this.#accountOf(event.peer).sent(event.bytes, nowMs)
        break
      case 'neighbour-joined':
        this.#accountOf(event.peer).joined(event, nowMs)
        this.#makeRoom()
        break
      case 'neighbour-left':
        this.#accountOf(event.peer).leftBecause = event.reason
        break
      case 'neighbour-silent':
        this.#accountOf(event.peer).silences++
        break
      case 'download-started':
        this.#run = new RunAccount(nowMs)
        break
      case 'download-finished':
        this.#end({ state: 'finished', endedMs: nowMs })
        break
      case 'download-failed':
        this.#end({ state: 'failed', endedMs: nowMs, code: event.code })
        break
      case 'download-waited':
        this.#run?.waitedFor(event.reason, event.ms)
        break
      case 'download-waiting':
      case 'download-stuck':
        break
    }
  }

  #received(event: ChunkReceivedEvent, nowMs: number): void {
    const account = this.#accountOf(event.peer)
    account.received(event)
    this.#run?.received(event, account.isSource, nowMs)
  }

  #end(ending: RunAccount['ending']): void {
    if (this.#run !== undefined) this.#run.ending = ending
  }

  #accountOf(peerId: string): PeerAccount {
    const known = this.#peers.get(peerId)
    if (known !== undefined) return known
    const account = new PeerAccount(peerId)
    this.#peers.set(peerId, account)
    return account
  }

  #makeRoom(): void {
    for (const [peerId, account] of this.#peers) {
      if (this.#peers.size <= this.#maxPeers) return
      if (account.leftBecause === undefined) continue
      this.#peers.delete(peerId)
      const { peers, receivedBytes, sentBytes } = this.#forgotten
      this.#forgotten = {
        peers: peers + 1,
        receivedBytes: receivedBytes + account.receivedBytes,
        sentBytes: sentBytes + account.sentBytes
      }
    }
  }
}
