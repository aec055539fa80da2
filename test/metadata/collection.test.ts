import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { NotRunningError } from '../../src/lib/errors.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import type { CollectedVersions } from '../../src/metadata/collection-types.ts'
import { UnknownBlobError } from '../../src/metadata/errors.ts'
import { signPathRecord } from '../../src/metadata/path-record.ts'
import type { NamedRecord } from '../../src/metadata/store-types.ts'
import { audit } from '../support/collection/audit.ts'
import { collectorOf } from '../support/collection/test-collector.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536
const LEASE_MS = 1000
const REAL = { isDryRun: false } as const

let bench: TestRepository
let leaseClock: ManualClock
beforeEach(async () => {
  leaseClock = new ManualClock()
  bench = await startTestRepository({ chunkBytes: CHUNK, leaseClock, leaseMs: LEASE_MS })
})
afterEach(async () => bench.stop())

async function push(path: string, bytes: Uint8Array, offset?: number): Promise<number> {
  const mode = offset === undefined ? 'replace' : 'patch'
  const writer = await bench.repository.openWrite(path, { mode })
  await writer.write(offset ?? 0, bytes)
  return (await writer.publish()).version
}

async function cat(ref: string): Promise<Uint8Array> {
  const snapshot = await bench.repository.openRead(ref)
  const all = snapshot.read({ offset: 0, length: snapshot.bytes })
  return new Uint8Array(Buffer.concat(await Array.fromAsync(all)))
}

/** What the metadata providers are told of a path. */
async function pathRecord(path: string): Promise<NamedRecord> {
  const { record } = await bench.repository.record(path)
  const { blob, version } = record
  return signPathRecord(bench.signer, { path, blob, version, sequence: 1 })
}

/** Lets all leases end. */
function endLeases(): void {
  leaseClock.advance(LEASE_MS * 3)
}

/** Has none of what is asked for. */
async function nowhere(asked: readonly unknown[]): Promise<undefined[]> {
  return asked.map(() => undefined)
}

/** A version manager that knows nothing. */
function inPlace(beganMs: number): CollectedVersions {
  return {
    beganMs: async () => beganMs,
    applyRetention: async () => [],
    roots: async () => [],
    pathsOf: async () => [],
    assigned: async () => Promise.reject(new UnknownBlobError('ab'.repeat(32))),
    recordOf: async () => Promise.reject(new NotRunningError('version manager')),
    forget: async () => {}
  }
}

async function expectTidy(): Promise<void> {
  const { missing, left } = await audit(bench)
  expect({ missing, left }).toEqual({ missing: [], left: [] })
}

