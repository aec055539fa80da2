import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import type { FileStatus } from '../../src/gridftp/dsi.ts'
import {
  formatFactList,
  formatListLine,
  formatMlst,
  formatTime,
  MLST_FACTS,
  parseFacts,
  parseTime
} from '../../src/gridftp/mlst.ts'

const TIME = Date.UTC(2026, 10, 2, 3, 4, 5)
const file: FileStatus = {
  name: 'image.raw',
  type: 'file',
  bytes: 12,
  modifiedMs: TIME,
  readOnly: false,
  unique: 'u1'
}
const folder: FileStatus = { ...file, name: 'images', type: 'directory', bytes: 0 }
const all = new Set(MLST_FACTS)

describe('formatMlst', () => {
  test('shows a file, a folder and what is read-only', () => {
    const view = { facts: all, mayWrite: true }

    expect(formatMlst(file, 'a b', view)).toBe(
      'Type=file;Size=12;Modify=20261102030405;Perm=adfrw;Unique=u1;UNIX.mode=0644; a b'
    )
    expect(formatMlst(folder, 'images', view)).toBe(
      'Type=dir;Size=0;Modify=20261102030405;Perm=cdeflmp;Unique=u1;UNIX.mode=0755; images'
    )
    expect(formatMlst({ ...file, readOnly: true }, 'x', view)).toMatch(/Perm=r;.*mode=0444;/)
    expect(formatMlst(folder, 'x', { ...view, mayWrite: false })).toMatch(/Perm=el;.*mode=0555;/)
  })

  test('tells the directory itself and the one above apart', () => {
    const view = { facts: parseFacts('Type;'), mayWrite: true }

    expect(formatMlst(folder, '.', view, 'self')).toBe('Type=cdir; .')
    expect(formatMlst(folder, '..', view, 'parent')).toBe('Type=pdir; ..')
  })
})

test('facts are chosen in any case, unknown ones are left out', () => {
  const facts = parseFacts('size;unix.MODE;UNIX.owner;;type')

  expect(formatFactList(facts)).toBe('Type*;Size*;Modify;Perm;Unique;UNIX.mode*;')
  expect(parseFacts('')).toEqual(new Set())
})

test('times are in UTC, without fractions', () => {
  expect(formatTime(Date.UTC(2026, 0, 2, 3, 4, 5, 678))).toBe('20260102030405')
})

test('every time that is shown can be set', () => {
  const years = { min: new Date(0), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true }

  fc.assert(
    fc.property(fc.date(years), (date) => {
      const timeMs = date.getTime() - date.getMilliseconds()
      expect(parseTime(formatTime(timeMs))).toBe(timeMs)
    })
  )
})

test.each([
  ['20260102030405.678', Date.UTC(2026, 0, 2, 3, 4, 5, 678)],
  ['20240229000000', Date.UTC(2024, 1, 29)],
  ['20230229000000', undefined],
  ['20261301000000', undefined],
  ['20260101240000', undefined],
  ['00990101000000', undefined],
  ['2026010203040', undefined],
  ['yesterday', undefined]
])('the time %s', (text, expected) => {
  expect(parseTime(text)).toBe(expected)
})

describe('formatListLine', () => {
  test('shows the hour of what is recent and the year of what is not', () => {
    const soon = TIME + 1000

    expect(formatListLine(file, soon, true)).toBe(
      '-rw-r--r--   1 blobs    blobs              12 Nov  2 03:04 image.raw'
    )
    expect(formatListLine(folder, TIME + 300 * 86_400_000, true)).toBe(
      'drwxr-xr-x   2 blobs    blobs               0 Nov  2  2026 images'
    )
    expect(formatListLine(file, TIME - 1000, true)).toMatch(/Nov {2}2 {2}2026 image/)
  })

  test('shows what cannot be written', () => {
    expect(formatListLine(file, TIME, false)).toMatch(/^-r--r--r--/)
    expect(formatListLine({ ...folder, readOnly: true }, TIME, true)).toMatch(/^dr-xr-xr-x/)
  })
})
