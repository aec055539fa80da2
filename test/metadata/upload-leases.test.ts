import { afterEach, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { KIB, toHex } from '../../src/lib/bytes.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import type { WriteMode } from '../../src/metadata/blob-writer-types.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const LEASE_MS = 60_000
const CHUNK = 64 * KIB

let started: TestRepository | undefined

afterEach(async () => {
  await started?.stop()
})

async function setUp() {
  const clock = new ManualClock()
  const options = { clock, leaseMs: LEASE_MS, chunkBytes: CHUNK, providerCount: 3, replicas: 2 }
  const run = await startTestRepository(options)
  started = run
  clock.advance(LEASE_MS) // the leases of the start
  return { ...run, clock }
}

type SetUp = Awaited<ReturnType<typeof setUp>>

/** Deletes what has no lease, of these or all chunks, at every provider. @returns how many. */
async function collectAll({ providers }: SetUp, only?: ReadonlySet<string>): Promise<number> {
  let count = 0
  for (const provider of providers.values()) {
    const collection = await provider.beginCollection()
    const unleased = await provider.unleased(collection, undefined)
    const ids = unleased.filter((id) => only?.has(toHex(id)) !== false)
    count += (await provider.collect(collection, ids)).count
  }
  return count
}

/** Lets a time pass in small steps, and collects in each of them. */
async function passCollecting(run: SetUp, ms: number, only?: ReadonlySet<string>): Promise<number> {
  let count = 0
  for (let passed = 0; passed < ms; passed += LEASE_MS / 12) {
    run.clock.advance(LEASE_MS / 12)
    for (let turn = 0; turn < 10; turn++) await nextTurn()
    count += await collectAll(run, only)
  }
  return count
}

async function readBack(run: SetUp, offset: number, length: number): Promise<Buffer> {
  const snapshot = await run.repository.openRead('/image')
  return Buffer.concat(await Array.fromAsync(snapshot.read({ offset, length })))
}

/** An upload that waits two lease times after each part, while everything is collected. */
async function storeSlowly(run: SetUp, mode: WriteMode, parts: readonly Uint8Array[]) {
  const writer = await run.repository.openWrite('/image', { mode })
  let collected = 0
  try {
    let offset = 0
    for (const part of parts) {
      await writer.write(offset, part)
      offset += part.byteLength
      collected += await passCollecting(run, 2 * LEASE_MS)
    }
    const published = await writer.publish()
    return { collected, published }
  } finally {
    await writer.abort()
  }
}

test('an upload of many lease times loses nothing to collections that run all the time', async () => {
  const run = await setUp()
  const parts = [1, 2, 3].map((seed) => sampleBytes(5 * CHUNK + 1000, seed))

  const { collected } = await storeSlowly(run, 'replace', parts)
  const back = await readBack(run, 0, 3 * (5 * CHUNK + 1000))

  expect(collected).toBe(0)
  expect(Buffer.compare(back, Buffer.concat(parts))).toBe(0)
})

test('so does one whose chunks were all there before', async () => {
  const run = await setUp()
  const bytes = sampleBytes(6 * CHUNK, 1)
  await storeSlowly(run, 'replace', [bytes])
  const { writes } = run.pool

  await storeSlowly(run, 'replace', [bytes])

  expect(run.pool.writes).toBe(writes)
  expect(Buffer.compare(await readBack(run, 0, 6 * CHUNK), bytes)).toBe(0)
})

test('what an upload leaves that was given up is collected', async () => {
  const run = await setUp()
  const writer = await run.repository.openWrite('/image', { mode: 'replace' })
  await writer.write(0, sampleBytes(4 * CHUNK, 1))
  await writer.write(4 * CHUNK, sampleBytes(10, 2))
  const during = await passCollecting(run, 3 * LEASE_MS)

  await writer.abort()
  const after = await passCollecting(run, 3 * LEASE_MS)

  expect([during, after]).toEqual([0, 8])
})

test('an upload whose chunks are lost ends at once, with the reason, and publishes nothing', async () => {
  const run = await setUp()
  const writer = await run.repository.openWrite('/image', { mode: 'replace' })
  await writer.write(0, sampleBytes(4 * CHUNK, 1))
  await writer.write(4 * CHUNK, sampleBytes(10, 2))
  await passCollecting(run, LEASE_MS)

  for (const store of run.stores.values()) {
    for (const id of store.ids()) await store.delete(id)
  }
  await passCollecting(run, LEASE_MS)

  const code = { code: 'ERR_CHUNK_LEASE_LOST' }
  await expect(writer.write(5 * CHUNK, sampleBytes(10, 3))).rejects.toMatchObject(code)
  await expect(writer.publish()).rejects.toMatchObject(code)
  await writer.abort()
  const notFound = { code: 'ERR_PATH_NOT_FOUND' }
  await expect(run.repository.openRead('/image')).rejects.toMatchObject(notFound)
})

test('chunks lost right before the ticket keep the version from being published', async () => {
  const run = await setUp()
  const writer = await run.repository.openWrite('/image', { mode: 'replace' })
  await writer.write(0, sampleBytes(4 * CHUNK, 1))
  for (let turn = 0; turn < 50; turn++) await nextTurn()
  run.clock.advance(LEASE_MS / 4)

  for (const store of run.stores.values()) {
    for (const id of store.ids()) await store.delete(id)
  }

  await expect(writer.publish()).rejects.toMatchObject({ code: 'ERR_CHUNK_LEASE_LOST' })
  await writer.abort()
  const notFound = { code: 'ERR_PATH_NOT_FOUND' }
  await expect(run.repository.openRead('/image')).rejects.toMatchObject(notFound)
})

test('a copy that is lost is made again before the version names it', async () => {
  const run = await setUp()
  const bytes = sampleBytes(4 * CHUNK, 1)
  const writer = await run.repository.openWrite('/image', { mode: 'replace' })
  await writer.write(0, bytes)
  await passCollecting(run, LEASE_MS)
  const [, store] = [...run.stores][0] ?? []
  for (const id of store?.ids() ?? []) await store?.delete(id)

  await passCollecting(run, LEASE_MS)
  await writer.publish()
  await writer.abort()

  const { manifest } = await run.repository.openRead('/image')
  for (const index of [0, 1, 2, 3]) {
    const [id, named] = [await manifest.chunkId(index), await manifest.replicas(index)]
    const holding = Array.from(run.stores).flatMap(([name, each]) => (each.has(id) ? [name] : []))
    expect(named).toHaveLength(2)
    expect(named.toSorted()).toEqual(holding)
  }
})

test('an append keeps its chunks while others are faster', async () => {
  const run = await setUp()
  await storeSlowly(run, 'replace', [sampleBytes(CHUNK, 1)])
  const slow = sampleBytes(3 * CHUNK, 2)
  const chunks = [0, 1, 2].map((at) => slow.subarray(at * CHUNK, (at + 1) * CHUNK))
  const slowIds = new Set(chunks.map((chunk) => toHex(chunkId(chunk))))
  const appendOneByte = async (byte: number): Promise<void> => {
    const other = await run.repository.openWrite('/image', { mode: 'append' })
    await other.write(0, Uint8Array.of(byte))
    await other.publish()
    await other.abort()
  }
  const writer = await run.repository.openWrite('/image', { mode: 'append' })
  await writer.write(0, slow)
  let others = 0

  const newestNow = run.versions.newest.bind(run.versions)
  await appendOneByte(others++)
  const outrun: typeof newestNow = async (blob, options) => {
    const newest = await newestNow(blob, options)
    if (others < 4) {
      run.versions.newest = newestNow
      await appendOneByte(others++)
      run.versions.newest = outrun
      await passCollecting(run, 2 * LEASE_MS, slowIds)
    }
    return newest
  }
  run.versions.newest = outrun

  await writer.publish()
  await writer.abort()

  expect(others).toBe(4)
  expect(Buffer.compare(await readBack(run, CHUNK + 4, 3 * CHUNK), slow)).toBe(0)
})