describe('a collection', () => {
  test('keeps every version that can be read', async () => {
    const [first, second] = [sampleBytes(CHUNK * 5, 1), sampleBytes(CHUNK * 3, 2)]
    await push('/a', first)
    await push('/a', second)
    await push('/b', first)
    endLeases()

    const report = await collectorOf(bench).collect(REAL)

    expect(await cat('/a@1')).toEqual(first)
    expect(await cat('/a@2')).toEqual(second)
    expect(await cat('/b')).toEqual(first)
    expect(report).toMatchObject({ liveChunks: 8, missed: [], retiredVersions: 0 })
    await expectTidy()
  })

  test('frees a removed file, and forgets it', async () => {
    await push('/a', sampleBytes(CHUNK * 5, 1))
    await push('/b', sampleBytes(CHUNK * 2, 2))
    await bench.repository.remove('/a')
    endLeases()

    const report = await collectorOf(bench).collect(REAL)

    expect(report).toMatchObject({
      retiredVersions: 1,
      forgottenBlobs: 1,
      chunks: { count: 5, bytes: CHUNK * 5 },
      liveChunks: 2
    })
    expect((await audit(bench)).chunkCount).toBe(2)
    await expectTidy()
  })

  test('frees what was told of a path that names nothing any more', async () => {
    await push('/a', sampleBytes(CHUNK, 1))
    await push('/b', sampleBytes(CHUNK, 2))
    const records = await Promise.all(['/a', '/b'].map(pathRecord))
    await bench.kept.putRecords(records)
    await bench.repository.rename('/a', '/moved')
    endLeases()

    const report = await collectorOf(bench).collect(REAL)

    const left = await bench.kept.getRecords(records.map(({ name }) => name))
    expect(left).toEqual([undefined, records[1]])
    expect(report.records.count).toBe(1)
  })

  test('frees what a retired version alone had, and keeps what others share with it', async () => {
    const shared = sampleBytes(CHUNK * 2, 1)
    await push('/a', Buffer.concat([shared, sampleBytes(CHUNK, 2)]))
    await push('/a', Buffer.concat([shared, sampleBytes(CHUNK, 3)]))
    await bench.repository.remove('/a@1')
    endLeases()

    const report = await collectorOf(bench).collect(REAL)

    expect(report.chunks).toEqual({ count: 1, bytes: CHUNK })
    expect(report.nodes.count).toBeGreaterThan(0)
    expect((await cat('/a')).byteLength).toBe(CHUNK * 3)
    await expectTidy()
  })

  test('leaves of many patches only what the trees that stay have in them', async () => {
    await push('/a', sampleBytes(CHUNK * 8, 1))
    for (let at = 0; at < 12; at++) await push('/a', sampleBytes(CHUNK, 10 + at), CHUNK * (at % 5))
    for (let version = 1; version <= 11; version++) {
      if (version !== 6) await bench.repository.remove(`/a@${version}`)
    }
    endLeases()

    await collectorOf(bench).collect(REAL)
    await push('/a', sampleBytes(CHUNK, 99), CHUNK * 7)
    await push('/a', sampleBytes(CHUNK, 98), CHUNK * 20)
    endLeases()
    await collectorOf(bench).collect(REAL)

    expect((await cat('/a@6')).byteLength).toBe(CHUNK * 8)
    expect((await cat('/a')).subarray(CHUNK * 7, CHUNK * 8)).toEqual(sampleBytes(CHUNK, 99))
    await expectTidy()
  })

  test('keeps what a clone shows after its source was removed', async () => {
    const bytes = sampleBytes(CHUNK * 4, 1)
    await push('/a', bytes)
    const { blob, version } = (await bench.versions.namespace.lookup('/a')) as {
      blob: string
      version: 1
    }
    await bench.versions.namespace.clone({ blob, version }, '/clone')
    await bench.repository.remove('/a')
    endLeases()

    await collectorOf(bench).collect(REAL)
    const patched = await push('/clone', sampleBytes(CHUNK, 2), CHUNK)
    endLeases()
    await collectorOf(bench).collect(REAL)

    expect(patched).toBe(1)
    expect(await cat('/clone@0')).toEqual(bytes)
    expect((await cat('/clone')).subarray(CHUNK * 2)).toEqual(bytes.subarray(CHUNK * 2))
    await expectTidy()
  })

  test('leaves alone what has a lease, however unreachable', async () => {
    await push('/a', sampleBytes(CHUNK * 5, 1))
    await bench.repository.remove('/a')

    const early = await collectorOf(bench).collect(REAL)
    endLeases()
    const late = await collectorOf(bench).collect(REAL)

    expect(early.chunks.count).toBe(0)
    expect(late.chunks.count).toBe(5)
    await expectTidy()
  })

  test('frees chunks of an upload that was given up', async () => {
    for (const seed of [1, 2, 3]) {
      const bytes = sampleBytes(CHUNK, seed)
      await bench.pool.write(chunkId(bytes), bytes)
    }
    endLeases()

    const report = await collectorOf(bench).collect(REAL)

    expect(report.chunks).toEqual({ count: 3, bytes: CHUNK * 3 })
    await expectTidy()
  })

  test('keeps a removed version as long as somebody holds it', async () => {
    const bytes = sampleBytes(CHUNK * 2, 1)
    await push('/a', bytes)
    const { blob } = (await bench.versions.namespace.lookup('/a')) as { blob: string }
    const hold = { blob, version: 1, holder: 'peer', purpose: 'pull /a' }
    const record = await bench.repository.record('/a')
    await bench.versions.hold({ ...hold, forMs: 60_000 })
    await bench.repository.remove('/a')
    endLeases()

    const held = await collectorOf(bench).collect(REAL)
    await bench.versions.release(hold)
    const released = await collectorOf(bench).collect(REAL)

    expect(held.chunks.count).toBe(0)
    expect(record.record.version).toBe(1)
    expect(released.chunks.count).toBe(2)
    await expectTidy()
  })

  test('applies the policy of a path first', async () => {
    for (let seed = 1; seed <= 5; seed++) await push('/a', sampleBytes(CHUNK, seed))
    await bench.versions.namespace.setRetention('/a', { last: 2 })
    endLeases()

    const report = await collectorOf(bench).collect(REAL)

    expect(report).toMatchObject({ retiredVersions: 3, chunks: { count: 3 } })
    const history = await bench.repository.history('/a')
    expect(history.map(({ version }) => version)).toEqual([4, 5])
    await expectTidy()
  })
})

