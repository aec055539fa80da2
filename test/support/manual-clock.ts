import type { Cancel, Clock } from '../../src/lib/clock.ts'

interface Scheduled {
  readonly atMs: number
  readonly run: () => void
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #nowMs = 0
  #jumpedMs = 0
  readonly #scheduled = new Set<Scheduled>()

  now(): number {
    return this.#nowMs + this.#jumpedMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  schedule(run: () => void, delayMs: number): Cancel {
    const scheduled = { atMs: this.#nowMs + delayMs, run }
    this.#scheduled.add(scheduled)
    return () => this.#scheduled.delete(scheduled)
  }

  async sleep(delayMs: number, options: { signal?: AbortSignal } = {}): Promise<void> {
    const { signal } = options
    signal?.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const cancel = this.schedule(resolve, delayMs)
    const onAbort = (): void => reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await promise
    } finally {
      cancel()
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Sets the time of day, as an operator does; nothing that was scheduled runs sooner or later. */
  jump(byMs: number): void {
    this.#jumpedMs += byMs
  }

  /** Moves on, running what falls due on the way in its order. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs
    for (let next = this.#nextUntil(endMs); next !== undefined; next = this.#nextUntil(endMs)) {
      this.#scheduled.delete(next)
      this.#nowMs = next.atMs
      next.run()
    }
    this.#nowMs = endMs
  }

  #nextUntil(endMs: number): Scheduled | undefined {
    return [...this.#scheduled]
      .filter(({ atMs }) => atMs <= endMs)
      .toSorted((left, right) => left.atMs - right.atMs)[0]
  }
}
