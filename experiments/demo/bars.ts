import { formatBar } from '../../src/agent/commands/progress.ts'
import type { OperationProgress } from '../../src/agent/operations.ts'

const REDRAW_MS = 100

/** One progress bar per label, drawn over each other on a terminal; elsewhere a line for every quarter. */
export class Bars {
  readonly #labels: readonly string[]
  readonly #latest: (OperationProgress | undefined)[]
  readonly #quarters: number[]
  #drawnLines = 0
  #drawnMs = 0

  constructor(labels: readonly string[]) {
    this.#labels = labels
    this.#latest = labels.map(() => undefined)
    this.#quarters = labels.map(() => 0)
  }

  /** Takes a line of `--progress json`; other lines go to stderr. */
  take(index: number, line: string): void {
    if (!line.startsWith('{')) {
      process.stderr.write(`${this.#labels[index]}: ${line}\n`)
      return
    }
    const progress = JSON.parse(line) as OperationProgress
    this.#latest[index] = progress
    if (process.stdout.isTTY) this.#redraw(false)
    else this.#printQuarter(index, progress)
  }

  finish(): void {
    if (process.stdout.isTTY) this.#redraw(true)
  }

  #printQuarter(index: number, progress: OperationProgress): void {
    const { doneBytes, totalBytes } = progress
    const quarter = totalBytes === 0 ? 4 : Math.floor((doneBytes / totalBytes) * 4)
    if (quarter <= (this.#quarters[index] ?? 0)) return
    this.#quarters[index] = quarter
    process.stdout.write(`${this.#labels[index]} ${formatBar(progress)}\n`)
  }

  #redraw(isLast: boolean): void {
    const nowMs = performance.now()
    if (!isLast && nowMs - this.#drawnMs < REDRAW_MS) return
    this.#drawnMs = nowMs
    const up = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : ''
    const lines = this.#latest.map((progress, index) => {
      const bar = progress === undefined ? 'waiting' : formatBar(progress)
      return `\x1b[2K${this.#labels[index]} ${bar}\n`
    })
    process.stdout.write(`${up}${lines.join('')}`)
    this.#drawnLines = lines.length
  }
}