describe('a dry run', () => {
  test('says what the collection right after it does, and changes nothing', async () => {
    for (let seed = 1; seed <= 4; seed++) await push('/a', sampleBytes(CHUNK * seed, seed))
    await push('/b', sampleBytes(CHUNK * 7, 9))
    await bench.versions.namespace.setRetention('/a', { last: 1 })
    await audit(bench) // seals what was not sealed yet
    await bench.repository.remove('/b')
    endLeases()
    const collector = collectorOf(bench)

    const before = await audit(bench)
    const dry = await collector.collect({ isDryRun: true })
    const between = await audit(bench)
    const real = await collector.collect(REAL)

    expect(between).toEqual(before)
    const unknown = { bytes: expect.any(Number) }
    const { records, nodes, pages } = real
    expect(dry).toEqual({
      ...real,
      isDryRun: true,
      records: { ...records, ...unknown },
      nodes: { ...nodes, ...unknown },
      pages: { ...pages, ...unknown },
      seconds: expect.any(Number)
    })
    expect(real.chunks.count).toBe(13)
    await expectTidy()
  })
})

describe('when not all can be asked', () => {
  test('a provider that does not answer is named, the others are collected', async () => {
    await push('/a', sampleBytes(CHUNK * 2, 1))
    await bench.repository.remove('/a')
    endLeases()
    const [only] = bench.providers.values()
    const silent = Object.assign(Object.create(only ?? null), {
      beginCollection: async () => Promise.reject(new Error('connection refused'))
    })
    const providers = async () => [
      { id: 'silent', store: silent },
      { id: 'dead', store: undefined },
      { id: 'provider-1', store: only }
    ]

    const report = await collectorOf(bench, { providers }).collect(REAL)

    expect(report.missed).toEqual(['dead', 'silent'])
    expect(report.chunks.count).toBe(2)
  })

  test('a provider that restarts in the middle is missed', async () => {
    await push('/a', sampleBytes(CHUNK * 2, 1))
    await bench.repository.remove('/a')
    endLeases()
    const [only] = bench.providers.values()
    const { collected } = bench.versions
    const collector = collectorOf(bench, {
      versions: Object.assign(Object.create(collected), {
        roots: async (retired: never) => {
          await only?.beginCollection() // as if begun anew by somebody else
          return await collected.roots(retired)
        },
        beganMs: collected.beganMs.bind(collected),
        applyRetention: collected.applyRetention.bind(collected),
        pathsOf: collected.pathsOf.bind(collected),
        assigned: collected.assigned.bind(collected),
        recordOf: collected.recordOf.bind(collected),
        forget: collected.forget.bind(collected)
      })
    })

    const report = await collector.collect(REAL)

    expect(report.missed).toEqual(['provider-1'])
    expect(report.chunks.count).toBe(0)
  })

  test('nodes of a blob that was forgotten without them go later', async () => {
    await push('/a', sampleBytes(CHUNK * 3, 1))
    await bench.repository.remove('/a')
    endLeases()

    const first = await collectorOf(bench, { metadataProviders: () => [] }).collect(REAL)
    const orphans = (await audit(bench)).left.filter((name) => name.startsWith('node '))
    const second = await collectorOf(bench).collect(REAL)

    expect(first.forgottenBlobs).toBe(1)
    expect(orphans.length).toBeGreaterThan(0)
    expect(second.nodes.count).toBe(orphans.length)
    await expectTidy()
  })

  test.each([
    ['keys that are none', { unleased: async () => [Uint8Array.of(1)] }],
    ['the same keys for ever', { unleased: async () => [new Uint8Array(45)] }],
    [
      'versions in no order',
      { nodeVersions: async () => [2, 1].map((version) => ({ blob: 'ab'.repeat(32), version })) }
    ]
  ])('a metadata provider that lists %s is missed', async (_, nonsense) => {
    await push('/a', sampleBytes(CHUNK * 2, 1))
    await bench.repository.remove('/a')
    endLeases()
    const deleted: unknown[] = []
    const collect = async (_collection: string, request: unknown) => {
      deleted.push(request)
      return { count: 0, bytes: 0 }
    }
    const liar = Object.assign(Object.create(bench.kept), {
      beginCollection: async () => 'any',
      unleased: async () => [],
      nodeVersions: async () => [],
      ...nonsense,
      collect
    })
    const metadataProviders = () => [
      { id: 'liar', store: liar },
      { id: 'metadata', store: bench.kept }
    ]

    const report = await collectorOf(bench, { metadataProviders }).collect(REAL)

    expect(report).toMatchObject({ missed: ['liar'], forgottenBlobs: 0, chunks: { count: 2 } })
    expect(deleted).toEqual([])
  })

  test('nothing is deleted if a page of a version that stays cannot be read', async () => {
    await push('/a', sampleBytes(CHUNK * 2, 1))
    await push('/b', sampleBytes(CHUNK * 2, 2))
    await bench.repository.record('/b')
    await bench.repository.remove('/a')
    endLeases()
    const pages = { getPages: nowhere, getRecords: nowhere }
    const metrics = new MemoryMetrics()

    const failed = collectorOf(bench, { pages, metrics }).collect(REAL)

    await expect(failed).rejects.toMatchObject({
      code: 'ERR_ROOT_UNREADABLE',
      version: 1,
      message: expect.stringContaining('version 1 of blob')
    })
    expect(Array.from(bench.stores.values(), ({ chunkCount }) => chunkCount)).toEqual([4])
    expect(metrics.values.get('blobswarm_metadata_collections_total{outcome=failed}')).toBe(1)
  })
})

