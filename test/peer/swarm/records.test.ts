import { describe, expect, test } from '@jest/globals'
import { Bitfield } from '../../../src/chunks/bitfield.ts'
import { KIB, MIB } from '../../../src/lib/bytes.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { Bans } from '../../../src/peer/bans.ts'
import { Candidates } from '../../../src/peer/swarm/candidates.ts'
import { Patience } from '../../../src/peer/swarm/patience.ts'
import { Scorecard } from '../../../src/peer/swarm/scorecard.ts'
import { Spread } from '../../../src/peer/swarm/spread.ts'

const holding = (bits: string): Bitfield => {
  const bitfield = new Bitfield(bits.length)
  for (const [chunk, bit] of Array.from(bits).entries()) if (bit === '#') bitfield.set(chunk)
  return bitfield
}

describe('a scorecard', () => {
  test('has a fast neighbour asked for as much ahead as it sends in a tenth of a second', () => {
    const card = new Scorecard({ creditBytes: 512 * KIB })
    for (let ms = 0; ms < 10_000; ms += 10) card.received(128 * KIB, ms)

    expect(card.creditBytes).toBe(512 * KIB)
    expect(card.aheadBytes(10_000) / (1280 * KIB)).toBeCloseTo(1, 1)
  })

  test('has no neighbour asked for more than a bound ahead, nor a new one for anything', () => {
    const card = new Scorecard()
    expect(card.aheadBytes(0)).toBe(0)

    for (let ms = 0; ms < 1000; ms += 10) card.received(MIB, ms)

    expect(card.aheadBytes(1000)).toBe(4 * MIB)
  })

  test('is on probation after a failure, and drops after three in a row', () => {
    const card = new Scorecard({ failureBanMs: 5 })

    expect(card.failed()).toEqual({ action: 'keep' })
    expect(card.isOnProbation).toBe(true)
    card.received(1, 0)
    expect(card.isOnProbation).toBe(false)
    expect([card.failed().action, card.failed().action]).toEqual(['keep', 'keep'])
    expect(card.failed()).toEqual({ action: 'drop', reason: 'failing', banMs: 5 })
  })

  test('forgives no lie', () => {
    expect(new Scorecard().lied()).toMatchObject({ action: 'drop', reason: 'lied' })
  })
})

describe('bans', () => {
  test('end', () => {
    const bans = new Bans()
    bans.add('a', 100)

    expect([bans.isBanned('a', 99), bans.isBanned('a', 100), bans.isBanned('b', 0)]).toEqual([
      true,
      false,
      false
    ])
  })

  test('of those who were only of no use end when they are pardoned', () => {
    const bans = new Bans()
    bans.suspend('useless', 100)
    bans.add('liar', 100)
    bans.add('both', 200)
    bans.suspend('both', 100)

    for (const peer of ['useless', 'liar', 'both', 'stranger']) bans.pardon(peer)

    expect(['useless', 'liar', 'both'].map((peer) => bans.remainingMs(peer, 40))).toEqual([
      0, 60, 160
    ])
  })

  test('are bounded: the one that ends first is forgiven', () => {
    const bans = new Bans({ maxPeers: 2 })
    for (const [peer, untilMs] of [
      ['a', 300],
      ['b', 100],
      ['c', 200]
    ] as const) {
      bans.add(peer, untilMs)
    }

    expect(['a', 'b', 'c'].filter((peer) => bans.isBanned(peer, 0))).toEqual(['a', 'c'])
  })
})

describe('candidates', () => {
  test('that are sources are dialled first', () => {
    const candidates = new Candidates(seededRandom(1))
    candidates.add('found', 'directory')
    candidates.add('named', 'source')
    candidates.add('heard of', 'exchange')

    expect([candidates.next(0), candidates.next(0), candidates.next(0)]).toEqual([
      'named',
      'heard of',
      'found'
    ])
    expect(candidates.next(0)).toBeUndefined()
  })

  test('that cannot be reached wait longer each time', () => {
    const candidates = new Candidates(seededRandom(1), { firstRetryMs: 100, maxRetryMs: 1000 })
    candidates.add('a', 'source')
    const waits = Array.from({ length: 6 }, () => {
      candidates.next(0)
      candidates.failed('a', 0)
      const waitMs = candidates.delayMs(0) ?? 0
      candidates.left('a', 0)
      return waitMs
    })

    expect(candidates.next(0)).toBeUndefined()
    expect(waits.every((waitMs, turn) => waitMs <= Math.min(1000, 100 * 2 ** turn))).toBe(true)
    expect(waits.at(-1)).toBeGreaterThanOrEqual(500)
  })

  test('are bounded, and a source takes the place of another', () => {
    const candidates = new Candidates(seededRandom(1), { maxPeers: 2 })
    candidates.add('a', 'exchange')
    candidates.add('b', 'exchange')

    expect(candidates.add('c', 'exchange')).toBe(false)
    expect(candidates.add('d', 'source')).toBe(true)
    expect(candidates.next(0)).toBe('d')
  })
})

describe('what has spread', () => {
  test('is sent last, and what was set aside for somebody counts', () => {
    const spread = new Spread(3, seededRandom(1))
    for (const chunk of [0, 1, 2]) spread.hold(chunk)
    spread.join('a', holding('#--'))
    spread.join('b', holding('---'))

    spread.add('a', 1)

    expect(spread.pickFor('b', 0)).toBe(2)
    expect([0, 1, 2].map((chunk) => spread.copiesBeside('b', chunk))).toEqual([1, 1, 0])
    expect(spread.copiesBeside('a', 1)).toBe(0)
  })

  test('is refused to one who asks for fresh chunks only', () => {
    const spread = new Spread(1, seededRandom(1))
    spread.hold(0)
    spread.join('a', holding('#'))
    spread.join('b', holding('-'))

    expect(spread.pickFor('b', 0)).toBeUndefined()
    expect(spread.pickFor('b', 1)).toBe(0)
  })

  test('is fresh again when the only one who had it leaves', () => {
    const spread = new Spread(1, seededRandom(1))
    spread.hold(0)
    spread.join('a', holding('#'))
    spread.join('b', holding('-'))

    spread.leave('a')

    expect(spread.pickFor('b', 0)).toBe(0)
  })

  test('is never what this agent does not hold', () => {
    const spread = new Spread(2, seededRandom(1))
    spread.hold(1)
    spread.unhold(1)

    expect(spread.pickFor('a', 255)).toBeUndefined()
  })
})

describe('patience', () => {
  test('ends when nothing comes, for a dose that grows while nobody else helps', () => {
    const patience = new Patience({ patienceMs: 500, secondCopyBytes: 100 })
    patience.begin(0)
    patience.tick(500, 0)
    expect(patience.isOver).toBe(false)

    patience.tick(501, 0)
    patience.spend(100)
    expect(patience.isOver).toBe(false)
    patience.arrived(true, 502)
    patience.tick(1003, 0)
    patience.spend(100)

    expect(patience.isOver).toBe(true)
  })

  test('begins anew when something comes from another than a source', () => {
    const patience = new Patience({ patienceMs: 500 })
    patience.begin(0)
    patience.tick(501, 0)

    patience.arrived(false, 502)

    expect(patience.isOver).toBe(false)
  })

  test('is longer where chunks usually take longer', () => {
    const patience = new Patience({ patienceMs: 500 })
    patience.begin(0)

    patience.tick(1500, 2)

    expect(patience.isOver).toBe(false)
  })
})
