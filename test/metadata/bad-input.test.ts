import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { equalBytes } from '../../src/lib/bytes.ts'
import { type LeafList, LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../src/metadata/leaf-list-codec.ts'
import type { TicketRequest } from '../../src/metadata/ticket-types.ts'
import type { BlobId, ChunkRange, Version } from '../../src/metadata/types.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { readByManifest, readByTree } from '../support/version-reads.ts'

const CHUNK_BYTES = 65_536
const PATH = '/image'
const BYTES = 4 * CHUNK_BYTES
const CONTENT = new Uint8Array(sampleBytes(BYTES, 1))
const OTHER = sampleBytes(CHUNK_BYTES, 7)
const LEASE_MS = 30_000
const DAY_MS = 86_400_000
const NOBODY = 'ee'.repeat(32)

let clock: ManualClock
let setting: TestRepository
let blob: BlobId

beforeEach(async () => {
  clock = new ManualClock()
  clock.jump(10 * DAY_MS)
  setting = await startTestRepository({ clock, chunkBytes: CHUNK_BYTES })
  const writer = await setting.repository.openWrite(PATH, { mode: 'replace' })
  await writer.write(0, CONTENT)
  await writer.publish()
  const entry = await setting.versions.namespace.lookup(PATH)
  blob = entry?.kind === 'file' ? entry.blob : ''
})

afterEach(async () => {
  await setting.stop()
})

/** Reads a version of four chunks both ways; both must be the same. */
async function read(version: Version): Promise<Uint8Array> {
  const { repository, metadata, pool: reader } = setting
  const snapshot = await repository.openRead(`${PATH}@${version}`)
  const root = { blob, version, span: 4 }
  const tree = { root, bytes: snapshot.bytes, chunkBytes: CHUNK_BYTES }
  const byManifest = await readByManifest(snapshot)
  expect(equalBytes(await readByTree({ metadata, reader }, tree), byManifest)).toBe(true)
  return byManifest
}

/** Asserts that version 1 is all there is and reads as ever, and that a version can be added. */
async function expectNothingChanged(): Promise<void> {
  const { versions, repository } = setting
  expect(await versions.newest(blob)).toEqual({ version: 1, bytes: BYTES })
  expect((await repository.history(PATH)).map(({ version }) => version)).toEqual([1])
  expect(equalBytes(await read(1), CONTENT)).toBe(true)
  const writer = await repository.openWrite(PATH, { mode: 'patch' })
  await writer.write(0, sampleBytes(10, 2))
  expect(await writer.publish()).toMatchObject({ version: 2 })
}

function requestOf(fields: Partial<TicketRequest> = {}): TicketRequest {
  return {
    blob,
    writer: setting.signer.peerId,
    ranges: [],
    endBytes: BYTES,
    truncates: false,
    leafList: chunkId(new Uint8Array()),
    ...fields
  }
}

async function putLeafList(list: LeafList): Promise<ChunkId> {
  const pages = Array.from(encodeLeafList(list))
  await setting.metadata.putPages(pages)
  return pages.at(-1)?.id ?? new Uint8Array()
}

/** A list that brings the same other chunk at some indexes. */
async function listOf(
  indexes: readonly number[],
  fields: { readonly at?: number; readonly length?: number } = {}
): Promise<LeafList> {
  const { pool } = setting
  const { at = 0, length = CHUNK_BYTES - at } = fields
  const chunk = chunkId(OTHER)
  const replicas = await pool.write(chunk, OTHER)
  const builder = new LeafListBuilder()
  for (const index of indexes) {
    builder.add(index, { at, length, chunk, chunkOffset: 0, replicas })
  }
  return builder.build()
}

/** Takes a ticket, dies, and lets the version manager finish the version. */
async function rolledForward(fields: Partial<TicketRequest>): Promise<Uint8Array> {
  const { versions } = setting
  const { ticket } = await versions.assign(requestOf(fields))
  clock.advance(LEASE_MS + 10)
  await versions.waitPublished(blob, ticket.version)
  return await read(ticket.version)
}

function contentWith(index: number, offset = 0): Uint8Array {
  const content = CONTENT.slice()
  content.set(OTHER.subarray(0, CHUNK_BYTES - offset), index * CHUNK_BYTES + offset)
  return content
}

describe('an unknown blob or version', () => {
  test('is refused by every call as unknown, by the fault of who asks', async () => {
    const { versions } = setting
    const leafList = await putLeafList(new LeafListBuilder().build())
    const calls = {
      assign: () => versions.assign(requestOf({ blob: NOBODY, leafList })),
      renew: () => versions.renew(NOBODY, 1),
      commit: () => versions.commit(NOBODY, 1),
      waitPublished: () => versions.waitPublished(NOBODY, 1),
      latest: () => versions.latest(NOBODY),
      sealed: () => versions.sealed(NOBODY),
      newest: () => versions.newest(NOBODY),
      history: () => versions.history(NOBODY),
      record: () => versions.record(NOBODY, 1),
      retire: () => versions.retire(NOBODY, 1),
      clone: () => versions.namespace.clone({ blob: NOBODY, version: 1 }, '/clone')
    }

    expect(await versions.describe(NOBODY)).toBeUndefined()
    for (const call of Object.values(calls)) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_UNKNOWN_BLOB' })
    }
    await expectNothingChanged()
  })

  test('above what was assigned cannot be renewed, committed, waited for, read, removed or cloned', async () => {
    const { versions, repository } = setting
    const calls = {
      renew: () => versions.renew(blob, 2),
      commit: () => versions.commit(blob, 2),
      waitPublished: () => versions.waitPublished(blob, 2),
      record: () => versions.record(blob, 2),
      retire: () => versions.retire(blob, 2),
      clone: () => versions.namespace.clone({ blob, version: 2 }, '/clone'),
      openRead: () => repository.openRead(`${PATH}@2`)
    }

    for (const call of Object.values(calls)) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_UNKNOWN_VERSION' })
    }
    expect(await versions.namespace.lookup('/clone')).toBeUndefined()
    await expectNothingChanged()
  })
})

