import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { verifyRecord, versionRecordName } from '../../src/metadata/version-record.ts'
import {
  assign,
  CHUNK_BYTES,
  CREATE,
  chunksOf,
  LEASE_MS,
  leaves,
  publish,
  putTree,
  restart,
  startStage,
  stopStages
} from '../support/version-stage.ts'

afterEach(stopStages)

describe('a version', () => {
  test('is seen under its path once it is committed, and can be waited for', async () => {
    const setting = await startStage()
    const { versions, clock } = setting
    const { blob } = await versions.namespace.reserve('/images/debian', CREATE)
    const list = leaves(0, 1)
    const signed = await assign(setting, blob, list, { path: '/images/debian', note: 'first' })
    const waiting = versions.waitPublished(blob, 1)
    await putTree(setting, signed, list)
    expect(await versions.namespace.lookup('/images/debian')).toBeUndefined()
    clock.advance(5)

    await versions.commit(blob, 1)

    const published = { version: 1, bytes: 2 * CHUNK_BYTES, timeMs: 5, note: 'first' }
    expect(await waiting).toEqual({ ...published, condition: 'published', isPinned: false })
    expect(await versions.latest(blob)).toEqual(await waiting)
    const file = { kind: 'file', blob, version: 1, bytes: 2 * CHUNK_BYTES, modifiedMs: 5 }
    expect(await versions.namespace.lookup('/images/debian')).toEqual({
      ...file,
      path: '/images/debian'
    })
    expect(await versions.namespace.list('/images')).toEqual([{ ...file, path: '/images/debian' }])
  })

  test('is shown with the time that was set for it, also after a restart, until the next', async () => {
    const before = await startStage({ stores: 'disk' })
    const { blob } = await before.versions.namespace.reserve('/folder/image', CREATE)
    await publish(before, blob, leaves(0, 1))
    await before.versions.namespace.setModified('/folder/image', 1_000_000_000_000)

    const after = await restart(before)

    const dated = { version: 1, modifiedMs: 1_000_000_000_000 }
    expect(await after.versions.namespace.lookup('/folder/image')).toMatchObject(dated)
    expect(await after.versions.namespace.usage('/folder')).toEqual({ bytes: 2 * CHUNK_BYTES })
    await publish(after, blob, leaves(0))
    expect(await after.versions.namespace.lookup('/folder/image')).toMatchObject({ version: 2 })
    expect(await after.versions.namespace.lookup('/folder/image')).not.toMatchObject(dated)
    await after.versions.retire(blob, 2)
    expect(await after.versions.namespace.lookup('/folder/image')).toMatchObject(dated)
    expect(await after.versions.namespace.usage('/')).toEqual({ bytes: 2 * CHUNK_BYTES })
  })

  test('is there again after a restart, with everything in flight', async () => {
    const before = await startStage({ stores: 'disk' })
    const { blob } = await before.versions.namespace.reserve('/image', CREATE)
    await publish(before, blob, leaves(0))
    const second = await assign(before, blob, leaves(1))
    await publish(before, blob, leaves(2))

    const after = await restart(before)

    expect(await after.versions.newest(blob)).toEqual({ version: 3, bytes: 3 * CHUNK_BYTES })
    expect((await after.versions.latest(blob))?.version).toBe(1)
    await putTree(after, second, leaves(1))
    await after.versions.commit(blob, 2)
    expect((await after.versions.namespace.lookup('/image')) ?? {}).toMatchObject({ version: 3 })
    expect(await after.versions.describe(blob)).toMatchObject(CREATE)
  })

  test('is of a state that knows when it began', async () => {
    const before = await startStage({ stores: 'disk' })
    before.clock.advance(1000)
    const beganMs = await before.versions.collected.beganMs()

    const after = await restart(before)

    expect(beganMs).toBeLessThan(before.clock.now())
    expect(await after.versions.collected.beganMs()).toBe(beganMs)
  })

  test('has no ticket without its leaf list, which nobody could finish', async () => {
    const setting = await startStage()
    const { blob } = await setting.versions.createBlob(CREATE)

    const assigned = assign(setting, blob, leaves(0), { leafList: chunkId(Buffer.from('none')) })

    await expect(assigned).rejects.toMatchObject({ code: 'ERR_METADATA_MISSING' })
    expect(await setting.versions.newest(blob)).toEqual({ version: 0, bytes: 0 })
  })

  test('has no ticket when its path names something else by now', async () => {
    const setting = await startStage()
    const { versions } = setting
    const { blob } = await versions.namespace.reserve('/image', CREATE)
    await publish(setting, blob, leaves(0))
    await versions.namespace.rename('/image', '/moved')

    const assigned = assign(setting, blob, leaves(0), { path: '/image' })

    await expect(assigned).rejects.toMatchObject({ code: 'ERR_TICKET_CONFLICT' })
    await expect(assign(setting, blob, leaves(0), { path: '/moved' })).resolves.toBeDefined()
  })

  test('of a writer that commits is known by that writer', async () => {
    const setting = await startStage()
    const { blob } = await setting.versions.createBlob(CREATE)
    await assign(setting, blob, leaves(0))

    expect(await setting.versions.writerOf(blob, 1)).toBe(setting.signer.peerId)
  })

  test('that is retired is gone from sight, and its path with the last one', async () => {
    const setting = await startStage()
    const { versions } = setting
    const { blob } = await versions.namespace.reserve('/image', CREATE)
    await publish(setting, blob, leaves(0))
    await publish(setting, blob, leaves(1))

    await versions.retire(blob, 2)
    expect(await versions.namespace.lookup('/image')).toMatchObject({ version: 1 })
    await versions.retire(blob, 1)

    expect(await versions.namespace.lookup('/image')).toBeUndefined()
    expect(await versions.history(blob)).toEqual([])
    await expect(versions.record(blob, 1)).rejects.toMatchObject({ code: 'ERR_UNKNOWN_VERSION' })
    expect(await publish(setting, blob, leaves(0))).toBe(3)
    expect(await versions.namespace.lookup('/image')).toMatchObject({ version: 3 })
  })

  test('is waited for until the caller gives up, or the manager stops', async () => {
    const setting = await startStage()
    const { versions } = setting
    const { blob } = await versions.createBlob(CREATE)
    await assign(setting, blob, leaves(0))
    const abort = new AbortController()
    const given = versions.waitPublished(blob, 1, { signal: abort.signal })
    const stopped = versions.waitPublished(blob, 1)

    abort.abort(new Error('given up'))
    await expect(given).rejects.toThrow('given up')
    const isStopped = expect(stopped).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
    await setting.stop()
    await isStopped

    await expect(versions.waitPublished(blob, 9)).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
    await expect(versions.latest(blob)).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
  })
})

