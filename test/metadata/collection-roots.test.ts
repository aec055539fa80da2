import { beforeEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { toHex } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { isGone, type RootsView, refKey, rootsOf } from '../../src/metadata/collection-roots.ts'
import type { SignedEnvelope } from '../../src/metadata/signature-types.ts'
import type { VersionRef } from '../../src/metadata/types.ts'
import { VersionManagerState } from '../../src/metadata/version-manager.ts'

const SEAL: SignedEnvelope = {
  payload: new Uint8Array(1),
  signature: new Uint8Array(64),
  certificate: new Uint8Array(1)
}
const CREATE = { chunkBytes: 4, replicas: 1, isNamed: true }

let state: VersionManagerState
let paths: Set<string>
let held: Map<string, Set<number>>
let view: RootsView
let made = 0

beforeEach(() => {
  state = new VersionManagerState()
  paths = new Set()
  held = new Map()
  view = {
    blobs: () => state.blobs(),
    blob: (blob) => state.blob(blob),
    seal: (ref) => state.seal(ref),
    manifestBaseOf: (ref) => state.manifestBaseOf(ref),
    basesOf: (row) => state.basesOf(row),
    hasPath: (blob) => paths.has(blob),
    heldVersions: (blob) => held.get(blob) ?? new Set()
  }
})

const leafListIds = new Map<string, ChunkId>()

function leafListOf(blob: string, version: number): ChunkId {
  const name = `${blob}${version}`
  const list = leafListIds.get(name) ?? chunkId(Buffer.from(name))
  leafListIds.set(name, list)
  return list
}

function create(blob: string): void {
  state.createBlob(blob, CREATE, 0)
  paths.add(blob)
}

function clone(blob: string, from: string, version: number): void {
  state.cloneBlob(blob, { blob: from, version }, 0)
  paths.add(blob)
}

function assign(blob: string, truncates = false): number {
  const version = state.newest(blob).version + 1
  const leafList = leafListOf(blob, version)
  const ranges = [{ start: 0, end: 1 }]
  state.assign({ blob, writer: 'w', ranges, endBytes: 4, truncates, leafList }, 0)
  return version
}

/** Publishes versions: `w` is written over the one below, `t` truncates; capitals are sealed. */
function publish(blob: string, history: string): void {
  for (const kind of history) {
    const version = assign(blob, kind.toLowerCase() === 't')
    state.commit(blob, version, version)
    if (kind === kind.toUpperCase()) state.sealed(blob, version, SEAL)
  }
}

function retire(blob: string, ...versions: number[]): void {
  for (const version of versions) state.retire(blob, version)
}

/** Roots in short: `manifests | trees | leaf lists`, by blob. */
function roots(retired: readonly VersionRef[] = []): Record<string, string> {
  const refs = new Set(retired.map(refKey))
  return Object.fromEntries(
    rootsOf(view, refs).map(({ blob, published, manifests, trees, leafLists }) => {
      const names = new Map<string, string>()
      for (let at = 1; at <= 20; at++) names.set(toHex(leafListOf(blob, at)), String(at))
      const lists = leafLists.map((id) => names.get(toHex(id)))
      expect(published).toBe(state.blob(blob).published)
      return [blob, `${manifests.join(' ')} | ${trees.join(' ')} | ${lists.join(' ')}`]
    })
  )
}

describe('the roots of a blob', () => {
  test('are what can be read', () => {
    create('a')
    publish('a', 'WWWW')
    retire('a', 1, 3)

    expect(roots()).toEqual({ a: '2 4 | 2 4 | ' })
    expect(roots([{ blob: 'a', version: 2 }])).toEqual({ a: '4 | 4 | ' })
  })

  test('are the newest version even if it is retired, because the next stands on it', () => {
    create('a')
    publish('a', 'WW')
    retire('a', 1, 2)

    expect(roots()).toEqual({ a: '2 | 2 | ' })
  })

  test('are what is held, though it is retired or its path is gone', () => {
    create('a')
    publish('a', 'WWW')
    retire('a', 1, 2, 3)
    held.set('a', new Set([1]))
    paths.delete('a')

    expect(roots()).toEqual({ a: '1 3 | 1 3 | ' })
  })

  test('are leaf lists of versions in flight, and the trees that their writers stand on', () => {
    create('a')
    publish('a', 'WW')
    assign('a')
    assign('a')
    state.commit('a', 4, 9)
    retire('a', 1, 2)

    expect(roots()).toEqual({ a: '2 | 2 | 3 4' })
  })

  test('keep the trees under slow writers, and under who finishes in their place', () => {
    create('a')
    publish('a', 'W')
    for (let at = 0; at < 3; at++) assign('a')
    state.commit('a', 2, 2)
    state.sealed('a', 2, SEAL)
    retire('a', 1)
    const slow = roots()
    state.fence('a', 4)
    state.commit('a', 3, 3)
    state.sealed('a', 3, SEAL)
    retire('a', 2)
    const helped = roots()
    state.commit('a', 4, 4)
    state.sealed('a', 4, SEAL)
    retire('a', 3)

    expect(slow).toEqual({ a: '2 | 1 2 | 3 4' })
    expect(helped).toEqual({ a: '3 | 1 2 3 | 4' })
    expect(roots()).toEqual({ a: '4 | 4 | ' })
  })

  test('are what it takes to seal a version that is not sealed yet', () => {
    create('a')
    publish('a', 'WWwww')
    retire('a', 1, 2, 3, 4)

    expect(roots()).toEqual({ a: '2 5 | 2 5 | 3 4 5' })
    state.sealed('a', 3, SEAL)
    expect(roots()).toEqual({ a: '3 5 | 3 5 | 4 5' })
    state.sealed('a', 5, SEAL)
    expect(roots()).toEqual({ a: '5 | 5 | ' })
  })

  test('need nothing below a version that truncates to seal it', () => {
    create('a')
    publish('a', 'wwtw')
    retire('a', 1, 2, 3)

    expect(roots()).toEqual({ a: '4 | 4 | 3 4' })
  })

  test('are none once no path names it and nothing of it is in use', () => {
    create('a')
    publish('a', 'WW')
    retire('a', 1)
    paths.delete('a')
    const whileReadable = roots()
    assign('a')
    retire('a', 2)
    const inFlight = roots()
    state.commit('a', 3, 3)
    retire('a', 3)

    expect(whileReadable).toEqual({ a: '2 | 2 | ' })
    expect(inFlight).toEqual({ a: '2 | 2 | 3' })
    expect(roots()).toEqual({ a: ' |  | ' })
  })

  test('are none once what is left is about to be retired', () => {
    create('a')
    publish('a', 'WW')
    paths.delete('a')

    const retired = [1, 2].map((version) => ({ blob: 'a', version }))

    expect(roots(retired)).toEqual({ a: ' |  | ' })
    expect(roots(retired.slice(1))).toEqual({ a: '1 2 | 1 2 | ' })
  })
})

describe('the roots of clones', () => {
  test('are version 0, and the tree that it stands for', () => {
    create('a')
    publish('a', 'WW')
    clone('b', 'a', 1)
    state.sealed('b', 0, SEAL)
    retire('a', 1)

    expect(roots()).toEqual({ a: '2 | 1 2 | ', b: '0 |  | ' })
  })

  test('outlive the source', () => {
    create('a')
    publish('a', 'WW')
    clone('b', 'a', 1)
    publish('b', 'W')
    clone('c', 'b', 0)
    state.sealed('c', 0, SEAL)
    retire('a', 1, 2)
    retire('b', 0, 1)
    paths.delete('a')
    paths.delete('b')

    expect(roots()).toEqual({ a: ' | 1 | ', b: ' |  | ', c: '0 |  | ' })
  })

  test('reach through a clone of a clone', () => {
    create('a')
    publish('a', 'W')
    clone('b', 'a', 1)
    publish('b', 'WW')
    clone('c', 'b', 1)
    publish('c', 'W')
    retire('a', 1)
    retire('b', 0, 1, 2)
    paths.delete('a')
    paths.delete('b')
    retire('c', 0)

    expect(roots()).toEqual({ a: ' | 1 | ', b: ' | 1 | ', c: '1 | 1 | ' })
  })

  test('let go of the source once nothing stands on it any more', () => {
    create('a')
    publish('a', 'W')
    clone('b', 'a', 1)
    publish('b', 'WTW')
    retire('a', 1)
    paths.delete('a')
    state.sealed('b', 0, SEAL)
    const before = roots()
    retire('b', 0)
    const withFirst = roots()
    retire('b', 1)

    expect(before).toEqual({ a: ' | 1 | ', b: '0 1 2 3 | 1 2 3 | ' })
    expect(withFirst['a']).toBe(' | 1 | ')
    expect(roots()).toEqual({ a: ' |  | ', b: '2 3 | 2 3 | ' })
  })

  test('keep it while a writer may still be weaving over it', () => {
    create('a')
    publish('a', 'W')
    clone('b', 'a', 1)
    state.sealed('b', 0, SEAL)
    assign('b')
    retire('a', 1)
    retire('b', 0)
    paths.delete('a')

    expect(roots()).toEqual({ a: ' | 1 | ', b: '0 |  | 1' })
  })

  test('that are not sealed need all that it takes to seal their source', () => {
    create('a')
    publish('a', 'Www')
    clone('b', 'a', 3)
    retire('a', 1, 2, 3)
    paths.delete('a')

    expect(roots()).toEqual({ a: '1 | 1 3 | 2 3', b: '0 |  | ' })
    for (const version of [2, 3]) state.sealed('a', version, SEAL)
    expect(roots()).toEqual({ a: '3 | 3 | ', b: '0 |  | ' })
  })
})

const gone = (blob: string): boolean => isGone(view, state.blob(blob))

describe('a blob', () => {
  test('that never had a path is not gone before something was published', () => {
    state.createBlob('raw', { chunkBytes: 4, replicas: 1 }, 0)

    expect(gone('raw')).toBe(false)
    publish('raw', 'W')
    expect(gone('raw')).toBe(false)
    retire('raw', 1)
    expect(gone('raw')).toBe(true)
  })

  test('whose upload never came to a version is gone with its path', () => {
    create('a')

    expect(gone('a')).toBe(false)
    paths.delete('a')
    expect(gone('a')).toBe(true)
  })
})

const OPERATIONS = [
  'create',
  'clone',
  'assign',
  'assign',
  'truncate',
  'commit',
  'commit',
  'seal',
  'retire',
  'retire',
  'retire',
  'hold',
  'release',
  'release',
  'unlink',
  'fence',
  'forget'
] as const

/** Carries out one step, as far as the version manager would allow it. */
function step(kind: (typeof OPERATIONS)[number], draw: (below: number) => number): void {
  const all = Array.from(state.blobs(), ({ row }) => row.blob)
  const blob = all[draw(all.length)]
  if (blob === undefined || (kind === 'create' && all.length < 3)) {
    return create(`blob ${++made}`)
  }
  const readable = state.history(blob).map(({ version }) => version)
  const one = readable[draw(readable.length)]
  const open = Array.from(state.open()).filter((row) => row.blob === blob)
  switch (kind) {
    case 'create':
      break
    case 'clone':
      if (one !== undefined && all.length < 3) clone(`clone ${++made}`, blob, one)
      break
    case 'assign':
    case 'truncate':
      if (!isGone(view, state.blob(blob))) assign(blob, kind === 'truncate')
      break
    case 'commit':
      if (open.length > 0) state.commit(blob, open[draw(open.length)]!.version, 1)
      break
    case 'fence':
      if (open.length > 0) state.fence(blob, open[draw(open.length)]!.version)
      break
    case 'seal':
      seal(blob, draw)
      break
    case 'retire':
      if (one !== undefined) state.retire(blob, one)
      break
    case 'hold':
      if (one !== undefined) held.set(blob, new Set([...(held.get(blob) ?? []), one]))
      break
    case 'release':
      held.delete(blob)
      break
    case 'unlink':
      paths.delete(blob)
      break
    case 'forget':
      if (isGone(view, state.blob(blob)) && roots()[blob] === ' |  | ') state.forget(blob)
      break
  }
}

/** Seals a version that stays, if what it is made from is there. */
function seal(blob: string, draw: (below: number) => number): void {
  const { manifests } = rootsOf(view).find((some) => some.blob === blob)!
  const version = manifests[draw(manifests.length)]
  if (version === undefined) return
  let next: VersionRef | undefined = { blob, version }
  const unsealed: VersionRef[] = []
  while (next !== undefined && state.seal(next) === undefined) {
    unsealed.push(next)
    next = state.manifestBaseOf(next)
  }
  const last = unsealed.at(-1)
  if (last !== undefined) state.sealed(last.blob, last.version, SEAL)
}

/** Names what is missing from the roots, or back among them, and notes what nothing protects. */
function problemsOf(letGo: Set<string>): string[] {
  const problems: string[] = []
  for (const { blob, manifests, trees, leafLists } of rootsOf(view)) {
    const { row, published } = state.blob(blob)
    const named = new Set(leafLists.map(toHex))
    for (const { version } of state.history(blob)) {
      if (!manifests.includes(version)) problems.push(`manifest of ${blob}/${version}`)
    }
    for (const version of manifests) {
      if (version > 0 && !trees.includes(version)) problems.push(`tree of ${blob}/${version}`)
    }
    for (let version = row.source === undefined ? 1 : 0; version <= published; version++) {
      const isKept =
        manifests.includes(version) ||
        trees.includes(version) ||
        named.has(toHex(leafListOf(blob, version)))
      const key = refKey({ blob, version })
      if (!isKept) letGo.add(key)
      else if (letGo.has(key)) problems.push(`${key} is needed again`)
    }
  }
  return problems
}
test('in any history what was let go is never needed again, and what can be read stays', () => {
  const anySteps = fc.array(fc.tuple(fc.constantFrom(...OPERATIONS), fc.nat()), {
    minLength: 40,
    maxLength: 80
  })

  fc.assert(
    fc.property(anySteps, (steps) => {
      state = new VersionManagerState()
      paths = new Set()
      held = new Map()
      const letGo = new Set<string>()
      for (const [kind, seed] of steps) {
        const random = seededRandom(seed)
        step(kind, (below) => Math.floor(random() * below))
        expect(problemsOf(letGo)).toEqual([])
      }
    }),
    { numRuns: 150 }
  )
})
