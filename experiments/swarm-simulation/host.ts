import type { EventQueue, EventTarget } from './event-queue.ts'
import type { Pipe } from './pipe.ts'

/** A host's line. */
export interface Line {
  /** Bytes a second, each way. */
  readonly up: number
  readonly down: number
  /** To anybody, one way. */
  readonly latencyMs: number
}

/** Bytes that move as one. */
export const QUANTUM_BYTES = 16 * 1024

/**
 * A host with one line: the pipes that have something to send share the way up in turns of a quantum,
 * and what arrives passes the way down in order of arrival.
 */
export class Host implements EventTarget {
  readonly line: Line
  readonly quantumBytes: number
  /** Time that the way up was busy, and quanta that went there and came. */
  busyMs = 0
  sentQuanta = 0
  receivedQuanta = 0
  isDead = false
  readonly #events: EventQueue
  readonly #upMs: number
  readonly #downMs: number
  /** Pipes with something to send, each once, linked by `nextReady`. */
  #firstReady: Pipe | undefined
  #lastReady: Pipe | undefined
  #sending: Pipe | undefined
  #downFreeMs = 0

  constructor(events: EventQueue, line: Line, quantumBytes = QUANTUM_BYTES) {
    this.#events = events
    this.line = line
    this.quantumBytes = quantumBytes
    this.#upMs = (quantumBytes / line.up) * 1000
    this.#downMs = (quantumBytes / line.down) * 1000
  }

  /** When what is sent now would have passed the way down. */
  get downFreeMs(): number {
    return this.#downFreeMs
  }

  get isSending(): boolean {
    return this.#sending !== undefined
  }

  /** A pipe has something to send from now on. */
  ready(pipe: Pipe): void {
    this.#append(pipe)
    if (this.#sending === undefined) this.#sendNext()
  }

  /** A quantum has left. */
  fire(): void {
    const pipe = this.#sending
    this.#sending = undefined
    if (this.isDead) return
    if (pipe !== undefined && !pipe.isClosed) {
      pipe.departed(pipe.to.arrives(this.line.latencyMs))
      if (pipe.hasUnsent) this.#append(pipe)
    }
    this.#sendNext()
  }

  /** A quantum is on its way here. @returns when it has come. */
  arrives(latencyMs: number): number {
    const startMs = Math.max(this.#events.nowMs + latencyMs, this.#downFreeMs)
    this.#downFreeMs = startMs + this.#downMs
    this.receivedQuanta++
    return this.#downFreeMs
  }

  #sendNext(): void {
    const pipe = this.#next()
    if (pipe === undefined) return
    this.#sending = pipe
    this.sentQuanta++
    this.busyMs += this.#upMs
    this.#events.at(this.#events.nowMs + this.#upMs, this, 0)
  }

  #append(pipe: Pipe): void {
    if (this.#lastReady === undefined) this.#firstReady = pipe
    else this.#lastReady.nextReady = pipe
    this.#lastReady = pipe
  }

  #next(): Pipe | undefined {
    for (;;) {
      const pipe = this.#firstReady
      if (pipe === undefined) return undefined
      this.#firstReady = pipe.nextReady
      pipe.nextReady = undefined
      if (this.#firstReady === undefined) this.#lastReady = undefined
      if (!pipe.isClosed) return pipe
    }
  }
}
