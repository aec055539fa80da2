/**
 * Plays very many histories of the metadata core on all processors, more than a test run has time
 * for: `npm run soak:metadata -- --count 50000 --seed 1`. A failure prints the seed that reproduces
 * it in `npm test`.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { type HistoryCounts, noCounts } from '../support/history/counts.ts'
import { startHistoryPlayer } from '../support/history/play.ts'
import type { Batch, Played } from '../support/history/play-worker.ts'

/** Histories that a worker plays before it asks for more. */
const BATCH = 25

const PROGRESS_MS = 10_000

/** Failures after which nobody needs more of them. */
const MAX_FAILURES = 10

/** Hands out batches and adds up what comes back. */
class Soak {
  readonly #counts = noCounts()
  readonly #seed: number
  readonly #count: number
  readonly #startMs = performance.now()
  #next: number
  #done = 0
  #failures = 0

  constructor({ seed, count }: Batch) {
    this.#seed = seed
    this.#next = seed
    this.#count = count
  }

  /** @returns true if every history was green. */
  async run(): Promise<boolean> {
    const progress = setInterval(() => this.#print('so far'), PROGRESS_MS)
    await Promise.all(Array.from({ length: availableParallelism() }, () => this.#work()))
    clearInterval(progress)
    this.#print(this.#failures === 0 ? 'all green' : 'RED')
    process.stdout.write(`${JSON.stringify(this.#counts)}\n`)
    return this.#failures === 0
  }

  async #work(): Promise<void> {
    const player = startHistoryPlayer()
    for (let batch = this.#take(); batch !== undefined; batch = this.#take()) {
      this.#add(await player.call('play', batch))
    }
    await player.stop()
  }

  #take(): Batch | undefined {
    const seed = this.#next
    const count = Math.min(BATCH, this.#seed + this.#count - seed)
    if (count <= 0 || this.#failures >= MAX_FAILURES) return undefined
    this.#next += count
    return { seed, count }
  }

  #add({ counts, failures }: Played): void {
    for (const key of Object.keys(counts) as (keyof HistoryCounts)[]) {
      this.#counts[key] += counts[key]
    }
    this.#done += counts.histories + failures.length
    this.#failures += failures.length
    for (const { seed, reason } of failures) {
      process.stdout.write(`TREE_SEED=${seed} fails: ${reason}\n`)
    }
  }

  #print(state: string): void {
    const seconds = (performance.now() - this.#startMs) / 1000
    const rate = (this.#done / seconds).toFixed(1)
    const which = `seeds ${this.#seed} to ${this.#seed + this.#count - 1}`
    const what = `${this.#done} of ${this.#count} histories, ${this.#failures} failed`
    process.stdout.write(`${what}, ${seconds.toFixed(0)} s, ${rate}/s, ${which}: ${state}\n`)
  }
}

/** @throws {RangeError} */
function wholeNumber(text: string, name: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 1) return value
  throw new RangeError(`--${name} wants a whole number from 1 on, not ${text}`)
}

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '50000' }
  }
})
const count = wholeNumber(values.count, 'count')
const isGreen = await new Soak({ seed: wholeNumber(values.seed, 'seed'), count }).run()
process.exitCode = isGreen ? 0 : 1
