import { describe, expect, test } from '@jest/globals'
import { byteRate, byteSize, duration, wholeNumber } from '../../../src/agent/commands/arguments.ts'

describe('a size', () => {
  test.each([
    ['0', 0],
    ['65536', 65_536],
    ['64K', 65_536],
    ['64k', 65_536],
    ['512M', 512 * 1024 ** 2],
    ['10G', 10 * 1024 ** 3],
    ['10GiB', 10 * 1024 ** 3],
    ['2T', 2 * 1024 ** 4]
  ])('of %s is %d bytes', (text, bytes) => {
    expect(byteSize('--size', text)).toBe(bytes)
  })

  test.each(['', '-1', '1.5G', '10GB', '10 G', '1e9', 'G', '9007199254740993', '9000T'])(
    'of "%s" is refused',
    (text) => {
      expect(() => byteSize('--size', text)).toThrow(`--size ${text}: wanted a size`)
    }
  )

  test('that is not given stays so', () => {
    expect(byteSize('--size', undefined)).toBeUndefined()
  })
})

describe('a rate', () => {
  test.each([
    ['0', 0],
    ['1000', 1000],
    ['50MB/s', 50_000_000],
    ['50MiB/s', 52_428_800],
    ['50M', 52_428_800],
    ['1.5 GB/s', 1_500_000_000],
    ['400Mbit/s', 50_000_000],
    ['64kB', 64_000],
    ['10B/s', 10]
  ])('of %s is %d bytes a second', (text, bytes) => {
    expect(byteRate('--up', text)).toBe(bytes)
  })

  test.each(['', '-1', 'MB/s', '1e9', '5MB/m', '1bit', '9007199254740993', 'constructor', '1.MB'])(
    'of "%s" is refused',
    (text) => {
      expect(() => byteRate('--up', text)).toThrow(`--up ${text}: wanted a rate`)
    }
  )

  test('that is not given stays so', () => {
    expect(byteRate('--up', undefined)).toBeUndefined()
  })
})

describe('a time', () => {
  test.each([
    ['45s', 45_000],
    ['30m', 1_800_000],
    ['1h', 3_600_000],
    ['30d', 2_592_000_000]
  ])('of %s is %d ms', (text, milliseconds) => {
    expect(duration('--younger', text)).toBe(milliseconds)
  })

  test.each(['', '30', 'd', '1.5h', '-1d', '1w', '99999999999999999d'])(
    'of "%s" is refused',
    (text) => {
      expect(() => duration('--younger', text)).toThrow(`--younger ${text}: wanted a time`)
    }
  )
})

describe('a whole number', () => {
  test.each([
    ['0', 0],
    ['17', 17]
  ])('%s is %d', (text, number) => {
    expect(wholeNumber('--last', text, 'a number')).toBe(number)
  })

  test.each(['', '-1', '1e3', '0x10', '1.5', '9007199254740993'])('"%s" is refused', (text) => {
    expect(() => wholeNumber('--last', text, 'a number')).toThrow(`--last ${text}: wanted a number`)
  })
})