describe('a read', () => {
  test('past the end gives what there is, and nothing behind it', async () => {
    const snapshot = await setting.repository.openRead(PATH)
    const readFrom = async (offset: number, length: number): Promise<number> => {
      let count = 0
      for await (const bytes of snapshot.read({ offset, length })) count += bytes.byteLength
      return count
    }

    expect(await readFrom(BYTES - 10, 100)).toBe(10)
    expect(await readFrom(BYTES, 100)).toBe(0)
    expect(await readFrom(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)).toBe(0)
    await expect(readFrom(-1, 10)).rejects.toThrow(RangeError)
    await expect(readFrom(0.5, 10)).rejects.toThrow(RangeError)
    await expect(snapshot.readChunk(4)).rejects.toThrow(RangeError)
  })
})

describe('a ticket', () => {
  test('beyond 2^32 chunks is refused as past the limit', async () => {
    const leafList = await putLeafList(new LeafListBuilder().build())
    const { versions, repository } = setting
    const tooMany = requestOf({ endBytes: 2 ** 32 * CHUNK_BYTES + 1, leafList })

    await expect(versions.assign(tooMany)).rejects.toMatchObject({ code: 'ERR_METADATA_LIMIT' })

    const upload = await repository.openWrite(PATH, { mode: 'patch' })
    await upload.write(2 ** 32 * CHUNK_BYTES, sampleBytes(10))
    await expect(upload.publish()).rejects.toThrow(RangeError)
    await expectNothingChanged()
  })

  test('for ranges that cannot be is refused', async () => {
    const leafList = await putLeafList(new LeafListBuilder().build())
    const wrong: ChunkRange[][] = [
      [{ start: 0, end: 5 }],
      [{ start: 2, end: 1 }],
      [{ start: -1, end: 1 }],
      [{ start: 0.5, end: 1 }],
      [
        { start: 2, end: 3 },
        { start: 0, end: 1 }
      ]
    ]

    for (const ranges of wrong) {
      const assigning = setting.versions.assign(requestOf({ ranges, leafList }))
      await expect(assigning).rejects.toThrow(RangeError)
    }
    await expectNothingChanged()
  })

  test('without its leaf list is refused, because nobody could finish it', async () => {
    const leafList = chunkId(Buffer.from('nowhere'))

    const assigning = setting.versions.assign(requestOf({ leafList }))

    await expect(assigning).rejects.toMatchObject({ code: 'ERR_METADATA_MISSING' })
    await expectNothingChanged()
  })
})

