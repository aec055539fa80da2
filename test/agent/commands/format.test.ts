import { describe, expect, test } from '@jest/globals'
import {
  formatBytes,
  formatRate,
  formatRecords,
  formatTable,
  formatTime
} from '../../../src/agent/commands/format.ts'
import { GIB, KIB, MIB } from '../../../src/lib/bytes.ts'

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1.5 * KIB, '1.5 KiB'],
  [MIB, '1.0 MiB'],
  [2.25 * GIB, '2.25 GiB']
])('%d bytes read %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})

test.each([
  [10 * MIB, 2, '5.0 MiB/s'],
  [10, 0, '0 B/s']
])('%d bytes in %d s are %s', (bytes, seconds, text) => {
  expect(formatRate(bytes, seconds)).toBe(text)
})

test('a time is in UTC, to the second', () => {
  expect(formatTime(Date.UTC(2026, 10, 22, 8, 15, 0, 999))).toBe('2026-11-22 08:15:00Z')
})

describe('a table', () => {
  test('has columns as wide as they need, numbers to the right, no blanks at line ends', () => {
    const table = formatTable(
      ['version', 'bytes', 'note'],
      [
        ['1', '5', ''],
        ['10', '1234567', 'second']
      ]
    )

    expect(table.split('\n')).toEqual([
      'version    bytes  note',
      '      1        5',
      '     10  1234567  second'
    ])
  })

  test('keeps numbers to the right also where the first row has none', () => {
    const table = formatTable(
      ['bytes', 'name'],
      [
        ['', 'folder/'],
        ['7', 'file']
      ]
    )

    expect(table.split('\n')).toEqual(['bytes  name', '       folder/', '    7  file'])
  })

  test('of nothing is its head', () => {
    expect(formatTable(['a', 'b'], [])).toBe('a  b')
  })
})

describe('records', () => {
  test('have their keys as head, lists with commas, the rest as JSON', () => {
    const text = formatRecords([{ peer: 'x', roles: ['a', 'b'], isOn: true, lost: undefined }])

    expect(text.split('\n')).toEqual(['peer  roles  isOn  lost', 'x     a,b    true  ""'])
  })

  test('that are none read so', () => {
    expect(formatRecords([])).toBe('none')
  })
})
