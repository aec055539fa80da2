import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  formatExtended,
  formatHostPort,
  isLoopback,
  parseExtended,
  parseHostPort,
  plainAddress
} from '../../src/gridftp/address.ts'

const port = fc.integer({ min: 0, max: 65_535 })

describe('PORT', () => {
  test('what is formatted is parsed to the same', () => {
    fc.assert(
      fc.property(fc.ipV4(), port, (host, number) => {
        const address = { host, port: number }

        expect(parseHostPort(formatHostPort(address))).toEqual(address)
      })
    )
  })

  test.each(['', '1,2,3,4,5', '1,2,3,4,5,6,7', '1,2,3,4,5,256', '1,2,3,4,5,-6', 'a,2,3,4,5,6'])(
    'refuses "%s"',
    (text) => {
      expect(parseHostPort(text)).toBeUndefined()
    }
  )
})

describe('EPRT', () => {
  test('what is formatted is parsed to the same', () => {
    fc.assert(
      fc.property(fc.ipV4(), port, (host, number) => {
        const address = { host, port: number }

        expect(parseExtended(formatExtended(address))).toEqual(address)
      })
    )
  })

  test('takes IPv6 in any spelling, and any delimiter', () => {
    expect(parseExtended('|2|0:0:0:0:0:0:0:1|80|')).toEqual({ host: '::1', port: 80 })
    expect(parseExtended('!1!127.0.0.1!80!')).toEqual({ host: '127.0.0.1', port: 80 })
    expect(parseExtended('|2|::ffff:127.0.0.1|80|')).toEqual({ host: '127.0.0.1', port: 80 })
  })

  test('tells a foreign family from nonsense', () => {
    expect(parseExtended('|3|x|80|')).toBe('unsupported')
    for (const text of [
      '',
      '|',
      '|1|::1|80|',
      '|1|127.0.0.1|65536|',
      '|1|127.0.0.1|80',
      'x1x2x3x'
    ]) {
      expect(parseExtended(text)).toBeUndefined()
    }
  })

  test('any text is parsed without a crash', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(() => [parseExtended(`|2|${text}|1|`), parseHostPort(text)]).not.toThrow()
      })
    )
  })
})

test('knows loopback, and IPv4 inside IPv6', () => {
  expect(['127.0.0.1', '127.9.9.9', '::1', '10.0.0.1', ''].map(isLoopback)).toEqual([
    true,
    true,
    true,
    false,
    false
  ])
  expect(plainAddress('::ffff:10.1.2.3')).toBe('10.1.2.3')
  expect(plainAddress('fe80::1%eth0')).toBe('fe80::1')
  expect(plainAddress(undefined)).toBe('')
})
