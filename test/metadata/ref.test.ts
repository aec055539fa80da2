import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { InvalidPathError } from '../../src/metadata/errors.ts'
import { checkNewPath, checkPath, formatRef, parseRef } from '../../src/metadata/ref.ts'

const anyName = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
  .filter((name) => !/[/\0]|@[0-9]+$/.test(name) && name !== '.' && name !== '..')
const anyPath = fc
  .array(anyName, { minLength: 1, maxLength: 5 })
  .map((names) => `/${names.join('/')}`)
const anyVersion = fc.option(fc.nat({ max: Number.MAX_SAFE_INTEGER }), { nil: undefined })

test('reads what it writes', () => {
  fc.assert(
    fc.property(anyPath, anyVersion, (path, version) => {
      expect(parseRef(formatRef({ path, version }))).toEqual({ path, version })
    })
  )
})

test('either refuses a text or gives it back unchanged', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('/', '@', '0', '1', 'a', '.', '\0') }),
      (text) => {
        try {
          expect(formatRef(parseRef(text))).toBe(text)
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidPathError)
        }
      }
    ),
    { numRuns: 1000 }
  )
})

test.each([
  ['/image', '/image', undefined],
  ['/', '/', undefined],
  ['/image@3', '/image', 3],
  ['/image@0', '/image', 0],
  ['/user@host/image', '/user@host/image', undefined],
  ['/image@3@4', '/image@3', 4],
  ['/image@3/part', '/image@3/part', undefined],
  ['/image@', '/image@', undefined],
  ['/image@3a', '/image@3a', undefined]
])('reads %s as path %s in version %s', (text, path, version) => {
  expect(parseRef(text)).toEqual({ path, version })
})

test.each([
  '',
  'image',
  'image@3',
  '/image@03',
  '/image@99999999999999999999',
  '/@3',
  '/folder/@3',
  '//image',
  '/image/',
  '/a/../b',
  '/./a',
  '/a\0b',
  '/\ud800',
  `/${'x'.repeat(256)}`,
  '/x'.repeat(2049),
  `/${'ä/'.repeat(1400)}a`
])('refuses %j', (text) => {
  expect(() => parseRef(text)).toThrow(InvalidPathError)
})

test('does not let a new name look like a version', () => {
  expect(() => checkNewPath('/image@3')).toThrow(InvalidPathError)
  expect(() => checkNewPath('/image@3x')).not.toThrow()
})

test('takes names of up to 255 bytes and paths of up to 4,096', () => {
  expect(() => checkPath(`/${'x'.repeat(255)}`)).not.toThrow()
  expect(() => checkPath('/x'.repeat(2048))).not.toThrow()
})
