import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Random } from '../lib/random.ts'
import { settledOrAborted } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import { parseFullAddress } from './addresses.ts'
import { NotMemberError, ProtocolRefusedError } from './errors.ts'
import { LetGo } from './let-go.ts'
import type { Member } from './types.ts'

export interface KeptConnectionsComponents {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Connects and says hello, or finds that both are done. */
  readonly connect: (address: string, options: AbortOptions) => Promise<Member>
  readonly isConnected: (peerId: string) => boolean
  /** Calls back when a connection has come or gone. @returns how to stop listening. */
  readonly onChanged: (listener: () => void) => () => void
}

export interface KeptConnectionsOptions {
  /** First wait after a failure, in milliseconds; doubled each time. @default 200 */
  minBackoffMs?: number
  /** Longest wait while the network fails, in milliseconds. @default 1500 */
  maxBackoffMs?: number
  /** Wait after the other side has refused this agent, in milliseconds. @default 30000 */
  refusedBackoffMs?: number
  /** Longest wait when the other side takes this agent and soon lets it go, in milliseconds. @default 5 minutes */
  letGoBackoffMs?: number
}

/** Keeps connections to some peers open: those that the cluster cannot do without. */
export class KeptConnections {
  readonly #components: KeptConnectionsComponents
  readonly #minBackoffMs: number
  readonly #maxBackoffMs: number
  readonly #refusedBackoffMs: number
  readonly #letGoBackoffMs: number
  readonly #stopped = new AbortController()
  readonly #running = new Map<
    string,
    { readonly end: AbortController; readonly task: Promise<void> }
  >()

  constructor(components: KeptConnectionsComponents, options: KeptConnectionsOptions = {}) {
    const { minBackoffMs = 200, maxBackoffMs = 1500, refusedBackoffMs = 30_000 } = options
    const { letGoBackoffMs = 300_000 } = options
    this.#components = components
    this.#minBackoffMs = minBackoffMs
    this.#maxBackoffMs = maxBackoffMs
    this.#refusedBackoffMs = refusedBackoffMs
    this.#letGoBackoffMs = letGoBackoffMs
  }

  /** Connects to the full multiaddr now and whenever the connection is lost. Idempotent. */
  keep(address: string): void {
    if (this.#stopped.signal.aborted || this.#running.has(address)) return
    const { peerId } = parseFullAddress(address)
    const end = new AbortController()
    const signal = AbortSignal.any([end.signal, this.#stopped.signal])
    this.#running.set(address, { end, task: this.#run(address, peerId, signal) })
  }

  /** Tells whether connections to a peer are kept. */
  has(peerId: string): boolean {
    return this.#running.keys().some((address) => address.endsWith(`/p2p/${peerId}`))
  }

  /** Does not connect again from now on; an open connection stays. */
  release(address: string): void {
    this.#running.get(address)?.end.abort()
    this.#running.delete(address)
  }

  /** Resolves when nothing tries to connect any more. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    await Promise.all([...this.#running.values()].map(async ({ task }) => task))
  }

  async #run(address: string, peerId: string, signal: AbortSignal): Promise<void> {
    const { connect, clock, log } = this.#components
    let failures = 0
    const letGo = new LetGo(this.#letGoBackoffMs)
    while (!signal.aborted) {
      const startedMs = clock.monotonic()
      let failure: Error | undefined
      try {
        await connect(address, { signal })
        await this.#untilLost(peerId, signal)
      } catch (error) {
        failure = toError(error)
        if (failures === 0 && !signal.aborted) log.info('cannot reach %s: %e', address, error)
      }
      // A connection that is lost as soon as it is made is a failure too.
      const lastedMs = clock.monotonic() - startedMs
      failures = failure === undefined && lastedMs >= this.#maxBackoffMs ? 0 : failures + 1
      if (failure === undefined) letGo.lost(lastedMs)
      const waitMs = Math.max(this.#backoffMs(failure, failures), letGo.waitMs)
      if (signal.aborted || waitMs === 0) continue
      await settledOrAborted(clock.sleep(waitMs, { signal }), [signal])
    }
  }

  #backoffMs(error: Error | undefined, failures: number): number {
    if (error instanceof NotMemberError || error instanceof ProtocolRefusedError) {
      return this.#refusedBackoffMs
    }
    if (failures === 0) return 0
    const waitMs = Math.min(
      this.#maxBackoffMs,
      this.#minBackoffMs * 2 ** Math.min(failures - 1, 16)
    )
    // Spread, so that agents that lost the same peer do not all come back at once.
    return waitMs * (0.5 + 0.5 * this.#components.random())
  }

  async #untilLost(peerId: string, signal: AbortSignal): Promise<void> {
    const { isConnected, onChanged } = this.#components
    const { promise, resolve } = Promise.withResolvers<void>()
    const stopListening = onChanged(() => {
      if (!isConnected(peerId)) resolve()
    })
    try {
      if (isConnected(peerId)) await settledOrAborted(promise, [signal])
    } finally {
      stopListening()
    }
  }
}
