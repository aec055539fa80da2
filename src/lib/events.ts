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

export interface FileEventLogOptions {
  /** Written with every event. */
  readonly self: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Called once if the file cannot be written; events are dropped from then on. */
  readonly onError?: (error: Error) => void
}

// Lines are written together, so that an event costs a few microseconds; a crash loses so much of them.
const WRITE_EVERY_MS = 100
const WRITE_AT_CHARACTERS = 256 * 1024
/** Characters that a slow disk may be behind with; events beyond that are dropped and counted. */
const MAX_BEHIND = 16 * 1024 * 1024

/**
 * Writes one JSON object a line: `{"ts":…,"self":…,"event":…,…}`, times in milliseconds. When the disk
 * cannot keep up, `{…,"event":"events-dropped","count":…}` stands where lines are missing.
 */
export class FileEventLog<E extends NamedEvent> implements EventLog<E> {
  readonly #stream: WriteStream
  readonly #options: FileEventLogOptions
  #lines = ''
  #timer: NodeJS.Timeout | undefined
  #dropped = 0
  #hasFailed = false

  constructor(path: string, options: FileEventLogOptions) {
    this.#options = options
    this.#stream = createWriteStream(path, { flags: 'a' })
    this.#stream.on('error', (error) => {
      if (!this.#hasFailed) options.onError?.(error)
      this.#hasFailed = true
      this.#lines = ''
    })
  }

  emit(event: E): void {
    if (this.#hasFailed) return
    if (this.#stream.writableLength > MAX_BEHIND) {
      this.#dropped++
      return
    }
    this.#tellDropped()
    this.#add(event)
  }

  /** Flushes and closes the file. */
  async close(): Promise<void> {
    this.#tellDropped()
    this.#write()
    this.#stream.end()
    await finished(this.#stream).catch(() => {}) // told already
  }

  #tellDropped(): void {
    if (this.#dropped > 0) this.#add({ event: 'events-dropped', count: this.#dropped })
    this.#dropped = 0
  }

  #add(event: object): void {
    const { now, self } = this.#options
    this.#lines += `${JSON.stringify({ ts: now(), self, ...event })}\n`
    if (this.#lines.length >= WRITE_AT_CHARACTERS) this.#write()
    else this.#timer ??= setTimeout(() => this.#write(), WRITE_EVERY_MS).unref()
  }

  #write(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#lines !== '' && !this.#hasFailed) this.#stream.write(this.#lines)
    this.#lines = ''
  }
}
