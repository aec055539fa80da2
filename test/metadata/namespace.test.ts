import { beforeEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import type { NamespaceRows } from '../../src/metadata/entry-tree.ts'
import { compareNames } from '../../src/metadata/folder.ts'
import { NamespaceState } from '../../src/metadata/namespace.ts'
import type { EntryRow, PolicyRow } from '../../src/metadata/version-rows.ts'

let space: NamespaceState
let rows: Map<number, EntryRow>
let policies: Map<number, PolicyRow>
let blobs = 0

function keep(changed: NamespaceRows): void {
  for (const row of changed) {
    if (row.kind === 'entry') rows.set(row.id, row)
    else if (row.kind === 'entry-removal') rows.delete(row.id)
    else if (row.kind === 'policy') policies.set(row.entry, row)
    else policies.delete(row.entry)
  }
}

function reserve(path: string): string {
  const blob = String(++blobs)
  keep(space.reserve(path, blob, 1))
  return blob
}

function publish(path: string): string {
  const blob = space.reserved(path) ?? reserve(path)
  keep(space.show(blob, 2))
  return blob
}

/** Gives a path to a blob, as a clone does. */
function link(path: string): string {
  const blob = String(++blobs)
  keep(space.link(path, blob, 3))
  return blob
}

function names(path = '/', after?: string, limit = 100): string[] {
  return space.list(path, after, limit).map((entry) => entry.path)
}

const code = (name: string) => expect.objectContaining({ code: name })

beforeEach(() => {
  space = new NamespaceState()
  rows = new Map()
  policies = new Map()
  blobs = 0
})

describe('a reservation', () => {
  test('and the folders above it are unseen until its blob has a version', () => {
    const blob = reserve('/a/b/image')
    expect(space.lookup('/a/b/image')).toBeUndefined()
    expect(space.lookup('/a')).toBeUndefined()
    expect(names()).toEqual([])
    expect(space.blobAt('/a/b/image')).toBe(blob)

    keep(space.show(blob, 7))

    expect(space.lookup('/a/b/image')).toEqual({ kind: 'file', path: '/a/b/image', blob })
    expect(space.lookup('/a/b')).toMatchObject({ kind: 'directory', modifiedMs: 7 })
    expect(names('/a')).toEqual(['/a/b'])
    expect(space.pathOf(blob)).toBe('/a/b/image')
  })

  test('of a path that is reserved gives the same blob', () => {
    const blob = reserve('/image')

    expect(space.reserved('/image')).toBe(blob)
    publish('/image')
    expect(space.reserved('/image')).toBe(blob)
  })

  test('gives way to a folder that is made, or needed, in its place', () => {
    reserve('/made')
    reserve('/needed')

    keep(space.makeDirectory('/made', false, 1))
    publish('/needed/image')

    expect(names()).toEqual(['/made', '/needed'])
    expect(space.pathOf('1')).toBeUndefined()
    expect(space.pathOf('2')).toBeUndefined()
  })

  test('is refused where a folder can be seen, or below a file', () => {
    keep(space.makeDirectory('/folder', false, 1))
    publish('/file')

    expect(() => space.reserved('/folder')).toThrow(code('ERR_IS_DIRECTORY'))
    expect(() => space.reserved('/')).toThrow(code('ERR_IS_DIRECTORY'))
    expect(() => space.reserved('/file/below')).toThrow(code('ERR_NOT_DIRECTORY'))
    expect(() => space.reserved('/image@3')).toThrow(code('ERR_INVALID_PATH'))
    expect(() => space.reserved('/a/../b')).toThrow(code('ERR_INVALID_PATH'))
  })

  test('that is too old is forgotten with the folders that were only there for it', () => {
    reserve('/a/b/old')
    reserve('/written')
    publish('/a/seen')

    keep(space.dropReservations(100, (blob) => blob === '2'))

    expect(space.blobAt('/a/b/old')).toBeUndefined()
    expect(space.blobAt('/written')).toBe('2')
    expect(Array.from(rows.values(), ({ name }) => name).toSorted()).toEqual([
      'a',
      'seen',
      'written'
    ])
  })

  test('is what remains when the last version is retired', () => {
    const blob = publish('/image')

    keep(space.hide(blob, 5))

    expect(names()).toEqual([])
    expect(space.reserved('/image')).toBe(blob)
  })
})

describe('folders', () => {
  test('are made one by one, or with those above them', () => {
    expect(() => space.makeDirectory('/a/b', false, 1)).toThrow(code('ERR_PATH_NOT_FOUND'))
    keep(space.makeDirectory('/a/b', true, 1))
    keep(space.makeDirectory('/a/b', true, 1))
    publish('/a/file')

    expect(names('/a')).toEqual(['/a/b', '/a/file'])
    expect(() => space.makeDirectory('/a', false, 1)).toThrow(code('ERR_PATH_EXISTS'))
    expect(() => space.makeDirectory('/a/file', false, 1)).toThrow(code('ERR_PATH_EXISTS'))
    expect(() => space.makeDirectory('/a/file', true, 1)).toThrow(code('ERR_NOT_DIRECTORY'))
    expect(() => space.makeDirectory('/a/file/c', true, 1)).toThrow(code('ERR_NOT_DIRECTORY'))
    expect(() => space.makeDirectory('/', false, 1)).toThrow(code('ERR_PATH_EXISTS'))
  })

  test('that nobody sees do not stand above one that is made alone', () => {
    reserve('/unseen/image')

    expect(() => space.makeDirectory('/unseen/b', false, 1)).toThrow(code('ERR_PATH_NOT_FOUND'))
  })

  test('are listed in pages, in the order of their UTF-8 bytes', () => {
    const all = ['/b', '/a', '/é', '/\u{1F600}', '/\uFFFD', '/aa', '/B']
    for (const path of all) publish(path)

    const sorted = all.toSorted((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)))
    expect(names()).toEqual(sorted)
    expect(names('/', 'a', 2)).toEqual(['/aa', '/b'])
    expect(names('/', 'ab')).toEqual(sorted.slice(3))
    expect(names('/', '\u{1F600}')).toEqual([])
    expect(() => names('/none')).toThrow(code('ERR_PATH_NOT_FOUND'))
    expect(() => names('/a')).toThrow(code('ERR_NOT_DIRECTORY'))
  })

  test('names compare like their UTF-8 bytes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
        const expected = Buffer.compare(Buffer.from(a), Buffer.from(b))
        expect(Math.sign(compareNames(a, b))).toBe(expected)
      })
    )
  })

  test('of 100,000 files are listed page by page without looking at all of them', () => {
    for (let at = 0; at < 100_000; at++) {
      space.load({
        kind: 'entry',
        id: at + 1,
        parent: 0,
        name: `f${(at * 7919) % 100_000}`,
        blob: String(at),
        isVisible: true,
        modifiedMs: 0
      })
    }

    let count = 0
    let after: string | undefined
    for (;;) {
      const page = space.list('/', after, 1000)
      if (page.length === 0) break
      count += page.length
      after = page.at(-1)?.path.slice(1)
      publish(`/new${count}`)
    }
    expect(count).toBeGreaterThanOrEqual(100_000)
  })

  test('are removed when nothing in them can be seen', () => {
    keep(space.makeDirectory('/a', false, 1))
    publish('/a/seen')
    expect(() => space.remove('/a', 'any', 3)).toThrow(code('ERR_DIRECTORY_NOT_EMPTY'))
    keep(space.remove('/a/seen', 'file', 3))
    reserve('/a/unseen')

    keep(space.remove('/a', 'directory', 3))

    expect(names()).toEqual([])
    expect(rows.size).toBe(0)
  })
})

