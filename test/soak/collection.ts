/**
 * Collections under busy writers for longer than a test run has time for:
 * `npm run soak:collection -- --minutes 30 --seed 1`. Each round is a fresh repository that
 * ends with a whole check; a failure prints the seed of its round.
 */
import { parseArgs } from 'node:util'
import { type BusyCounts, BusyRepository } from '../support/collection/busy-repository.ts'

const PROGRESS_MS = 10_000
const ROUND_MS = 60_000

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    writers: { type: 'string', default: '8' }
  }
})
const endMs = performance.now() + Number(values.minutes) * 60_000
const writers = Number(values.writers)

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function describe(counts: BusyCounts): string {
  return Object.entries(counts)
    .map(([what, count]) => `${what} ${count}`)
    .join(', ')
}

async function playRound(seed: number): Promise<void> {
  const forMs = Math.min(ROUND_MS, Math.max(1000, endMs - performance.now()))
  const busy = await BusyRepository.start({ seed, forMs, writers, leaseMs: 2000 })
  try {
    let saidMs = performance.now()
    await busy.run((counts) => {
      if (performance.now() - saidMs < PROGRESS_MS) return
      saidMs = performance.now()
      say(`seed ${seed}: ${describe(counts)}`)
    })
    const { missing, left, chunkCount } = await busy.finish()
    for (const [what, names] of Object.entries({ missing, left })) {
      if (names.length > 0) throw new Error(`${names.length} ${what}: ${names.slice(0, 5).join()}`)
    }
    say(`seed ${seed}: right, ${chunkCount} chunks live; ${describe(busy.counts)}`)
  } finally {
    await busy.stop()
  }
}

let seed = Number(values.seed)
for (; performance.now() < endMs; seed++) {
  try {
    await playRound(seed)
  } catch (error) {
    say(`FAILED with --seed ${seed}`)
    throw error
  }
}
say(`${seed - Number(values.seed)} rounds passed, 0 failed`)
