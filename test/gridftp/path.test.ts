import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  baseName,
  confinePath,
  MAX_NAME_BYTES,
  MAX_PATH_BYTES,
  parentPath,
  resolvePath,
  revealPath
} from '../../src/gridftp/path.ts'

describe('resolvePath', () => {
  test.each([
    ['/', 'a', '/a'],
    ['/a', 'b/c', '/a/b/c'],
    ['/a', '/b', '/b'],
    ['/a/b', '..', '/a'],
    ['/a', '../../../..', '/'],
    ['/', '/../../etc/passwd', '/etc/passwd'],
    ['/a', './/b/./', '/a/b'],
    ['/a', '~', '/'],
    ['/a', '~/b', '/b'],
    ['/a', '~b', '/a/~b'],
    ['/', '/a//b///', '/a/b'],
    ['/', ' a b ', '/ a b '],
    ['/', '...', '/...'],
    ['/', 'a\\..\\b', '/a\\..\\b'],
    ['/', 'image.raw@3', '/image.raw@3']
  ])('in %s, %s is %s', (directory, argument, expected) => {
    expect(resolvePath(directory, argument)).toBe(expected)
  })

  test.each([
    ['nothing', ''],
    ['a NUL', 'a\0b'],
    ['5,000 characters', 'x/'.repeat(2500)],
    ['a name of 256 bytes', 'x'.repeat(256)],
    ['a name of 255 characters in more bytes', 'ü'.repeat(255)],
    ['half a surrogate pair', 'a\ud800']
  ])('refuses %s', (_name, argument) => {
    expect(() => resolvePath('/', argument)).toThrow(
      expect.objectContaining({ code: 'ERR_FTP_INVALID_PATH' })
    )
  })

  test('refuses a path that becomes too long below its directory', () => {
    const directory = `/${Array.from({ length: 20 }, () => 'x'.repeat(200)).join('/')}`

    expect(() => resolvePath(directory, 'y'.repeat(200))).toThrow(/4096/)
  })
})

test('whatever is asked, the path is normal, stays in the jail and within the limits', () => {
  const parts = fc.oneof(
    fc.constantFrom('..', '.', '', '~', 'a', 'b@1', '...', ' '),
    fc.string({ unit: 'binary', maxLength: 300 })
  )
  const argument = fc.array(parts, { maxLength: 30 }).map((names) => names.join('/'))
  fc.assert(
    fc.property(argument, fc.constantFrom('/', '/home', '/home/ada'), (asked, root) => {
      const path = resolveOrNothing(asked)
      fc.pre(path !== undefined)
      const stored = confinePath(root, path)
      const names = path.split('/').slice(1)

      expect(stored === root || stored.startsWith(root === '/' ? '/' : `${root}/`)).toBe(true)
      expect(stored.split('/')).not.toContain('..')
      expect(revealPath(root, stored)).toBe(path)
      expect(path === '/' || names.every((name) => name !== '' && name !== '.')).toBe(true)
      expect(names.every((name) => Buffer.byteLength(name) <= MAX_NAME_BYTES)).toBe(true)
      expect(Buffer.byteLength(path)).toBeLessThanOrEqual(MAX_PATH_BYTES)
      expect(resolvePath('/', path)).toBe(path)
    })
  )
})

function resolveOrNothing(argument: string): string | undefined {
  try {
    return resolvePath('/some/where', argument)
  } catch {
    return undefined
  }
}

test('parent and base name', () => {
  expect([parentPath('/a/b'), baseName('/a/b')]).toEqual(['/a', 'b'])
  expect([parentPath('/a'), baseName('/a')]).toEqual(['/', 'a'])
  expect([parentPath('/'), baseName('/')]).toEqual(['/', ''])
})

test('a path outside the root is shown as the root', () => {
  expect(revealPath('/home/ada', '/home/bob/x')).toBe('/')
  expect(revealPath('/home/ada', '/home/adam')).toBe('/')
})