describe('removing', () => {
  test('takes what it was told to take', () => {
    keep(space.makeDirectory('/folder', false, 1))
    publish('/file')
    reserve('/unseen')

    expect(() => space.remove('/folder', 'file', 1)).toThrow(code('ERR_IS_DIRECTORY'))
    expect(() => space.remove('/file', 'directory', 1)).toThrow(code('ERR_NOT_DIRECTORY'))
    expect(() => space.remove('/none', 'any', 1)).toThrow(code('ERR_PATH_NOT_FOUND'))
    expect(() => space.remove('/unseen', 'any', 1)).toThrow(code('ERR_PATH_NOT_FOUND'))
    expect(() => space.remove('/file/x', 'any', 1)).toThrow(code('ERR_NOT_DIRECTORY'))
    expect(() => space.remove('/', 'any', 1)).toThrow(code('ERR_INVALID_PATH'))
    keep(space.remove('/file', 'any', 1))
    expect(names()).toEqual(['/folder'])
    expect(space.pathOf('1')).toBeUndefined()
  })
})

describe('renaming', () => {
  test('moves a folder with all below it, in one row of its own', () => {
    const blob = publish('/a/b/image')
    const unseen = reserve('/a/b/unseen')
    keep(space.makeDirectory('/c', false, 1))

    const changed = space.rename('/a/b', '/c/d', 5)
    keep(changed)

    expect(space.pathOf(blob)).toBe('/c/d/image')
    expect(space.pathOf(unseen)).toBe('/c/d/unseen')
    expect(names('/a')).toEqual([])
    expect(names('/c')).toEqual(['/c/d'])
    expect(changed).toHaveLength(3)
  })

  test('puts a file in the place of a file', () => {
    const moved = publish('/new')
    const replaced = publish('/old')

    keep(space.rename('/new', '/old', 5))

    expect(names()).toEqual(['/old'])
    expect(space.blobAt('/old')).toBe(moved)
    expect(space.pathOf(replaced)).toBeUndefined()
  })

  test('to the same path does nothing', () => {
    publish('/image')

    expect(space.rename('/image', '/image', 5)).toEqual([])
  })

  test('is refused where something else stands, or leads into itself', () => {
    keep(space.makeDirectory('/a/b', true, 1))
    keep(space.makeDirectory('/empty', false, 1))
    publish('/file')

    const refused: [string, string, string][] = [
      ['/file', '/empty', 'ERR_IS_DIRECTORY'],
      ['/empty', '/file', 'ERR_NOT_DIRECTORY'],
      ['/empty', '/a', 'ERR_PATH_EXISTS'],
      ['/a', '/a/b/c', 'ERR_INVALID_PATH'],
      ['/', '/x', 'ERR_INVALID_PATH'],
      ['/none', '/x', 'ERR_PATH_NOT_FOUND'],
      ['/file', '/none/x', 'ERR_PATH_NOT_FOUND'],
      ['/empty', '/file/x', 'ERR_NOT_DIRECTORY'],
      ['/file', '/file@7', 'ERR_INVALID_PATH']
    ]
    for (const [from, to, reason] of refused) {
      expect(() => space.rename(from, to, 1)).toThrow(code(reason))
    }
    expect(names()).toEqual(['/a', '/empty', '/file'])
  })
})

