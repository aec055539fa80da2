import { beforeEach, describe, expect, test } from '@jest/globals'
import { HoldTable, MAX_HOLD_MS, MAX_HOLDS_PER_HOLDER } from '../../src/metadata/hold-table.ts'
import type { HoldRow } from '../../src/metadata/version-rows.ts'
import { ManualClock } from '../support/manual-clock.ts'

const DAY_MS = 86_400_000
const ref = { blob: 'ab'.repeat(32), version: 3 }
const name = { ...ref, holder: 'peer', purpose: 'pull /a' }

let clock: ManualClock
let table: HoldTable

beforeEach(() => {
  clock = new ManualClock()
  table = new HoldTable(clock)
})

describe('a hold', () => {
  test('keeps its version until it runs out', () => {
    const [row] = table.hold({ ...name, forMs: 1000 })
    expect(row).toEqual({ kind: 'hold', ...name, forMs: 1000, untilMs: 1000 })

    clock.advance(999)
    expect(table.isHeld(ref)).toBe(true)
    clock.advance(1)

    expect(table.isHeld(ref)).toBe(false)
    expect(table.isHeld({ ...ref, version: 4 })).toBe(false)
  })

  test('lasts longer when it is renewed, and is one hold all the same', () => {
    table.hold({ ...name, forMs: 1000 })
    clock.advance(900)
    const rows = table.hold({ ...name, forMs: 1000 })

    clock.advance(900)

    expect(rows).toEqual([expect.objectContaining({ kind: 'hold', untilMs: 1900 })])
    expect(table.isHeld(ref)).toBe(true)
    expect(table.release(name)).toEqual([{ kind: 'hold-removal', ...name }])
    expect(table.isHeld(ref)).toBe(false)
    expect(table.release(name)).toEqual([])
  })

  test('of another peer, purpose or version is another hold', () => {
    const others = [
      name,
      { ...name, holder: 'other' },
      { ...name, purpose: 'pull /b' },
      { ...name, version: 4 }
    ]
    for (const other of others) table.hold({ ...other, forMs: 1000 })

    table.release(name)

    expect(table.isHeld(ref)).toBe(true)
    expect([...table.keptVersions(ref.blob)]).toEqual([3, 4])
    for (const other of others) table.release(other)
    expect([...table.keptVersions(ref.blob)]).toEqual([])
  })

  test('that has run out keeps its version until it is removed', () => {
    table.hold({ ...name, forMs: 1000 })
    clock.advance(5000)

    expect([...table.keptVersions(ref.blob)]).toEqual([3])
    expect(table.dropEnded()).toEqual([{ kind: 'hold-removal', ...name }])
    expect([...table.keptVersions(ref.blob)]).toEqual([])
    expect(table.dropEnded()).toEqual([])
  })

  test('is neither ended nor prolonged by a clock that is set', () => {
    table.hold({ ...name, forMs: 1000 })

    clock.jump(30 * DAY_MS)
    expect(table.isHeld(ref)).toBe(true)
    clock.jump(-60 * DAY_MS)
    clock.advance(1000)

    expect(table.isHeld(ref)).toBe(false)
  })

  test('of an earlier run goes on, but never for longer than it was taken for', () => {
    const row: HoldRow = { kind: 'hold', ...name, forMs: DAY_MS, untilMs: DAY_MS / 2 }
    table.load(row)
    table.load({ ...row, purpose: 'clock was wrong', version: 4, untilMs: 90 * DAY_MS })
    const held = (): boolean[] => [3, 4].map((version) => table.isHeld({ ...ref, version }))

    clock.advance(DAY_MS / 2 - 1)
    expect(held()).toEqual([true, true])
    clock.advance(1)
    expect(held()).toEqual([false, true])
    clock.advance(DAY_MS / 2)

    expect(held()).toEqual([false, false])
    expect(table.dropEnded()).toHaveLength(2)
  })

  test('that ran out while nobody could renew it stays for a quarter of an hour', () => {
    const row: HoldRow = { kind: 'hold', ...name, forMs: DAY_MS, untilMs: 50 }
    clock.jump(3 * DAY_MS)
    table.load(row)
    table.load({ ...row, purpose: 'short', version: 4, forMs: 1000 })
    const held = (): boolean[] => [3, 4].map((version) => table.isHeld({ ...ref, version }))

    expect(held()).toEqual([true, true])
    clock.advance(1000)
    expect(held()).toEqual([true, false])
    clock.advance(899_000)

    expect(held()).toEqual([false, false])
  })
})

describe('holds', () => {
  test('are so many for each peer, not counting those that have run out', () => {
    for (let at = 0; at < MAX_HOLDS_PER_HOLDER; at++) {
      table.hold({ ...name, purpose: `pull ${at}`, forMs: at === 0 ? 10 : 1000 })
    }
    const again = { ...name, purpose: 'pull 1', forMs: 1000 }
    const more = { ...name, purpose: 'one more', forMs: 1000 }

    expect(() => table.hold(more)).toThrow('holds of one peer is 1025, at most 1024')
    expect(() => table.hold(again)).not.toThrow()
    expect(() => table.hold({ ...more, holder: 'other' })).not.toThrow()
    clock.advance(10)
    expect(table.hold(more)).toEqual([
      expect.objectContaining({ kind: 'hold', purpose: 'one more' }),
      expect.objectContaining({ kind: 'hold-removal', purpose: 'pull 0' })
    ])
  })

  test('without end, name or measure are refused', () => {
    const wrong = [
      { forMs: 0 },
      { forMs: -1 },
      { forMs: 1.5 },
      { forMs: Number.NaN },
      { forMs: MAX_HOLD_MS + 1 },
      { holder: '' },
      { holder: 'x'.repeat(129) },
      { purpose: '' },
      { purpose: 'x'.repeat(1025) },
      { purpose: '\ud800' }
    ]

    for (const fields of wrong) {
      expect(() => table.hold({ ...name, forMs: 1000, ...fields })).toThrow(RangeError)
    }
    expect(table.dropEnded()).toEqual([])
    expect([...table.keptVersions(ref.blob)]).toEqual([])
  })
})