describe('a version whose writer dies', () => {
  test('is rolled forward when its lease is over, and those above it appear', async () => {
    const setting = await startStage()
    const { versions, clock } = setting
    const { blob } = await versions.createBlob(CREATE)
    const dead = await assign(setting, blob, leaves(0, 3))
    const above = await assign(setting, blob, leaves(1))
    await putTree(setting, above, leaves(1))
    await versions.commit(blob, 2)
    expect(await versions.latest(blob)).toBeUndefined()

    clock.advance(LEASE_MS + 10)

    expect(await versions.waitPublished(blob, 2)).toMatchObject({ condition: 'published' })
    expect(await chunksOf(setting, dead)).toEqual([0, 3])
    expect(await chunksOf(setting, above)).toEqual([0, 1, 3])
  })

  test('is rolled forward after a restart too', async () => {
    const before = await startStage({ stores: 'disk' })
    const { blob } = await before.versions.createBlob(CREATE)
    const dead = await assign(before, blob, leaves(0, 3))
    await before.stop({ keepFolder: true })
    before.clock.advance(LEASE_MS + 10)

    const after = await restart(before)
    expect(await after.versions.latest(blob)).toBeUndefined()
    after.clock.advance(LEASE_MS + 10)

    await after.versions.waitPublished(blob, 1)
    expect(await chunksOf(after, dead)).toEqual([0, 3])
  })

  test('or is only slow, can still store the same nodes and commit', async () => {
    const setting = await startStage()
    const { versions, clock } = setting
    const { blob } = await versions.createBlob(CREATE)
    const slow = await assign(setting, blob, leaves(0, 3))
    clock.advance(LEASE_MS + 10)
    await versions.waitPublished(blob, 1)

    await putTree(setting, slow, leaves(0, 3))
    await versions.commit(blob, 1)

    await expect(versions.renew(blob, 1)).rejects.toMatchObject({ code: 'ERR_TICKET_CONFLICT' })
    expect((await versions.history(blob)).length).toBe(1)
  })

  test('is left to its writer while that renews the lease', async () => {
    const setting = await startStage()
    const { versions, clock } = setting
    const { blob } = await versions.createBlob(CREATE)
    await assign(setting, blob, leaves(0))
    clock.advance(LEASE_MS - 10)
    const renewed = await versions.renew(blob, 1)

    clock.advance(20)
    await nextTurn()

    expect(renewed).toBe(2 * LEASE_MS - 10)
    expect(await versions.renew(blob, 1)).toBe(2 * LEASE_MS + 10)
  })

  test('is tried again when metadata providers fail', async () => {
    const setting = await startStage()
    const { versions, clock, faults, log } = setting
    const { blob } = await versions.createBlob(CREATE)
    await assign(setting, blob, leaves(0))
    const failed = Promise.withResolvers<void>()
    faults.putNodes = async () => {
      delete faults.putNodes
      failed.resolve()
      throw new Error('metadata provider is gone')
    }
    clock.advance(LEASE_MS + 10)
    await failed.promise
    while (!log.lines.some(({ format }) => format.includes('cannot be'))) await nextTurn()

    clock.advance(1000)

    expect(await versions.waitPublished(blob, 1)).toMatchObject({ version: 1 })
  })

  test('is rolled forward though it had stored other nodes than it said it would', async () => {
    const setting = await startStage()
    const { versions, clock } = setting
    const { blob } = await versions.createBlob(CREATE)
    const promised = leaves(0, 1)
    const dishonest = await assign(setting, blob, promised)
    const other = new LeafListBuilder()
    for (const index of [0, 1]) {
      const chunk = chunkId(Buffer.from('other'))
      other.add(index, { at: 0, length: CHUNK_BYTES, chunk, chunkOffset: 0, replicas: [] })
    }
    await putTree(setting, dishonest, other.build())

    clock.advance(LEASE_MS + 10)

    expect(await versions.waitPublished(blob, 1)).toMatchObject({ version: 1 })
    expect(await chunksOf(setting, dishonest)).toEqual([0, 1])
  })

  test('is rolled forward without what does not fit its ticket', async () => {
    const setting = await startStage()
    const { versions, clock, log } = setting
    const { blob } = await versions.createBlob(CREATE)
    const ranges = [{ start: 0, end: 1 }]
    const dead = await assign(setting, blob, leaves(0, 3), { ranges })

    clock.advance(LEASE_MS + 10)
    await versions.waitPublished(blob, 1)

    expect(await chunksOf(setting, dead)).toEqual([0])
    expect(log.lines.some(({ format }) => format.includes('left out'))).toBe(true)
  })

  test('is rolled forward without its leaf list if that is malformed', async () => {
    const setting = await startStage()
    const { versions, metadata, clock } = setting
    const { blob } = await versions.createBlob(CREATE)
    const bytes = Buffer.from('not a leaf list, though the hash is right')
    await metadata.putPages([{ id: chunkId(bytes), bytes }])
    const dead = await assign(setting, blob, leaves(0, 1), { leafList: chunkId(bytes) })

    clock.advance(LEASE_MS + 10)
    await versions.waitPublished(blob, 1)

    expect(await chunksOf(setting, dead)).toEqual([])
  })
})

