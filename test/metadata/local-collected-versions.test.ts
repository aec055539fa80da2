import { afterEach, describe, expect, test } from '@jest/globals'
import { nextTurn } from '../../src/lib/turn.ts'
import type { BlobRoots } from '../../src/metadata/collection-types.ts'
import type { BlobId, Version } from '../../src/metadata/types.ts'
import {
  assign,
  CREATE,
  LEASE_MS,
  leaves,
  publish,
  putTree,
  restart,
  startStage,
  stopStages,
  type VersionStage
} from '../support/version-stage.ts'

const DAY_MS = 86_400_000

afterEach(stopStages)

/** Publishes so many versions at a path. */
async function image(stage: VersionStage, path: string, count: number): Promise<BlobId> {
  const { blob } = await stage.versions.namespace.reserve(path, CREATE)
  for (let at = 0; at < count; at++) await publish(stage, blob, leaves(at))
  return blob
}

async function readable({ versions }: VersionStage, blob: BlobId): Promise<Version[]> {
  return (await versions.history(blob)).map(({ version }) => version)
}

async function rootsOf({ versions }: VersionStage, blob: BlobId): Promise<BlobRoots | undefined> {
  return (await versions.collected.roots([])).find((roots) => roots.blob === blob)
}

async function apply({ versions }: VersionStage, isDryRun = false): Promise<string[]> {
  const retired = await versions.collected.applyRetention({ isDryRun })
  return retired.map(({ blob, version }) => `${blob.slice(0, 4)} ${version}`).toSorted()
}

describe('retention', () => {
  test('goes by the nearest policy above a file', async () => {
    const stage = await startStage()
    const { versions } = stage
    const own = await image(stage, '/a/own', 4)
    const inherited = await image(stage, '/a/b/inherited', 4)
    const free = await image(stage, '/free', 4)
    await versions.namespace.setRetention('/a', { last: 2 })
    await versions.namespace.setRetention('/a/own', { last: 3 })

    await apply(stage)

    expect(await readable(stage, own)).toEqual([2, 3, 4])
    expect(await readable(stage, inherited)).toEqual([3, 4])
    expect(await readable(stage, free)).toEqual([1, 2, 3, 4])
    expect(await versions.namespace.retention('/a/b/inherited')).toEqual({
      policy: { last: 2 },
      setFor: '/a'
    })
    expect(await versions.namespace.retention('/free')).toEqual({ policy: {}, setFor: undefined })
  })

  test('of the root folder holds everywhere, and an empty one keeps all again', async () => {
    const stage = await startStage()
    const { versions } = stage
    const short = await image(stage, '/short', 3)
    const all = await image(stage, '/all', 3)
    await versions.namespace.setRetention('/', { last: 1 })
    await versions.namespace.setRetention('/all', {})

    await apply(stage)

    expect(await readable(stage, short)).toEqual([3])
    expect(await readable(stage, all)).toEqual([1, 2, 3])
    await versions.namespace.setRetention('/all', undefined)
    expect(await versions.namespace.retention('/all')).toEqual({ policy: { last: 1 }, setFor: '/' })
  })

  test('by age counts from the publication', async () => {
    const stage = await startStage()
    const { versions, clock } = stage
    const { blob } = await versions.namespace.reserve('/image', CREATE)
    for (let at = 0; at < 3; at++) {
      await publish(stage, blob, leaves(at))
      clock.advance(DAY_MS)
    }
    await versions.namespace.setRetention('/image', { youngerMs: 2.5 * DAY_MS })

    await apply(stage)

    expect(await readable(stage, blob)).toEqual([2, 3])
  })

  test('says in a dry run what it would do, and does it later', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage, '/image', 3)
    await versions.namespace.setRetention('/', { last: 1 })

    const told = await apply(stage, true)

    expect(await readable(stage, blob)).toEqual([1, 2, 3])
    expect(told).toEqual([`${blob.slice(0, 4)} 1`, `${blob.slice(0, 4)} 2`])
    expect(await apply(stage)).toEqual(told)
    expect(await apply(stage)).toEqual([])
    expect(await readable(stage, blob)).toEqual([3])
  })

  test('passes over what is pinned or held', async () => {
    const stage = await startStage()
    const { versions, clock } = stage
    const blob = await image(stage, '/image', 4)
    await versions.namespace.setRetention('/image', { last: 1 })
    await versions.setPinned({ blob, version: 1 }, true)
    const hold = { blob, version: 3, holder: 'peer', purpose: 'pull' }
    await versions.hold({ ...hold, forMs: 1000 })

    await apply(stage)
    const held = await readable(stage, blob)
    clock.advance(1000)
    await versions.setPinned({ blob, version: 1 }, false)
    await apply(stage)

    expect(held).toEqual([1, 3, 4])
    expect(await readable(stage, blob)).toEqual([4])
  })

  test('counts version 0 of a clone like the others', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage, '/image', 1)
    const clone = await versions.namespace.clone({ blob, version: 1 }, '/clone')
    await publish(stage, clone.blob, leaves(1))
    await versions.namespace.setRetention('/clone', { last: 1 })

    await apply(stage)

    expect(await readable(stage, clone.blob)).toEqual([1])
  })

  test('policies stay with what is moved and go with what is removed, also over restarts', async () => {
    const before = await startStage({ stores: 'disk' })
    await image(before, '/kept', 1)
    await image(before, '/gone', 1)
    await before.versions.namespace.setRetention('/', { youngerMs: DAY_MS })
    await before.versions.namespace.setRetention('/kept', { last: 5 })
    await before.versions.namespace.setRetention('/gone', { last: 6 })
    await before.versions.namespace.rename('/kept', '/moved')
    await before.versions.namespace.remove('/gone', { kind: 'file' })

    const { versions } = await restart(before)

    expect(await versions.namespace.retention('/moved')).toEqual({
      policy: { last: 5 },
      setFor: '/moved'
    })
    expect(await versions.namespace.retention('/')).toEqual({
      policy: { youngerMs: DAY_MS },
      setFor: '/'
    })
    await expect(versions.namespace.retention('/gone')).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND'
    })
    await versions.namespace.makeDirectory('/gone')
    expect((await versions.namespace.retention('/gone')).setFor).toBe('/')
  })

  test('is not set for what is not there, or to what cannot be meant', async () => {
    const stage = await startStage()
    const { versions } = stage
    await versions.namespace.reserve('/reserved', CREATE)

    const lost = { code: 'ERR_PATH_NOT_FOUND' }
    await expect(versions.namespace.setRetention('/none', { last: 1 })).rejects.toMatchObject(lost)
    await expect(versions.namespace.setRetention('/reserved', { last: 1 })).rejects.toMatchObject(
      lost
    )
    await expect(versions.namespace.setRetention('/', { last: 0 })).rejects.toThrow(RangeError)
    await expect(versions.namespace.setRetention('/', { youngerMs: -1 })).rejects.toThrow(
      RangeError
    )
    expect((await versions.namespace.retention('/')).setFor).toBeUndefined()
  })
})

