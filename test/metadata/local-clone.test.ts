import { afterEach, describe, expect, test } from '@jest/globals'
import type { BlobId } from '../../src/metadata/types.ts'
import { verifyRecord, versionRecordName } from '../../src/metadata/version-record.ts'
import {
  assign,
  CHUNK_BYTES,
  CREATE,
  chunksOf,
  leaves,
  publish,
  putTree,
  restart,
  startStage,
  stopStages,
  type VersionStage
} from '../support/version-stage.ts'

afterEach(stopStages)

/** Publishes two versions at a path. */
async function image(stage: VersionStage, path = '/image'): Promise<BlobId> {
  const { blob } = await stage.versions.namespace.reserve(path, CREATE)
  await publish(stage, blob, leaves(0, 1))
  await publish(stage, blob, leaves(2))
  return blob
}

describe('a clone', () => {
  test('is seen at once, as version 0 of a blob of its own', async () => {
    const stage = await startStage()
    const { versions, clock } = stage
    const blob = await image(stage)
    clock.advance(7)

    const entry = await versions.namespace.clone({ blob, version: 1 }, '/clones/one')

    const file = { kind: 'file', path: '/clones/one', version: 0, bytes: 2 * CHUNK_BYTES }
    expect(entry).toEqual({ ...file, blob: entry.blob, modifiedMs: 7 })
    expect(entry.blob).not.toBe(blob)
    expect(await versions.namespace.lookup('/clones/one')).toEqual(entry)
    expect(await versions.namespace.list('/clones')).toEqual([entry])
    const summary = { version: 0, bytes: 2 * CHUNK_BYTES, timeMs: 7, note: '' }
    const published = { ...summary, condition: 'published', isPinned: false }
    expect(await versions.latest(entry.blob)).toEqual(published)
    expect(await versions.history(entry.blob)).toEqual([published])
    expect(await versions.waitPublished(entry.blob, 0)).toEqual(published)
    expect(await versions.newest(entry.blob)).toEqual({ version: 0, bytes: 2 * CHUNK_BYTES })
  })

  test('has a signed record that shares the manifest of its source', async () => {
    const stage = await startStage()
    const { versions, verifier, metadata } = stage
    const blob = await image(stage)
    const clone = await versions.namespace.clone({ blob, version: 2 }, '/clone')

    const signed = await versions.record(clone.blob, 0)

    const source = await versions.record(blob, 2)
    expect(
      verifyRecord(verifier, signed.envelope, { blob: clone.blob, version: 0 }).record
    ).toEqual({
      ...source.record,
      blob: clone.blob,
      version: 0,
      parent: { blob, version: 2 },
      timeMs: clone.modifiedMs,
      note: ''
    })
    const name = versionRecordName(clone.blob, 0)
    expect((await metadata.getRecords([name]))[0]?.envelope).toEqual(signed.envelope)
    expect(await versions.record(clone.blob, 0)).toEqual(signed)
  })

  test('is there again after a restart, sealed, retired and written over as it was', async () => {
    const before = await startStage({ stores: 'disk' })
    const blob = await image(before)
    const plain = await before.versions.namespace.clone({ blob, version: 1 }, '/plain')
    const sealed = await before.versions.namespace.clone({ blob, version: 1 }, '/sealed')
    const gone = await before.versions.namespace.clone({ blob, version: 1 }, '/gone')
    const record = await before.versions.record(sealed.blob, 0)
    await before.versions.setPinned({ blob: sealed.blob, version: 0 }, true)
    await before.versions.retire(gone.blob, 0)
    await publish(before, plain.blob, leaves(1))

    const { versions } = await restart(before)

    expect(await versions.namespace.lookup('/plain')).toMatchObject({
      blob: plain.blob,
      version: 1
    })
    expect((await versions.history(plain.blob)).map(({ version }) => version)).toEqual([0, 1])
    expect(await versions.record(sealed.blob, 0)).toEqual(record)
    expect(await versions.latest(sealed.blob)).toMatchObject({ version: 0, isPinned: true })
    expect(await versions.namespace.lookup('/gone')).toBeUndefined()
    await expect(versions.record(gone.blob, 0)).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_VERSION'
    })
  })

  test('is sealed by the way, when nothing is published any more', async () => {
    const stage = await startStage()
    const { versions, clock, metadata } = stage
    const blob = await image(stage)
    await versions.record(blob, 1)
    const clone = await versions.namespace.clone({ blob, version: 1 }, '/clone')
    const stored = Promise.withResolvers<void>()
    stage.faults.putRecords = async (records, options) => {
      delete stage.faults.putRecords
      await metadata.putRecords(records, options)
      stored.resolve()
    }

    clock.advance(1000)
    await stored.promise

    const [record] = await metadata.getRecords([versionRecordName(clone.blob, 0)])
    expect(record).toBeDefined()
  })

  test('is written over like any other, and only while nobody else has, if so asked', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage)
    const clone = await versions.namespace.clone({ blob, version: 2 }, '/clone')
    const list = leaves(1)
    const signed = await assign(stage, clone.blob, list, { ifNewest: 0, path: '/clone' })
    await putTree(stage, signed, list)
    await versions.commit(clone.blob, 1)

    const again = assign(stage, clone.blob, leaves(0), { ifNewest: 0 })

    await expect(again).rejects.toMatchObject({ code: 'ERR_TICKET_CONFLICT' })
    expect(await chunksOf(stage, signed)).toEqual([0, 1, 2])
    expect(await versions.namespace.lookup('/clone')).toMatchObject({ version: 1 })
    expect((await versions.history(blob)).length).toBe(2)
    const { record } = await versions.record(clone.blob, 1)
    expect(record.parent).toEqual({ blob, version: 2 })
  })

  test('of a version 0 stands for the same as that one does', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage)
    const first = await versions.namespace.clone({ blob, version: 1 }, '/first')
    await versions.retire(blob, 1)

    const second = await versions.namespace.clone({ blob: first.blob, version: 0 }, '/second')

    const { record } = await versions.record(second.blob, 0)
    expect(record).toMatchObject({ parent: { blob, version: 1 }, bytes: 2 * CHUNK_BYTES })
    const { ticket } = await assign(stage, second.blob, leaves(0))
    expect(ticket.base).toEqual({ blob, version: 1, span: 2 })
  })

  test('loses its path with its only version', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage)
    const clone = await versions.namespace.clone({ blob, version: 1 }, '/clone')

    await versions.retire(clone.blob, 0)

    expect(await versions.namespace.lookup('/clone')).toBeUndefined()
    expect(await versions.latest(clone.blob)).toBeUndefined()
    expect(await versions.history(clone.blob)).toEqual([])
    expect(await publish(stage, clone.blob, leaves(0))).toBe(1)
    expect(await versions.namespace.lookup('/clone')).toMatchObject({ version: 1 })
  })

  test('can be read though its source is retired, or has no path any more', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage)
    const clone = await versions.namespace.clone({ blob, version: 1 }, '/clone')
    await versions.retire(blob, 1)
    await versions.namespace.remove('/image', { kind: 'file' })

    expect((await versions.record(clone.blob, 0)).record.bytes).toBe(2 * CHUNK_BYTES)
    expect(await versions.latest(clone.blob)).toMatchObject({ version: 0 })
  })
})

