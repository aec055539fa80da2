/**
 * Ten providers as processes, an image of 1 GiB, and one death after the other while it is read all the time:
 * `npm run soak:providers -- --mib 1024 --seed 1`. What each step shows is its name.
 */
import { parseArgs } from 'node:util'
import { KIB } from '../../src/lib/bytes.ts'
import {
  clearSurvivalStage,
  SURVIVAL_STEPS,
  setSurvivalStage
} from '../support/providers/survival.ts'

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '1024' },
    providers: { type: 'string', default: '10' },
    'chunk-kib': { type: 'string', default: '256' },
    seed: { type: 'string', default: '1' }
  }
})

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

const seed = Number(values.seed)
const scene = await setSurvivalStage({
  mib: Number(values.mib),
  providers: Number(values.providers),
  chunkBytes: Number(values['chunk-kib']) * KIB,
  seed,
  withinMs: 600_000
})
try {
  for (const { name, run } of SURVIVAL_STEPS) {
    const startedMs = performance.now()
    await run(scene)
    say(`${name}: seen, ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
  }
  say(`${SURVIVAL_STEPS.length} steps passed, 0 failed`)
} catch (error) {
  say(`FAILED with --seed ${seed}`)
  throw error
} finally {
  await clearSurvivalStage(scene)
}
