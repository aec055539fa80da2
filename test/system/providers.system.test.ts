import { afterAll, beforeAll, jest, test } from '@jest/globals'
import { KIB } from '../../src/lib/bytes.ts'
import {
  clearSurvivalStage,
  SURVIVAL_STEPS,
  type SurvivalScene,
  setSurvivalStage
} from '../support/providers/survival.ts'

// Small and without the last step, for every test run; `npm run soak:providers` is all of it in full size.
const MIB_OF_IMAGE = Number(process.env.PROVIDERS_MIB ?? 8)
const PROVIDERS = Number(process.env.PROVIDERS_COUNT ?? 7)
const STEPS = SURVIVAL_STEPS.slice(0, -1)

jest.setTimeout(120_000)

let scene: SurvivalScene

beforeAll(async () => {
  scene = await setSurvivalStage({
    mib: MIB_OF_IMAGE,
    providers: PROVIDERS,
    chunkBytes: 64 * KIB,
    seed: 1,
    restMs: 1000,
    withinMs: 60_000
  })
}, 90_000)
afterAll(async () => clearSurvivalStage(scene), 30_000)

test.each(STEPS.map(({ name, run }) => [name, run] as const))('%s', async (_, run) => {
  await run(scene)
})
