import { KIB } from '../lib/bytes.ts'
import type { ParsedLine } from './command-parser.ts'

/** What the arguments of all commands that wait may have. */
const MAX_CHARACTERS = 64 * KIB

/** A command that waits. */
export interface QueuedLine {
  readonly line: ParsedLine
  /** ABOR came after it and before its turn. */
  isAborted: boolean
}

/** Commands that a client has sent ahead, in their order; few enough to be kept. */
export class CommandQueue {
  readonly #maxCommands: number
  readonly #lines: QueuedLine[] = []
  #characters = 0

  /** @param maxCommands from which number on it is full. */
  constructor(maxCommands: number) {
    this.#maxCommands = maxCommands
  }

  get isEmpty(): boolean {
    return this.#lines.length === 0
  }

  /** No more shall be read. */
  get isFull(): boolean {
    return this.#lines.length >= this.#maxCommands || this.#characters >= MAX_CHARACTERS
  }

  /** Few enough are left to read on. */
  get hasRoom(): boolean {
    return this.#lines.length < this.#maxCommands / 2 && this.#characters < MAX_CHARACTERS / 2
  }

  push(line: ParsedLine): void {
    this.#lines.push({ line, isAborted: false })
    this.#characters += lengthOf(line)
  }

  /** Takes the oldest. @returns undefined if there is none. */
  shift(): QueuedLine | undefined {
    const next = this.#lines.shift()
    if (next !== undefined) this.#characters -= lengthOf(next.line)
    return next
  }

  /** Marks all that wait now as aborted; they stay, to be answered in their turn. */
  abort(): void {
    for (const queued of this.#lines) queued.isAborted = true
  }

  clear(): void {
    this.#lines.length = 0
    this.#characters = 0
  }
}

function lengthOf(line: ParsedLine): number {
  return line.kind === 'command' ? line.argument.length : 0
}