describe('a reservation that a version is on its way to', () => {
  const busy = new Set<string>()

  beforeEach(() => {
    busy.clear()
    space = new NamespaceState({ isBusy: (blob) => busy.has(blob) })
    publish('/file')
    keep(space.makeDirectory('/folder', false, 1))
    busy.add(reserve('/folder/image'))
    busy.add(reserve('/hidden/image'))
  })

  test('does not give way to a folder, a clone or what is moved', () => {
    const refused: [() => unknown, string][] = [
      [() => space.makeDirectory('/folder/image/sub', true, 2), 'ERR_NOT_DIRECTORY'],
      [() => space.makeDirectory('/folder/image', true, 2), 'ERR_PATH_EXISTS'],
      [() => reserve('/folder/image/sub'), 'ERR_NOT_DIRECTORY'],
      [() => reserve('/hidden'), 'ERR_IS_DIRECTORY'],
      [() => link('/folder/image'), 'ERR_PATH_EXISTS'],
      [() => link('/hidden'), 'ERR_PATH_EXISTS'],
      [() => space.rename('/folder', '/hidden', 2), 'ERR_PATH_EXISTS'],
      [() => space.rename('/file', '/hidden', 2), 'ERR_IS_DIRECTORY'],
      [() => space.remove('/folder', 'directory', 2), 'ERR_DIRECTORY_NOT_EMPTY']
    ]
    for (const [attempted, reason] of refused) expect(attempted).toThrow(code(reason))

    for (const blob of busy) keep(space.show(blob, 3))

    expect(tree(space, '/')).toEqual([
      '/file',
      '/folder',
      '/folder/image',
      '/hidden',
      '/hidden/image'
    ])
  })

  test('gives way once nothing is any more', () => {
    busy.clear()

    keep(space.makeDirectory('/folder/image/sub', true, 2))
    link('/hidden')
    keep(space.remove('/folder/image/sub', 'directory', 2))

    expect(tree(space, '/')).toEqual(['/file', '/folder', '/folder/image', '/hidden'])
  })
})

