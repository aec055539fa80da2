import { strict as assert } from 'node:assert'
import type { EventQueue, EventTarget } from './event-queue.ts'
import type { Pipe } from './pipe.ts'

export interface AnnouncementOptions {
  /** Least time between two announcements that travel on their own. */
  readonly haveIntervalMs: number
  /** The same while fewer than four chunks are to be announced. */
  readonly fewHavesIntervalMs: number
}

// `SwarmLink` waits for eight that the neighbour may want, or 500 ms; the difference is below that of the seeds.
const MANY_HAVES = 4
const MAX_PIPES = 256
const FIRST_PLACES = 32

/**
 * What one agent announces to its neighbours: its chunks in order of arrival, and for each neighbour how
 * many of them it was told of and when it will be told of the others. In flat arrays, because every
 * chunk goes past every neighbour.
 */
export class Announcements implements EventTarget {
  /** Chunks in order of arrival; a message says from which to which. */
  readonly chunks: Uint32Array
  readonly #events: EventQueue
  readonly #latencyMs: number
  readonly #options: AnnouncementOptions
  readonly #pipes: (Pipe | undefined)[] = []
  #told = new Uint32Array(FIRST_PLACES)
  #sentMs = new Float64Array(FIRST_PLACES)
  /** When those that wait will have come on their own; infinite if none waits. */
  #dueMs = new Float64Array(FIRST_PLACES)
  #count = 0

  constructor(
    events: EventQueue,
    chunkCount: number,
    latencyMs: number,
    options: AnnouncementOptions
  ) {
    this.#events = events
    this.chunks = new Uint32Array(chunkCount)
    this.#latencyMs = latencyMs
    this.#options = options
  }

  /** Gives a pipe a place; what has come so far, the other end knows already. */
  add(pipe: Pipe): number {
    const free = this.#pipes.indexOf(undefined)
    const place = free === -1 ? this.#pipes.length : free
    assert(place < MAX_PIPES, 'too many neighbours')
    if (place === this.#told.length) this.#grow()
    this.#pipes[place] = pipe
    this.#told[place] = this.#count
    this.#sentMs[place] = -Infinity
    this.#dueMs[place] = Infinity
    return place
  }

  remove(place: number): void {
    this.#pipes[place] = undefined
    this.#dueMs[place] = Infinity
  }

  /** Announces a chunk to everybody soon. */
  announce(chunk: number): void {
    this.chunks[this.#count++] = chunk
    const { haveIntervalMs, fewHavesIntervalMs } = this.#options
    const { nowMs } = this.#events
    for (let place = 0; place < this.#pipes.length; place++) {
      const waiting = this.#count - (this.#told[place] ?? 0)
      const intervalMs = waiting < MANY_HAVES ? fewHavesIntervalMs : haveIntervalMs
      const leavesMs = Math.max(nowMs, (this.#sentMs[place] ?? 0) + intervalMs)
      const dueMs = leavesMs + this.#latencyMs
      if (dueMs >= (this.#dueMs[place] ?? 0) || this.#pipes[place] === undefined) continue
      this.#dueMs[place] = dueMs
      this.#events.at(dueMs, this, place)
    }
  }

  /** The first chunk, as a place in `chunks`, that a pipe's other end was not told of; undefined if it knows all. */
  take(place: number): number | undefined {
    const from = this.#told[place] ?? 0
    if (from === this.#count) return undefined
    this.#told[place] = this.#count
    this.#dueMs[place] = Infinity
    this.#sentMs[place] = this.#events.nowMs
    return from
  }

  /** Where those that come next will stand. */
  get end(): number {
    return this.#count
  }

  /** One event both lets announcements go and brings them, unless bytes are before them. */
  fire(place: number): void {
    if (this.#events.nowMs < (this.#dueMs[place] ?? 0)) return // they rode along with something else
    this.#pipes[place]?.bringAnnouncements()
  }

  #grow(): void {
    const places = this.#told.length * 2
    const [told, sentMs, dueMs] = [this.#told, this.#sentMs, this.#dueMs]
    this.#told = new Uint32Array(places)
    this.#told.set(told)
    this.#sentMs = new Float64Array(places)
    this.#sentMs.set(sentMs)
    this.#dueMs = new Float64Array(places)
    this.#dueMs.set(dueMs)
  }
}
