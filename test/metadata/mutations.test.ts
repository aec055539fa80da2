import { describe, expect, test } from '@jest/globals'
import { noCounts } from '../support/history/counts.ts'
import { TreeHistory } from '../support/history/history.ts'
import { BELIEVING_RULES, MUTATIONS, RefusingStore } from '../support/history/mutations.ts'
import type { HistoryRules } from '../support/history/rules.ts'

/** Seeds within which a broken rule must be found. */
const SEEDS = 200

/** The first seed that was looked for, and what its history failed with. */
interface Found {
  readonly seed: number
  readonly failure: unknown
}

/** Plays histories by broken rules until `isFound` holds. @returns undefined if it never does. */
async function firstSeed(
  rules: () => HistoryRules,
  isFound: (failure: unknown) => boolean,
  seeds = SEEDS
): Promise<Found | undefined> {
  for (let seed = 1; seed <= seeds; seed++) {
    let failure: unknown
    try {
      await new TreeHistory(seed, noCounts(), rules()).run()
    } catch (error) {
      failure = error
    }
    if (isFound(failure)) return { seed, failure }
  }
  return undefined
}

test('with no rule broken, histories stay green even without proofs', async () => {
  const found = await firstSeed(
    () => BELIEVING_RULES,
    (failure) => failure !== undefined,
    20
  )

  expect(found).toBeUndefined()
}, 300_000)

describe.each(MUTATIONS)('with $name', ({ name, rules, refusal }) => {
  test('a history turns red', async () => {
    const found = await firstSeed(
      () => rules,
      (failure) => failure !== undefined
    )

    process.stdout.write(`${name}, TREE_SEED=${found?.seed}: ${String(found?.failure)}\n`)
    expect(found).toBeDefined()
  }, 300_000)

  if (refusal === undefined) return

  test('the store refuses what follows from it', async () => {
    let store = new RefusingStore()
    const newStore = (): RefusingStore => {
      store = new RefusingStore()
      return store
    }

    const found = await firstSeed(
      () => ({ ...rules, newStore }),
      () => store.refusals.has(refusal)
    )

    expect(found).toBeDefined()
  }, 300_000)
})