describe('a path that is given to a clone', () => {
  test('is seen at once, with the folders above it', () => {
    const blob = link('/a/b/clone')

    expect(space.lookup('/a/b/clone')).toEqual({ kind: 'file', path: '/a/b/clone', blob })
    expect(names('/a')).toEqual(['/a/b'])
    expect(space.hasPath(blob)).toBe(true)
  })

  test('may have been reserved', () => {
    const reserved = reserve('/image')
    reserve('/folder/image')

    const blob = link('/image')
    link('/folder')

    expect(space.blobAt('/image')).toBe(blob)
    expect(space.hasPath(reserved)).toBe(false)
    expect(names()).toEqual(['/folder', '/image'])
  })

  test('is free, and nothing has changed if it is not', () => {
    publish('/image')
    space.makeDirectory('/folder', false, 1)
    const refused: [string, string][] = [
      ['/image', 'ERR_PATH_EXISTS'],
      ['/folder', 'ERR_PATH_EXISTS'],
      ['/', 'ERR_PATH_EXISTS'],
      ['/image/x', 'ERR_NOT_DIRECTORY'],
      ['/x@3', 'ERR_INVALID_PATH'],
      ['x', 'ERR_INVALID_PATH']
    ]

    for (const [path, reason] of refused) expect(() => link(path)).toThrow(code(reason))

    expect(tree(space, '/')).toEqual(['/folder', '/image'])
  })
})

describe('a retention policy', () => {
  test('holds for everything below that has none of its own', () => {
    publish('/a/b/image')
    publish('/a/image')
    keep(space.setRetention('/', { last: 1 }))
    keep(space.setRetention('/a/b', { last: 2 }))

    expect(space.retention('/a/b/image')).toEqual({ policy: { last: 2 }, setFor: '/a/b' })
    expect(space.retention('/a/image')).toEqual({ policy: { last: 1 }, setFor: '/' })
    keep(space.setRetention('/', undefined))
    expect(space.retention('/a/image')).toEqual({ policy: {}, setFor: undefined })
    expect(space.setRetention('/', undefined)).toEqual([])
  })

  test('goes where its entry is moved to, and is gone with it', () => {
    publish('/a/image')
    publish('/image')
    keep(space.setRetention('/a', { last: 1 }))
    keep(space.setRetention('/image', { last: 2 }))

    keep(space.rename('/a', '/b', 5))
    keep(space.rename('/b/image', '/image', 5))

    expect(space.retention('/b')).toEqual({ policy: { last: 1 }, setFor: '/b' })
    expect(space.retention('/image')).toEqual({ policy: {}, setFor: undefined })
    expect(policies.size).toBe(1)
    keep(space.remove('/b', 'any', 6))
    expect(policies.size).toBe(0)
  })

  test('is found for the blob of a path, and for no other', () => {
    const blob = publish('/a/image')
    keep(space.setRetention('/a', { last: 4 }))

    expect(space.policyFor(blob)).toEqual({ last: 4 })
    keep(space.remove('/a/image', 'file', 5))
    expect(space.policyFor(blob)).toBeUndefined()
  })

  test('of an entry that is not there is a sign of a broken file', () => {
    expect(() => space.load({ kind: 'policy', entry: 7, policy: { last: 1 } })).toThrow(
      'no entry 7'
    )
  })
})

describe('a time that is set', () => {
  const setTime = { version: 2, modifiedMs: 1_000_000_000_000 }

  test('stays with a file wherever it goes, and a folder shows it until it changes', () => {
    publish('/a/image')
    keep(space.setModified('/a/image', setTime))
    keep(space.rename('/a/image', '/a/other', 5))
    keep(space.setModified('/a', setTime))

    expect(space.lookup('/a/other')).toMatchObject({ setTime })
    expect(space.lookup('/a')).toMatchObject({ modifiedMs: setTime.modifiedMs })
    expect([...rows.values()].find(({ name }) => name === 'other')).toMatchObject({ setTime })
    publish('/a/new')
    expect(space.lookup('/a')).toMatchObject({ modifiedMs: 2 })
  })

  test('is refused for the root, for what is not there and if no clock shows it', () => {
    publish('/image')
    const refused = [
      ['/', 1, code('ERR_INVALID_PATH')],
      ['/nothing', 1, code('ERR_PATH_NOT_FOUND')],
      ...[-1, 0.5, 8.65e15, Number.NaN].map((absurd) => ['/image', absurd, RangeError] as const)
    ] as const

    for (const [path, modifiedMs, reason] of refused) {
      expect(() => space.setModified(path, { version: 1, modifiedMs })).toThrow(reason)
    }
  })
})