describe('cloning', () => {
  test('is refused of what is not there to be read', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage)
    await assign(stage, blob, leaves(0))
    await versions.retire(blob, 1)
    const clone = (version: number, of = blob): Promise<unknown> =>
      versions.namespace.clone({ blob: of, version }, '/clone')

    const unknown = { code: 'ERR_UNKNOWN_VERSION' }
    await expect(clone(3)).rejects.toMatchObject(unknown)
    await expect(clone(1)).rejects.toMatchObject(unknown)
    await expect(clone(9)).rejects.toMatchObject(unknown)
    await expect(clone(0)).rejects.toMatchObject(unknown)
    await expect(clone(-1)).rejects.toMatchObject(unknown)
    await expect(clone(1, 'cd'.repeat(32))).rejects.toMatchObject({ code: 'ERR_UNKNOWN_BLOB' })
    expect(await versions.namespace.lookup('/clone')).toBeUndefined()
  })

  test('takes no path that something else has', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage)
    await versions.namespace.makeDirectory('/folder')
    const clone = (path: string): Promise<unknown> =>
      versions.namespace.clone({ blob, version: 1 }, path)

    await expect(clone('/image')).rejects.toMatchObject({ code: 'ERR_PATH_EXISTS' })
    await expect(clone('/folder')).rejects.toMatchObject({ code: 'ERR_PATH_EXISTS' })
    await expect(clone('/')).rejects.toMatchObject({ code: 'ERR_PATH_EXISTS' })
    await expect(clone('/image/x')).rejects.toMatchObject({ code: 'ERR_NOT_DIRECTORY' })
    await expect(clone('/x@1')).rejects.toMatchObject({ code: 'ERR_INVALID_PATH' })
    await expect(clone('x')).rejects.toMatchObject({ code: 'ERR_INVALID_PATH' })
    expect((await versions.namespace.list('/')).map(({ path }) => path)).toEqual([
      '/folder',
      '/image'
    ])
  })

  test('takes a path that is only reserved, unless a version is on its way there', async () => {
    const stage = await startStage()
    const { versions } = stage
    const blob = await image(stage)
    const reserved = await versions.namespace.reserve('/reserved', CREATE)
    const busy = await versions.namespace.reserve('/busy', CREATE)
    await assign(stage, busy.blob, leaves(0), { path: '/busy' })

    const clone = await versions.namespace.clone({ blob, version: 1 }, '/reserved')

    expect(await versions.namespace.lookup('/reserved')).toMatchObject({ blob: clone.blob })
    const late = assign(stage, reserved.blob, leaves(0), { path: '/reserved' })
    await expect(late).rejects.toMatchObject({ code: 'ERR_TICKET_CONFLICT' })
    const onto = versions.namespace.clone({ blob, version: 1 }, '/busy')
    await expect(onto).rejects.toMatchObject({ code: 'ERR_PATH_EXISTS' })
  })
})
