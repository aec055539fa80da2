import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  checkPolicy,
  type RetainedVersion,
  versionsToRetire
} from '../../src/metadata/retention.ts'

/** Versions 1, 2, 3 … published at these times. */
function published(...times: number[]): RetainedVersion[] {
  return times.map((timeMs, at) => ({ version: at + 1, timeMs, isPinned: false }))
}

describe('a policy', () => {
  const cases = [
    ['without a rule keeps all', {}, [], 1000],
    ['keeps the last so many', { last: 2 }, [1, 2], 1000],
    ['keeps more than there are', { last: 9 }, [], 1000],
    ['keeps what is young enough', { youngerMs: 25 }, [1], 45],
    ['keeps what any of its rules keeps', { last: 1, youngerMs: 15 }, [1, 2], 45],
    ['keeps the newest however old it is', { youngerMs: 1 }, [1, 2, 3], 1000]
  ] as const

  test.each(cases)('%s', (_name, policy, retired, nowMs) => {
    const versions = published(10, 20, 30, 40)

    expect(versionsToRetire(policy, versions, nowMs)).toEqual(retired)
  })

  test('keeps what is pinned', () => {
    const [first, ...others] = published(10, 20, 30)
    const versions = [{ ...first!, isPinned: true }, ...others]

    expect(versionsToRetire({ last: 1 }, versions, 1000)).toEqual([2])
  })

  test('has nothing to do with no versions', () => {
    expect(versionsToRetire({ last: 1 }, [], 1000)).toEqual([])
  })

  test('keeps just what one of the rules says, whatever the history', () => {
    const anyVersions = fc
      .array(fc.record({ ageMs: fc.nat(1000), isPinned: fc.boolean() }), { maxLength: 20 })
      .map((ages) => ages.toSorted((left, right) => right.ageMs - left.ageMs))
    const anyPolicy = fc.record(
      { last: fc.integer({ min: 1, max: 25 }), youngerMs: fc.integer({ min: 1, max: 1000 }) },
      { requiredKeys: [] }
    )

    fc.assert(
      fc.property(anyVersions, anyPolicy, (ages, policy) => {
        const versions = ages.map(({ ageMs, isPinned }, at) => {
          return { version: at + 1, timeMs: 5000 - ageMs, isPinned }
        })
        const isKept = ({ version, timeMs, isPinned }: RetainedVersion): boolean =>
          isPinned ||
          version === versions.length ||
          (policy.last === undefined && policy.youngerMs === undefined) ||
          (policy.last !== undefined && version > versions.length - policy.last) ||
          (policy.youngerMs !== undefined && 5000 - timeMs <= policy.youngerMs)

        const retired = versionsToRetire(policy, versions, 5000)

        expect(retired).toEqual(
          versions.filter((version) => !isKept(version)).map(({ version }) => version)
        )
      })
    )
  })
})

test('policies that nobody can mean are refused', () => {
  for (const last of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60]) {
    expect(() => checkPolicy({ last })).toThrow(RangeError)
    expect(() => checkPolicy({ youngerMs: last })).toThrow(RangeError)
  }
  expect(() => checkPolicy({ last: 1, youngerMs: 1 })).not.toThrow()
  expect(() => checkPolicy({})).not.toThrow()
})