describe('the bytes below a folder', () => {
  test('follow its files as they change, move and go', () => {
    const one = publish('/a/b/one')
    const two = publish('/a/two')
    space.setBytes(one, 10)
    space.setBytes(two, 5)
    const below = (...paths: string[]) => paths.map((path) => space.bytesBelow(path))
    expect(below('/', '/a', '/a/b', '/a/two', '/none')).toEqual([15, 15, 10, 5, 0])

    space.setBytes(one, 3)
    keep(space.rename('/a/b', '/c', 1))
    expect(below('/', '/a', '/c')).toEqual([8, 5, 3])
    keep(space.rename('/c/one', '/a/two', 1))
    expect(below('/', '/a', '/c')).toEqual([3, 3, 0])
    keep(space.remove('/a/two', 'file', 1))
    expect(below('/', '/a', '/c')).toEqual([0, 0, 0])
    space.setBytes(one, 7)
    expect(below('/')).toEqual([0])
  })
})

describe('the namespace', () => {
  test('refuses more entries than its limit, and is unchanged then', () => {
    space = new NamespaceState({ maxEntries: 3 })
    publish('/a')
    publish('/b')

    expect(() => space.reserved('/c/d')).toThrow(code('ERR_METADATA_LIMIT'))
    expect(() => space.makeDirectory('/c/d', true, 1)).toThrow(code('ERR_METADATA_LIMIT'))
    expect(names()).toEqual(['/a', '/b'])
  })

  test('is what its rows say, in whatever order they come', () => {
    const paths = ['/a', '/a/b', '/c', '/a/b/d', '/e/f']
    const step = fc.record({
      kind: fc.constantFrom(
        'publish',
        'reserve',
        'mkdir',
        'remove',
        'rename',
        'hide',
        'link',
        'policy'
      ),
      path: fc.constantFrom(...paths),
      to: fc.constantFrom(...paths)
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        space = new NamespaceState()
        rows = new Map()
        policies = new Map()
        for (const { kind, path, to } of steps) attempt(kind, path, to)

        const again = new NamespaceState()
        for (const row of Array.from(rows.values()).toReversed()) again.load(row)
        for (const row of policies.values()) again.load(row)

        expect(again.hasOrphans).toBe(false)
        expect(tree(again, '/')).toEqual(tree(space, '/'))
        for (const blob of again.blobs()) again.setBytes(blob, Number(blob))
        for (const path of ['/', ...paths]) {
          expect(space.bytesBelow(path)).toBe(again.bytesBelow(path))
        }
        for (const path of paths) expect(again.blobAt(path)).toBe(space.blobAt(path))
        for (const path of tree(space, '/')) {
          expect(again.retention(path)).toEqual(space.retention(path))
        }
      })
    )
  })

  test('notices rows that are in no folder', () => {
    space.load({
      kind: 'entry',
      id: 5,
      parent: 4,
      name: 'lost',
      blob: '1',
      isVisible: true,
      modifiedMs: 0
    })

    expect(space.hasOrphans).toBe(true)
  })
})

function attempt(kind: string, path: string, to: string): void {
  try {
    if (kind === 'publish') weigh(publish(path))
    if (kind === 'reserve' && space.reserved(path) === undefined) weigh(reserve(path))
    if (kind === 'mkdir') keep(space.makeDirectory(path, true, 1))
    if (kind === 'remove') keep(space.remove(path, 'any', 1))
    if (kind === 'rename') keep(space.rename(path, to, 1))
    if (kind === 'link') weigh(link(path))
    if (kind === 'policy') keep(space.setRetention(path, { last: path.length }))
    if (kind === 'hide') keep(space.hide(space.blobAt(path) ?? '', 1))
  } catch (error) {
    expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_/) })
  }
}

/** A file takes as many bytes as the number that stands for its blob. */
function weigh(blob: string): void {
  space.setBytes(blob, Number(blob))
}

function tree(of: NamespaceState, path: string): string[] {
  const paths: string[] = []
  for (const entry of of.list(path, undefined, 100)) {
    paths.push(entry.path)
    if (entry.kind === 'directory') paths.push(...tree(of, entry.path))
  }
  return paths
}