describe('a removed path', () => {
  test('takes all versions of its blob with it at the next collection', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage, '/image', 2)
    await versions.namespace.remove('/image', { kind: 'file' })
    const before = await rootsOf(stage, blob)

    const retired = await apply(stage)

    expect(before?.manifests).toEqual([1, 2])
    expect(retired).toHaveLength(2)
    const none = { manifests: [], trees: [], leafLists: [] }
    expect(await rootsOf(stage, blob)).toMatchObject(none)
    await expect(assign(stage, blob, leaves(0))).rejects.toMatchObject({ code: 'ERR_UNKNOWN_BLOB' })
    await versions.collected.forget([blob])
    expect(await versions.describe(blob)).toBeUndefined()
    expect(await rootsOf(stage, blob)).toBeUndefined()
  })

  test('is seen through in a dry run', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage, '/image', 2)
    await versions.namespace.remove('/image', { kind: 'file' })

    const retired = await versions.collected.applyRetention({ isDryRun: true })

    const roots = await versions.collected.roots(retired)
    expect(roots).toMatchObject([{ blob, manifests: [], trees: [] }])
    expect(await readable(stage, blob)).toEqual([1, 2])
  })

  test('leaves what is held, in flight or pinned', async () => {
    const stage = await startStage()
    const { versions, clock } = stage
    const held = await image(stage, '/held', 2)
    const written = await image(stage, '/written', 2)
    const hold = { blob: held, version: 1, holder: 'peer', purpose: 'pull' }
    await versions.hold({ ...hold, forMs: 1000 })
    const list = leaves(0)
    const signed = await assign(stage, written, list)
    for (const path of ['/held', '/written'])
      await versions.namespace.remove(path, { kind: 'file' })

    expect(await apply(stage)).toEqual([])

    await putTree(stage, signed, list)
    await versions.commit(written, 3)
    clock.advance(1000)
    expect(await apply(stage)).toHaveLength(5)
    expect(await versions.collected.applyRetention({ isDryRun: false })).toEqual([])
  })

  test('is refused while a version is pinned, also by a rename over it', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage, '/image', 2)
    await image(stage, '/other', 1)
    await versions.setPinned({ blob, version: 1 }, true)

    const pinned = { code: 'ERR_VERSION_PINNED', blob, version: 1 }
    await expect(versions.namespace.remove('/image', { kind: 'any' })).rejects.toMatchObject(pinned)
    await expect(versions.namespace.rename('/other', '/image')).rejects.toMatchObject(pinned)
    await expect(versions.retire(blob, 1)).rejects.toMatchObject(pinned)
    await versions.namespace.rename('/image', '/moved')
    await versions.namespace.rename('/moved', '/moved')
    await versions.retire(blob, 2)
    await versions.setPinned({ blob, version: 1 }, false)
    await versions.namespace.remove('/moved', { kind: 'file' })
    expect(await versions.namespace.lookup('/moved')).toBeUndefined()
  })

  test('of a source leaves what its clones stand on', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage, '/image', 3)
    const clone = await versions.namespace.clone({ blob, version: 2 }, '/clone')
    await versions.namespace.remove('/image', { kind: 'file' })
    await apply(stage)

    const { record } = await versions.collected.recordOf({ blob: clone.blob, version: 0 })

    expect(record.parent).toEqual({ blob, version: 2 })
    expect(await rootsOf(stage, blob)).toMatchObject({ manifests: [], trees: [2] })
    await versions.collected.forget([blob])
    expect(await versions.describe(blob)).toBeDefined()
    const written = await assign(stage, clone.blob, leaves(0))
    await putTree(stage, written, leaves(0))
    await versions.commit(clone.blob, 1)
    expect((await versions.record(clone.blob, 1)).record.parent).toEqual({ blob, version: 2 })
  })
})