describe('sealing', () => {
  test('happens when a record is asked for, once, however many ask', async () => {
    const setting = await startStage()
    const { versions, verifier } = setting
    const { blob } = await versions.createBlob(CREATE)
    await publish(setting, blob, leaves(0))
    await publish(setting, blob, leaves(1))

    const [first, again, older] = await Promise.all([
      versions.record(blob, 2),
      versions.record(blob, 2),
      versions.record(blob, 1)
    ])

    expect(first).toEqual(again)
    expect(verifyRecord(verifier, first.envelope, { blob, version: 2 }).record).toMatchObject({
      bytes: 2 * CHUNK_BYTES,
      parent: { blob, version: 1 }
    })
    expect(older.record).toMatchObject({ version: 1, parent: undefined })
    const stored = await setting.metadata.getRecords([versionRecordName(blob, 2)])
    expect(stored[0]?.envelope).toEqual(first.envelope)
  })

  test('happens by itself when nothing is published any more, newest first', async () => {
    const setting = await startStage()
    const { versions, clock, faults, metadata } = setting
    const sealed: string[] = []
    const both = Promise.withResolvers<void>()
    const { blob: one } = await versions.createBlob(CREATE)
    const { blob: two } = await versions.createBlob(CREATE)
    faults.putRecords = async (records, options) => {
      sealed.push(...records.map(({ name }) => name).filter((name) => name.startsWith('version/')))
      if (sealed.length === 2) both.resolve()
      const hook = faults.putRecords
      delete faults.putRecords
      await metadata.putRecords(records, options)
      faults.putRecords = hook
    }
    await publish(setting, one, leaves(0), { truncates: true })
    await publish(setting, one, leaves(0, 1), { truncates: true })
    await publish(setting, two, leaves(0), { truncates: true })
    expect(sealed).toEqual([])

    clock.advance(1000)
    await both.promise

    expect(sealed).toEqual([versionRecordName(two, 1), versionRecordName(one, 2)])
  })

  test('is not waited for by who asks for the newest record that there is', async () => {
    const setting = await startStage()
    const { versions } = setting
    const { blob } = await versions.createBlob(CREATE)
    await publish(setting, blob, leaves(0))
    expect(await versions.sealed(blob)).toBeUndefined()
    const first = await versions.record(blob, 1)
    await publish(setting, blob, leaves(1))

    const newest = await versions.sealed(blob)

    expect(newest).toEqual(first)
    await versions.retire(blob, 1)
    expect(await versions.sealed(blob)).toBeUndefined()
  })

  test('is kept through a restart', async () => {
    const before = await startStage({ stores: 'disk' })
    const { blob } = await before.versions.createBlob(CREATE)
    await publish(before, blob, leaves(0))
    const record = await before.versions.record(blob, 1)

    const after = await restart(before)

    expect(await after.versions.record(blob, 1)).toEqual(record)
  })

  test('of a clone stands on its source', async () => {
    const setting = await startStage()
    const { versions } = setting
    const { blob } = await versions.createBlob(CREATE)
    await publish(setting, blob, leaves(0, 1))
    const clone = await versions.namespace.clone({ blob, version: 1 }, '/clone')
    const list = leaves(1)
    const signed = await assign(setting, clone.blob, list)
    await putTree(setting, signed, list)
    await versions.commit(clone.blob, 1)

    const { record } = await versions.record(clone.blob, 1)

    expect(record).toMatchObject({ bytes: 2 * CHUNK_BYTES, parent: { blob, version: 1 } })
    expect(await chunksOf(setting, signed)).toEqual([0, 1])
  })

  test('that fails is told to who asked, and done by the next who asks', async () => {
    const setting = await startStage()
    const { versions, faults } = setting
    const { blob } = await versions.createBlob(CREATE)
    await publish(setting, blob, leaves(0))
    faults.putPages = async () => {
      throw new Error('metadata provider is gone')
    }
    await expect(versions.record(blob, 1)).rejects.toThrow('metadata provider is gone')
    delete faults.putPages

    expect((await versions.record(blob, 1)).record.version).toBe(1)
  })
})

