import { describe, expect, test } from '@jest/globals'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { UnknownBlobError, UnknownVersionError } from '../../src/metadata/errors.ts'
import { VersionHold } from '../../src/metadata/version-hold.ts'
import type { HoldRequest } from '../../src/metadata/version-manager-types.ts'
import { ManualClock } from '../support/manual-clock.ts'

const MINUTE = 60_000
const held = { blob: 'ab'.repeat(32), version: 3, holder: 'me', purpose: 'pull /a' }

/** A version manager that notes who holds what; a test replaces its answers. */
function bench() {
  const clock = new ManualClock()
  const logger = new MemoryLogger()
  const calls: (readonly [atMinute: number, call: string])[] = []
  const requests: HoldRequest[] = []
  const answers = { hold: async () => {}, release: async () => {} }
  const versions = {
    hold: async (request: HoldRequest) => {
      calls.push([clock.now() / MINUTE, 'hold'])
      requests.push(request)
      await answers.hold()
      return clock.now() + request.forMs
    },
    release: async () => {
      calls.push([clock.now() / MINUTE, 'release'])
      await answers.release()
    }
  }
  const components = { versions, clock, logger: logger.forComponent('test') }
  return { clock, calls, requests, answers, lines: logger.lines, components }
}

/** Lets minutes pass, with time for answers in each. */
async function pass(clock: ManualClock, minutes: number): Promise<void> {
  for (let minute = 0; minute < minutes; minute++) {
    clock.advance(MINUTE)
    await nextTurn()
  }
}

describe('a hold', () => {
  test('is taken for ten minutes and renewed every three until it is released', async () => {
    const { clock, calls, requests, components } = bench()
    const hold = await VersionHold.take(components, held)
    await pass(clock, 7)

    await hold.release()
    await pass(clock, 20)

    expect(calls).toEqual([
      [0, 'hold'],
      [3, 'hold'],
      [6, 'hold'],
      [7, 'release']
    ])
    const { blob, version, holder } = held
    expect(requests[0]).toMatchObject({ blob, version, holder, forMs: 10 * MINUTE })
    expect(requests[0]?.purpose).toMatch(/^pull \/a \(\d+\)$/)
    expect(new Set(requests.map(({ purpose: name }) => name)).size).toBe(1)
  })

  test('is released once, however often that is asked', async () => {
    const { calls, components } = bench()
    const hold = await VersionHold.take(components, held)

    await hold.release()
    await hold.release()

    expect(calls.map(([, call]) => call)).toEqual(['hold', 'release'])
  })

  test('does not share its name with another of the same purpose', async () => {
    const { requests, components } = bench()

    const holds = [
      await VersionHold.take(components, held),
      await VersionHold.take(components, held)
    ]

    expect(new Set(requests.map(({ purpose }) => purpose)).size).toBe(2)
    for (const hold of holds) await hold.release()
  })

  test('of a purpose that is too long is cut to what is allowed', async () => {
    const { requests, components } = bench()

    const hold = await VersionHold.take(components, {
      ...held,
      purpose: `pull /${'\u{1f4be}'.repeat(2000)}`
    })

    const [{ purpose } = { purpose: '' }] = requests
    expect(Buffer.byteLength(purpose)).toBeLessThan(1024)
    expect(purpose.isWellFormed()).toBe(true)
    await hold.release()
  })
})

describe('a hold with a version manager that', () => {
  test('does not answer is only logged, once, and tried again', async () => {
    const { clock, calls, answers, lines, components } = bench()
    answers.hold = async () => {
      throw new Error('nobody there')
    }

    const hold = await VersionHold.take(components, held)
    await pass(clock, 7)
    await hold.release()

    expect(calls.map(([at]) => at)).toEqual([0, 3, 6, 7])
    expect(lines.map(({ level, format }) => [level, format])).toEqual([
      ['info', 'version %d of %s is not held for "%s": %e']
    ])
  })

  test('says nothing for five seconds is not waited for any longer', async () => {
    const { clock, calls, answers, lines, components } = bench()
    answers.hold = async () => new Promise(() => {})
    const taking = VersionHold.take(components, held)
    await nextTurn()
    clock.advance(5000)

    const hold = await taking

    expect(lines).toHaveLength(1)
    answers.release = async () => new Promise(() => {})
    const releasing = hold.release()
    await nextTurn()
    clock.advance(5000)
    await releasing
    expect(calls.map(([, call]) => call)).toEqual(['hold', 'release'])
  })

  test.each([
    ['version', new UnknownVersionError(held.blob, held.version)],
    ['blob', new UnknownBlobError(held.blob)]
  ])('knows no such %s fails', async (_what, error) => {
    const { clock, calls, answers, components } = bench()
    answers.hold = async () => {
      throw error
    }

    await expect(VersionHold.take(components, held)).rejects.toThrow(error)

    await pass(clock, 10)
    expect(calls).toHaveLength(1)
  })

  test('cannot be told of the end leaves the hold to run out', async () => {
    const { answers, lines, components } = bench()
    answers.release = async () => {
      throw new Error('nobody there')
    }
    const hold = await VersionHold.take(components, held)

    await hold.release()

    expect(lines.map(({ format }) => format)).toEqual(['hold of "%s" is left to run out: %e'])
  })
})

test('a hold that is given up while it is taken rejects with the reason, and is not renewed', async () => {
  const { clock, calls, answers, components } = bench()
  answers.hold = async () => new Promise(() => {})
  const abort = new AbortController()
  const taking = VersionHold.take(components, held, { signal: abort.signal })
  await nextTurn()

  abort.abort(new Error('interrupted'))

  await expect(taking).rejects.toThrow('interrupted')
  await pass(clock, 10)
  expect(calls.filter(([, call]) => call === 'hold')).toHaveLength(1)
})

test.each([{ forMs: 0 }, { renewMs: 0 }, { answerMs: Number.NaN }])(
  'a hold with %j cannot be',
  async (options) => {
    await expect(VersionHold.take(bench().components, held, options)).rejects.toThrow(RangeError)
  }
)