describe('a leaf list', () => {
  test('that is not what its hash says is not even stored', async () => {
    const [page] = encodeLeafList(await listOf([1]))
    const bytes = new Uint8Array(page?.bytes ?? [])
    bytes.reverse()
    const id = page?.id ?? new Uint8Array()

    const put = setting.metadata.putPages([{ id, bytes }])

    await expect(put).rejects.toMatchObject({ code: 'ERR_CHUNK_MISMATCH' })
    const assigning = setting.versions.assign(requestOf({ leafList: id }))
    await expect(assigning).rejects.toMatchObject({ code: 'ERR_METADATA_MISSING' })
    await expectNothingChanged()
  })

  test.each([
    ['with a root that is none', (root: Uint8Array) => root.fill(7)],
    ['with a root that counts otherwise', (root: Uint8Array) => root.fill(1, 6, 10)]
  ])('%s is taken for an empty one, by tree and manifest', async (_, spoil) => {
    const pages = Array.from(encodeLeafList(await listOf([1])))
    const root = new Uint8Array(pages.at(-1)?.bytes ?? [])
    spoil(root)
    const spoilt = { id: chunkId(root), bytes: root }
    await setting.metadata.putPages([...pages, spoilt])

    const bytes = await rolledForward({ leafList: spoilt.id, ranges: [{ start: 1, end: 2 }] })

    expect(equalBytes(bytes, CONTENT)).toBe(true)
    expect(equalBytes(await read(1), CONTENT)).toBe(true)
  })

  test('whose pages are nowhere gets no ticket, because nobody could finish the version', async () => {
    const pages = Array.from(encodeLeafList(await listOf([1])))
    const root = new Uint8Array(pages.at(-1)?.bytes ?? []).fill(9, 14)
    const leafList = chunkId(root)
    await setting.metadata.putPages([{ id: leafList, bytes: root }])

    const assigning = setting.versions.assign(requestOf({ leafList }))

    await expect(assigning).rejects.toMatchObject({ code: 'ERR_METADATA_MISSING' })
    await expectNothingChanged()
  })

  test('of other ranges than its ticket counts as far as they meet, by tree and manifest', async () => {
    const leafList = await putLeafList(await listOf([0, 1, 3]))

    const bytes = await rolledForward({ leafList, ranges: [{ start: 1, end: 3 }] })

    expect(equalBytes(bytes, contentWith(1))).toBe(true)
    expect(equalBytes(await read(1), CONTENT)).toBe(true)
  })

  test('that reaches past the end of the version counts up to there, by tree and manifest', async () => {
    const leafList = await putLeafList(await listOf([1, 9]))

    const bytes = await rolledForward({ leafList, ranges: [{ start: 1, end: 2 }] })

    expect(equalBytes(bytes, contentWith(1))).toBe(true)
  })

  test('that covers a part of what its ticket owns leaves the rest as it was', async () => {
    const leafList = await putLeafList(await listOf([2], { at: 100 }))

    const bytes = await rolledForward({ leafList, ranges: [{ start: 0, end: 4 }] })

    expect(equalBytes(bytes, contentWith(2, 100))).toBe(true)
  })
})

describe('a clock of the version manager that jumps by days', () => {
  test.each([3 * DAY_MS, -3 * DAY_MS])(
    'by %i ms loses no version and ends no upload',
    async (jumpMs) => {
      const { repository } = setting
      const upload = await repository.openWrite(PATH, { mode: 'patch' })
      await upload.write(0, sampleBytes(10, 2))

      clock.jump(jumpMs)

      expect(await upload.publish()).toMatchObject({ version: 2 })
      expect(equalBytes(await read(1), CONTENT)).toBe(true)
      const times = (await repository.history(PATH)).map(({ timeMs }) => timeMs)
      expect(times).toEqual(times.toSorted((a, b) => a - b))
    }
  )
})
