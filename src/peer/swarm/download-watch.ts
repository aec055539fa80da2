import type { Clock } from '../../lib/clock.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import { REQUEST_CLASSES } from '../protocols/swarm.ts'
import type { Asker } from './asker.ts'
import type { DownloadHost } from './download-types.ts'
import type { DownloadStalledError, Wait } from './errors.ts'
import type { Neighbour } from './neighbour.ts'
import type { DownloadPlan } from './plan.ts'
import type { PendingRequest } from './requests.ts'
import type { Verdict } from './scorecard.ts'
import { causeOfWait, type WaitCause } from './wait-cause.ts'
import { Watchdog } from './watchdog.ts'

export interface DownloadWatchComponents {
  readonly host: DownloadHost
  readonly plan: DownloadPlan
  readonly asker: Asker
  readonly clock: Clock
  /** Download rate of the whole agent. */
  readonly limiter: TokenBucket
  readonly judge: (neighbour: Neighbour, verdict: Verdict) => void
  readonly onGiveUp: (error: DownloadStalledError) => void
}

export interface DownloadWatchOptions {
  /** A neighbour that sends nothing for this long loses its requests. @default 10_000 */
  readonly silenceMs?: number | undefined
  /** A download fails when nothing has come for this long. @default 120_000 */
  readonly stallMs?: number | undefined
}

/** Sees to it that a download moves: knows what it waits for, and turns to others when nothing comes. */
export class DownloadWatch {
  readonly #components: DownloadWatchComponents
  readonly #watchdog: Watchdog

  constructor(components: DownloadWatchComponents, options: DownloadWatchOptions = {}) {
    const { silenceMs = 10_000, stallMs = 120_000 } = options
    const { host, onGiveUp } = components
    this.#components = components
    this.#watchdog = new Watchdog(
      {
        image: host.image,
        events: host.accounts,
        cause: () => this.#cause(),
        onStuck: () => this.#lookAnew(),
        onGiveUp
      },
      { stuckMs: silenceMs, stallMs }
    )
  }

  /** What is waited for; undefined while chunks come. */
  get wait(): Wait | undefined {
    return this.#watchdog.wait(this.#components.clock.monotonic())
  }

  begin(): void {
    this.#watchdog.begin(this.#components.clock.monotonic())
  }

  end(): void {
    this.#watchdog.end(this.#components.clock.monotonic())
  }

  /** Bytes came that may become a chunk. */
  received(bytes: number, nowMs: number): void {
    this.#watchdog.received(bytes, nowMs)
  }

  /** A chunk is there. */
  stored(): void {
    this.#watchdog.stored(this.#components.clock.monotonic())
  }

  /** Looks at the time. Call it a few times a second. */
  tick(nowMs: number): void {
    for (const peer of this.#components.plan.ledger.silent(nowMs)) this.#giveUpOn(peer, nowMs)
    this.#watchdog.tick(nowMs)
  }

  /**
   * A neighbour gives nothing: others are asked for what it owes, and it has failed once more. One that nobody can
   * stand in for is not judged: it keeps what it is busy with, and is asked for a chunk at a time.
   */
  #giveUpOn(peer: string, nowMs: number): void {
    const { host, asker, judge, plan } = this.#components
    const { image, neighbours, accounts } = host
    const neighbour = neighbours.get(peer)
    const isReplaceable = neighbour === undefined || plan.isReplaceable(neighbour)
    const requests = isReplaceable ? asker.takeBack(peer) : this.#takeMostBack(neighbour)
    accounts.emit({ event: 'neighbour-silent', image, peer, requests })
    const verdict = neighbour?.scorecard.failed()
    if (!isReplaceable) plan.ledger.bearWith(peer, nowMs)
    else if (neighbour !== undefined && verdict !== undefined) judge(neighbour, verdict)
  }

  /** Leaves what has begun to come, and what comes next. */
  #takeMostBack({ peerId, assemblies }: Neighbour): number {
    const { asker, plan } = this.#components
    const next = mostUrgentOf(plan.ledger.pendingOf(peerId))
    return asker.takeBack(peerId, (request) => request !== next && !assemblies.has(request.id))
  }

  /** Next to nothing came: whoever has owed something for that long is no better than a silent one. */
  #lookAnew(): void {
    const { clock, host, plan } = this.#components
    const nowMs = clock.monotonic()
    for (const peer of this.#owing()) {
      const beforeMs = nowMs - plan.ledger.silenceMsOf(peer)
      const pending = plan.ledger.pendingOf(peer)
      if (pending.some(({ issuedMs }) => issuedMs <= beforeMs)) this.#giveUpOn(peer, nowMs)
    }
    host.lookAnew()
  }

  #owing(): string[] {
    const { host, plan } = this.#components
    return Array.from(host.neighbours.keys()).filter((peer) => plan.ledger.bytesOf(peer) > 0)
  }

  #cause(): WaitCause {
    const { asker, host, limiter, plan } = this.#components
    const { table, neighbours, search } = host
    return causeOfWait({
      limitedMs: asker.isLimited ? limiter.delayMs(table.manifest.chunkBytes) : 0,
      storingCount: plan.storingCount,
      owing: this.#owing(),
      neighbours: neighbours.values(),
      search,
      table,
      isHeld: (chunk) => host.isHeld(chunk)
    })
  }
}

/** What is answered first: the oldest of the most urgent class. */
function mostUrgentOf(pending: readonly PendingRequest[]): PendingRequest | undefined {
  for (const urgent of REQUEST_CLASSES) {
    const first = pending.find(({ requestClass }) => requestClass === urgent)
    if (first !== undefined) return first
  }
  return undefined
}