describe('a blob without a path', () => {
  test('is removed a day after it was made', async () => {
    const stage = await startStage()
    const { versions, clock } = stage
    const { blob } = await versions.createBlob(CREATE)
    const { blob: empty } = await versions.createBlob(CREATE)
    await publish(stage, blob, leaves(0))
    clock.advance(DAY_MS - 1)
    expect(await apply(stage)).toEqual([])
    await versions.collected.forget([blob, empty])
    expect(await versions.describe(empty)).toBeDefined()

    clock.advance(1)

    expect(await apply(stage)).toHaveLength(1)
    await versions.collected.forget([blob, empty, 'cd'.repeat(32)])
    expect(await versions.collected.roots([])).toEqual([])
  })

  test('is forgotten for good', async () => {
    const before = await startStage({ stores: 'disk' })
    const blob = await image(before, '/image', 2)
    const kept = await image(before, '/kept', 1)
    await before.versions.namespace.remove('/image', { kind: 'file' })
    await apply(before)
    await before.versions.collected.forget([blob, kept])

    const { versions } = await restart(before)

    expect((await versions.collected.roots([])).map((roots) => roots.blob)).toEqual([kept])
    expect(await versions.describe(blob)).toBeUndefined()
  })

  test('that was reserved and never written is forgotten with its reservation', async () => {
    const stage = await startStage()
    const { versions, clock } = stage
    const { blob } = await versions.namespace.reserve('/image', CREATE)
    await apply(stage)
    await versions.collected.forget([blob])
    expect(await versions.describe(blob)).toBeDefined()
    expect(await versions.collected.roots([])).toEqual([])

    clock.advance(7 * DAY_MS + 1)
    await apply(stage)
    expect(await versions.collected.roots([])).toMatchObject([{ blob, manifests: [], trees: [] }])
    await versions.collected.forget([blob])

    expect(await versions.describe(blob)).toBeUndefined()
  })
})

