import { createWriteStream, type WriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'

/** Anything with a name; each folder declares its closed union of events. */
export interface NamedEvent {
  readonly event: string
}

/** Takes events that tools read afterwards; experiments are computed from them alone. */
export interface EventLog<E extends NamedEvent = NamedEvent> {
  emit(event: E): void
}

/** Drops every event. */
export const noEvents: EventLog = { emit: () => {} }

/** Keeps events in order, for tests. */
export class MemoryEventLog<E extends NamedEvent> implements EventLog<E> {
  readonly events: E[] = []

  emit(event: E): void {
    this.events.push(event)
  }
}

/** Writes one JSON object a line: `{"ts":…,"self":…,"event":…,…}`, times in milliseconds. */
export class FileEventLog<E extends NamedEvent> implements EventLog<E> {
  readonly #stream: WriteStream
  readonly #self: string
  readonly #now: () => number

  constructor(path: string, self: string, now: () => number) {
    this.#stream = createWriteStream(path, { flags: 'a' })
    this.#self = self
    this.#now = now
  }

  emit(event: E): void {
    this.#stream.write(`${JSON.stringify({ ts: this.#now(), self: this.#self, ...event })}\n`)
  }

  /** Flushes and closes the file. */
  async close(): Promise<void> {
    this.#stream.end()
    await finished(this.#stream)
  }
}
