import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'

/** A line of a writer's journal; times are the machine's monotonic clock in nanoseconds. */
export type JournalLine =
  | { readonly kind: 'begun'; readonly name: string; readonly at: string }
  | {
      readonly kind: 'acknowledged'
      readonly name: string
      readonly version: number
      readonly at: string
    }
  | { readonly kind: 'failed'; readonly name: string; readonly code: string; readonly at: string }

type Entry<T> = T extends JournalLine ? Omit<T, 'at'> : never

/** Remembers through kill -9 which writes were begun and which were acknowledged. */
export class WriteJournal {
  readonly #file: number

  constructor(path: string) {
    this.#file = openSync(path, 'a')
  }

  /** Writes a line; on disk when this returns. */
  note(entry: Entry<JournalLine>): void {
    writeSync(this.#file, `${JSON.stringify({ ...entry, at: String(process.hrtime.bigint()) })}\n`)
    fsyncSync(this.#file)
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** Reads a journal; a last line without an end was being written when its writer was killed. */
export function readJournal(path: string): JournalLine[] {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line) as JournalLine)
}
