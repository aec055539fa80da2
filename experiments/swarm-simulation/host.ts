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
  /** Time that the way up was busy, and quanta that went there and came. */
  busyMs = 0
  sentQuanta = 0
  receivedQuanta = 0
  isDead = false
  readonly #events: EventQueue
  readonly #quantumBytes: number
  readonly #upMs: number
  readonly #downMs: number
  /** Pipes with something to send, each once. */
  readonly #ready: Pipe[] = []
  #readyAt = 0
  #sending: Pipe | undefined
  #downFreeMs = 0

  constructor(events: EventQueue, line: Line, quantumBytes = QUANTUM_BYTES) {
    this.#events = events
    this.line = line
    this.#quantumBytes = quantumBytes
    this.#upMs = (quantumBytes / line.up) * 1000
    this.#downMs = (quantumBytes / line.down) * 1000
  }

  get quantumBytes(): number {
    return this.#quantumBytes
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
    this.#ready.push(pipe)
    if (this.#sending === undefined) this.#sendNext()
  }

  /** A quantum has left. */
  fire(): void {
    const pipe = this.#sending
    this.#sending = undefined
    if (this.isDead) return
    if (pipe !== undefined && !pipe.isClosed) {
      pipe.departed(pipe.to.arrives(this.line.latencyMs))
      if (pipe.hasUnsent) this.#ready.push(pipe)
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

  #next(): Pipe | undefined {
    while (this.#readyAt < this.#ready.length) {
      const pipe = this.#ready[this.#readyAt++] as Pipe
      if (this.#readyAt === this.#ready.length || this.#readyAt > 256) {
        this.#ready.splice(0, this.#readyAt)
        this.#readyAt = 0
      }
      if (!pipe.isClosed) return pipe
    }
    return undefined
  }
}