test('nothing is deleted if the version manager stops while its roots are marked', async () => {
  await push('/a', sampleBytes(CHUNK * 2, 1))
  await bench.repository.record('/a')
  endLeases()
  const { collected: versions } = bench.versions
  const stopping: CollectedVersions = {
    beganMs: () => versions.beganMs(),
    applyRetention: (request) => versions.applyRetention(request),
    roots: (retired) => versions.roots(retired),
    pathsOf: (blobs) => versions.pathsOf(blobs),
    assigned: (blob, range) => versions.assigned(blob, range),
    recordOf: async () => Promise.reject(new NotRunningError('version manager')),
    forget: (blobs) => versions.forget(blobs)
  }

  const failed = collectorOf(bench, { versions: stopping }).collect(REAL)

  await expect(failed).rejects.toMatchObject({ code: 'ERR_ROOT_UNREADABLE' })
  expect((await audit(bench)).missing).toEqual([])
})

describe('a version manager with an empty file in the place of the lost one', () => {
  beforeEach(async () => {
    await push('/a', sampleBytes(CHUNK * 2, 1))
    await bench.repository.record('/a')
    endLeases()
  })

  test('has nothing collected: what is stored is older than it', async () => {
    const tomorrowMs = Date.now() + 86_400_000

    const failed = collectorOf(bench, { versions: inPlace(tomorrowMs) }).collect(REAL)

    await expect(failed).rejects.toMatchObject({ code: 'ERR_STATE_LOST' })
    expect((await audit(bench)).missing).toEqual([])
    expect(await cat('/a')).toEqual(sampleBytes(CHUNK * 2, 1))
  })

  test('collects what was forgotten while a metadata provider was away', async () => {
    const report = await collectorOf(bench, { versions: inPlace(1) }).collect(REAL)

    expect(report.chunks.count).toBe(2)
    expect(report.records.count).toBeGreaterThan(0)
  })
})

