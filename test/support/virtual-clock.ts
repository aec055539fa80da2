import type { Cancel, Clock } from '../../src/lib/clock.ts'
import { nextTurn } from '../../src/lib/turn.ts'

interface Timer {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
  isCancelled: boolean
}

const EPOCH_MS = Date.UTC(2030, 0, 1)

/** Time that passes only when a test lets it; what is due at the same moment runs in order of scheduling. */
export class VirtualClock implements Clock {
  readonly #heap: Timer[] = []
  #nowMs = 0
  #order = 0

  /** Number of callbacks that are scheduled and not cancelled. */
  get scheduledCount(): number {
    return this.#heap.filter(({ isCancelled }) => !isCancelled).length
  }

  now(): number {
    return EPOCH_MS + this.#nowMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  schedule(run: () => void, delayMs: number): Cancel {
    const atMs = this.#nowMs + Math.max(0, delayMs)
    const timer: Timer = { atMs, order: this.#order++, run, isCancelled: false }
    this.#heap.push(timer)
    this.#rise(this.#heap.length - 1)
    return () => {
      timer.isCancelled = true
    }
  }

  async sleep(delayMs: number, options: { signal?: AbortSignal } = {}): Promise<void> {
    const { signal } = options
    signal?.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const cancel = this.schedule(resolve, delayMs)
    const onAbort = (): void => {
      cancel()
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await promise
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Lets what is not waiting for time come to rest. */
  async settle(): Promise<void> {
    await nextTurn()
  }

  /** Lets time pass. */
  async advance(byMs: number): Promise<void> {
    const untilMs = this.#nowMs + byMs
    await this.settle()
    while (await this.#runNext(untilMs)) await this.settle()
    this.#nowMs = untilMs
  }

  /**
   * Lets time pass until a promise has settled.
   *
   * @throws {Error} if nothing is scheduled any more, or it takes longer than `limitMs`.
   */
  async until<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
    const untilMs = this.#nowMs + limitMs
    const watched = { isSettled: false }
    const onSettled = (): void => {
      watched.isSettled = true
    }
    promise.then(onSettled, onSettled)
    await this.settle()
    while (!watched.isSettled) {
      if (!(await this.#runNext(untilMs))) {
        throw new Error(`nothing happens any more at ${this.#nowMs} ms (limit ${untilMs} ms)`)
      }
      await this.settle()
    }
    return await promise
  }

  async #runNext(untilMs: number): Promise<boolean> {
    for (;;) {
      const next = this.#heap[0]
      if (next === undefined || next.atMs > untilMs) return false
      this.#removeFirst()
      if (next.isCancelled) continue
      this.#nowMs = next.atMs
      next.run()
      return true
    }
  }

  #removeFirst(): void {
    const last = this.#heap.pop()
    if (last === undefined || this.#heap.length === 0) return
    this.#heap[0] = last
    let at = 0
    for (;;) {
      const left = at * 2 + 1
      const child = this.#isBefore(left + 1, left) ? left + 1 : left
      if (!this.#isBefore(child, at)) return
      this.#swap(child, at)
      at = child
    }
  }

  #rise(from: number): void {
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#isBefore(at, parent)) return
      this.#swap(at, parent)
      at = parent
    }
  }

  #isBefore(left: number, right: number): boolean {
    const [a, b] = [this.#heap[left], this.#heap[right]]
    if (a === undefined) return false
    if (b === undefined) return true
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
  }

  #swap(left: number, right: number): void {
    const [a, b] = [this.#heap[left], this.#heap[right]]
    if (a === undefined || b === undefined) return
    this.#heap[left] = b
    this.#heap[right] = a
  }
}