describe('a hold', () => {
  const named = { holder: 'peer', purpose: 'pull' }

  test('goes on through a restart, and ends when its time is over', async () => {
    const before = await startStage({ stores: 'disk' })
    const blob = await image(before, '/image', 2)
    await before.versions.record(blob, 2)
    const hold = { blob, version: 1, ...named }
    expect(await before.versions.hold({ ...hold, forMs: 10_000 })).toBe(10_000)
    await before.versions.retire(blob, 1)
    before.clock.advance(4000)

    const after = await restart(before)

    await apply(after)
    expect((await rootsOf(after, blob))?.manifests).toEqual([1, 2])
    expect(await after.versions.hold({ ...hold, forMs: 10_000 })).toBe(14_000)
    after.clock.advance(10_000)
    await expect(after.versions.hold({ ...hold, forMs: 1 })).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_VERSION'
    })
    await apply(after)
    expect((await rootsOf(after, blob))?.manifests).toEqual([2])
  })

  test('that is released lets go at once, and for good', async () => {
    const before = await startStage({ stores: 'disk' })
    const blob = await image(before, '/image', 2)
    const hold = { blob, version: 1, ...named }
    await before.versions.hold({ ...hold, forMs: 10_000 })
    await before.versions.retire(blob, 1)
    await before.versions.release(hold)
    await before.versions.release(hold)

    const after = await restart(before)

    expect((await rootsOf(after, blob))?.manifests).toEqual([2])
  })

  test('is only for what can be read', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage, '/image', 2)
    const clone = await versions.namespace.clone({ blob, version: 2 }, '/clone')
    await assign(stage, blob, leaves(0))
    await versions.retire(blob, 1)
    const hold = (version: Version, of = blob) =>
      versions.hold({ blob: of, version, ...named, forMs: 1000 })

    for (const version of [0, 1, 3, 9]) {
      await expect(hold(version)).rejects.toMatchObject({ code: 'ERR_UNKNOWN_VERSION' })
    }
    await expect(hold(1, 'cd'.repeat(32))).rejects.toMatchObject({ code: 'ERR_UNKNOWN_BLOB' })
    expect(await hold(0, clone.blob)).toBe(1000)
    await expect(versions.setPinned({ blob, version: 9 }, true)).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_VERSION'
    })
    await expect(versions.setPinned({ blob, version: 1 }, true)).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_VERSION'
    })
  })
})

describe('what collection asks', () => {
  test('what versions wrote is known after they are published, and after a restart', async () => {
    const before = await startStage({ stores: 'disk' })
    const blob = await image(before, '/image', 0)
    await publish(before, blob, leaves(0, 1, 5))
    await publish(before, blob, leaves(0), { truncates: true })
    await assign(before, blob, leaves(7))
    const expected = [
      {
        version: 1,
        ranges: [
          { start: 0, end: 2 },
          { start: 5, end: 6 }
        ],
        span: 8
      },
      { version: 2, ranges: [{ start: 0, end: 1 }], truncates: true, previousSpan: 8 },
      { version: 3, ranges: [{ start: 7, end: 8 }] }
    ]
    expect(await before.versions.collected.assigned(blob, { from: 1, to: 3 })).toMatchObject(
      expected
    )

    const { versions } = await restart(before)

    expect(await versions.collected.assigned(blob, { from: 1, to: 9 })).toMatchObject(expected)
    expect(await versions.collected.assigned(blob, { from: 2, to: 2 })).toMatchObject(
      expected.slice(1, 2)
    )
    expect(await versions.collected.assigned(blob, { from: 4, to: 3 })).toEqual([])
    await expect(
      versions.collected.assigned('cd'.repeat(32), { from: 1, to: 1 })
    ).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_BLOB'
    })
  })

  test('records are given of what is retired, not of what is in flight', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage, '/image', 2)
    await assign(stage, blob, leaves(0))
    await versions.retire(blob, 1)

    expect((await versions.collected.recordOf({ blob, version: 1 })).record.version).toBe(1)
    await expect(versions.collected.recordOf({ blob, version: 3 })).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_VERSION'
    })
  })
})

describe('a clock that is set', () => {
  test('fences no writer, and finishes none later', async () => {
    const stage = await startStage()
    const { versions, clock } = stage
    clock.jump(365 * DAY_MS)
    const { blob } = await versions.createBlob(CREATE)
    await assign(stage, blob, leaves(0))
    clock.jump(30 * DAY_MS)
    clock.advance(LEASE_MS - 10)
    await nextTurn()

    const renewedUntilMs = await versions.renew(blob, 1)
    clock.jump(-60 * DAY_MS)
    expect(await versions.renew(blob, 1)).toBe(renewedUntilMs - 60 * DAY_MS)
    clock.advance(LEASE_MS + 10)

    expect(await versions.waitPublished(blob, 1)).toMatchObject({ condition: 'published' })
  })

  test('while the version manager was down gives writers a whole lease', async () => {
    const before = await startStage({ stores: 'disk' })
    const { blob } = await before.versions.createBlob(CREATE)
    await assign(before, blob, leaves(0))
    await before.stop({ keepFolder: true })
    before.clock.jump(30 * DAY_MS)

    const { versions, clock } = await restart(before)

    clock.advance(LEASE_MS - 10)
    await nextTurn()
    await expect(versions.renew(blob, 1)).resolves.toBe(clock.now() + LEASE_MS)
  })
})