test('a version that cannot be sealed keeps what it is made of, and holds up nothing else', async () => {
  await push('/a', sampleBytes(CHUNK * 2, 1))
  await push('/b', sampleBytes(CHUNK * 3, 2))
  await bench.repository.record('/a')
  bench.pool.onRead = async () => Promise.reject(new Error('provider down'))
  await push('/a', sampleBytes(100, 3), 50)
  await bench.repository.remove('/b')
  await bench.repository.remove('/a@1')
  endLeases()

  const report = await collectorOf(bench).collect(REAL)
  bench.pool.onRead = async () => {}

  expect(report.chunks).toEqual({ count: 3, bytes: CHUNK * 3 })
  const patched = sampleBytes(CHUNK * 2, 1)
  patched.set(sampleBytes(100, 3), 50)
  expect(await cat('/a')).toEqual(patched)
  endLeases()
  await collectorOf(bench).collect(REAL)
  await expectTidy()
})

describe('collections at the same time', () => {
  test('of one kind are one; another kind waits', async () => {
    await push('/a', sampleBytes(CHUNK * 2, 1))
    await bench.repository.remove('/a')
    endLeases()
    const logger = new MemoryLogger()
    const collector = collectorOf(bench, { logger })

    const reports = await Promise.all([
      collector.collect({ isDryRun: true }),
      collector.collect(REAL),
      collector.collect({ isDryRun: true }),
      collector.collect(REAL)
    ])

    expect(reports[2]).toBe(reports[0])
    expect(reports[3]).toBe(reports[1])
    expect(reports[1]?.chunks.count).toBe(2)
    expect(logger.lines).toHaveLength(2)
  })

  test('end when nobody waits any more, and only then', async () => {
    await push('/a', sampleBytes(CHUNK * 2, 1))
    const [one, other] = [new AbortController(), new AbortController()]
    const stuck = Promise.withResolvers<never>()
    const seen: (AbortSignal | undefined)[] = []
    const collector = collectorOf(bench, {
      providers: async ({ signal }) => {
        seen.push(signal)
        signal?.addEventListener('abort', () => stuck.reject(signal.reason))
        return await stuck.promise
      }
    })

    const waiting = [one, other].map(({ signal }) => collector.collect(REAL, { signal }))
    one.abort(new Error('first gone'))
    await expect(waiting[0]).rejects.toThrow('first gone')
    const goesOn = seen[0]?.aborted
    other.abort(new Error('second gone'))

    await expect(waiting[1]).rejects.toThrow('second gone')
    expect(goesOn).toBe(false)
    expect(seen[0]?.aborted).toBe(true)
  })

  test('are refused after the stop, which ends the one that runs', async () => {
    const collector = collectorOf(bench)
    const running = collector.collect(REAL)
    const stopping = collector.stop()

    await expect(running).rejects.toThrow('not running')
    await stopping
    await expect(collector.collect(REAL)).rejects.toThrow('not running')
  })
})

test('what a collection did is counted', async () => {
  await push('/a', sampleBytes(CHUNK * 2, 1))
  await push('/b', sampleBytes(CHUNK, 2))
  await bench.repository.remove('/a')
  endLeases()
  const metrics = new MemoryMetrics()
  const progress: string[] = []

  await collectorOf(bench, { metrics }).collect(REAL, {
    onProgress: ({ phase, liveChunks }) => void progress.push(`${phase} ${liveChunks}`)
  })

  expect(metrics.values.get('blobswarm_metadata_collections_total{outcome=done}')).toBe(1)
  expect(metrics.values.get('blobswarm_metadata_collected_total{kind=chunks}')).toBe(2)
  expect(metrics.values.get('blobswarm_metadata_collected_bytes_total')).toBe(CHUNK * 2)
  expect(metrics.values.get('blobswarm_metadata_live_chunks')).toBe(1)
  expect(progress).toEqual(['marking 1', 'sweeping 1', 'sweeping 1'])
})