describe('paths', () => {
  test('are reserved for two writers alike, who make two versions of one blob', async () => {
    const setting = await startStage()
    const { versions } = setting

    const [one, two] = await Promise.all([
      versions.namespace.reserve('/image', CREATE),
      versions.namespace.reserve('/image', { ...CREATE, chunkBytes: CHUNK_BYTES * 2 })
    ])

    expect(two).toEqual(one)
  })

  test('of uploads that never finished are free again after days, at the next start', async () => {
    const before = await startStage({ stores: 'disk' })
    const { blob } = await before.versions.namespace.reserve('/a/image', CREATE)
    before.clock.advance(8 * 86_400_000)

    const after = await restart(before)

    expect((await after.versions.namespace.reserve('/a/image', CREATE)).blob).not.toBe(blob)
  })

  test('of uploads that are under way are not, however long ago they were reserved first', async () => {
    const before = await startStage({ stores: 'disk' })
    const { blob } = await before.versions.namespace.reserve('/image', CREATE)
    before.clock.advance(6 * 86_400_000)
    await before.versions.namespace.reserve('/image', CREATE)
    before.clock.advance(6 * 86_400_000)

    const after = await restart(before)

    expect((await after.versions.namespace.reserve('/image', CREATE)).blob).toBe(blob)
  })

  test('cannot have chunks too small for a manifest', async () => {
    const { versions } = await startStage()

    const reserved = versions.namespace.reserve('/image', { ...CREATE, chunkBytes: 4096 })

    await expect(reserved).rejects.toThrow('a chunk cannot have 4096 bytes')
    await expect(versions.createBlob({ ...CREATE, chunkBytes: 4096 })).rejects.toThrow(RangeError)
  })

  test('are made, listed, moved and removed durably', async () => {
    const before = await startStage({ stores: 'disk' })
    await before.versions.namespace.makeDirectory('/a/b', { parents: true })
    await before.versions.namespace.makeDirectory('/gone')
    await before.versions.namespace.rename('/a/b', '/c')
    await before.versions.namespace.remove('/gone', { kind: 'directory' })

    const { versions } = await restart(before)

    expect((await versions.namespace.list('/')).map(({ path }) => path)).toEqual(['/a', '/c'])
    expect(await versions.namespace.list('/', { after: 'a', limit: 1 })).toHaveLength(1)
  })
})
