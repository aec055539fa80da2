import type { Clock } from '../../lib/clock.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import type { Asker } from './asker.ts'
import type { DownloadHost } from './downloader.ts'
import type { DownloadStalledError, Wait } from './errors.ts'
import type { Neighbour } from './neighbour.ts'
import type { DownloadPlan } from './plan.ts'
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
  readonly #silenceMs: number
  readonly #watchdog: Watchdog

  constructor(components: DownloadWatchComponents, options: DownloadWatchOptions = {}) {
    const { silenceMs = 10_000, stallMs = 120_000 } = options
    const { host, onGiveUp } = components
    this.#components = components
    this.#silenceMs = silenceMs
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
    for (const peer of this.#components.plan.ledger.silent(nowMs)) this.#giveUpOn(peer)
    this.#watchdog.tick(nowMs)
  }

  /** A neighbour gives nothing: others are asked for what it owes, and it has failed once more. */
  #giveUpOn(peer: string): void {
    const { host, asker, judge } = this.#components
    const { image, neighbours, accounts } = host
    const requests = asker.takeBack(peer)
    accounts.emit({ event: 'neighbour-silent', image, peer, requests })
    const neighbour = neighbours.get(peer)
    if (neighbour !== undefined) judge(neighbour, neighbour.scorecard.failed())
  }

  /** Next to nothing came: whoever has owed something for that long is no better than a silent one. */
  #lookAnew(): void {
    const { clock, host, plan } = this.#components
    const beforeMs = clock.monotonic() - this.#silenceMs
    for (const peer of this.#owing()) {
      const pending = plan.ledger.pendingOf(peer)
      if (pending.some(({ issuedMs }) => issuedMs <= beforeMs)) this.#giveUpOn(peer)
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
