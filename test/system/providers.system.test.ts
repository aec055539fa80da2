import { afterAll, beforeAll, jest, test } from '@jest/globals'
import { KIB } from '../../src/lib/bytes.ts'
import {
  clearSurvivalStage,
  SURVIVAL_STEPS,
  type SurvivalScene,
  setSurvivalStage
} from '../support/providers/survival.ts'

// Small, for every test run; `npm run soak:providers` is the full size.
const MIB_OF_IMAGE = Number(process.env.PROVIDERS_MIB ?? 8)
const PROVIDERS = Number(process.env.PROVIDERS_COUNT ?? 10)

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

test.each(SURVIVAL_STEPS.map(({ name, run }) => [name, run] as const))('%s', async (_, run) => {
  await run(scene)
})
