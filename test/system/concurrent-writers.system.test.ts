import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from '@jest/globals'
import { blobswarmJson, runBlobswarm } from '../../experiments/support/agent-process.ts'
import type { PushResult } from '../../src/agent/operations.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { type Random, seededRandom } from '../../src/lib/random.ts'
import type { VersionSummary } from '../../src/metadata/types.ts'
import { WireCluster } from '../support/wire/wire-cluster.ts'
import type { JournalLine } from '../support/wire/write-journal.ts'
import { WriterCrowd } from '../support/wire/writer-crowd.ts'

/** WRITERS_SEED repeats a schedule; WRITERS_ROUNDS makes it longer (`npm run soak:writers`). */
const SEED = Number(process.env['WRITERS_SEED'] ?? Date.now() % 1_000_000)
const ROUNDS = Number(process.env['WRITERS_ROUNDS'] ?? 2)
const PATH = '/image.raw'
const LEASE_MS = 2000
/** In their order; the first two are what every test run has. */
const FAULTS = [
  'metadata and writer',
  'manager and writer',
  'metadata',
  'manager',
  'writer'
] as const
type Fault = (typeof FAULTS)[number]

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
}, 30_000)

test(
  '16 writers of one blob, and kill -9 of everybody: all that was acknowledged is there, whole',
  async () => {
    process.stderr.write(`WRITERS_SEED=${SEED}\n`)
    const random = seededRandom(SEED)
    const { cluster, crowd } = await start()

    for (let round = 0; round < ROUNDS; round++) {
      await crowd.moreAcknowledged(2 + below(random, 8))
      await systemClock.sleep(below(random, 60))
      await disturb(FAULTS[round % FAULTS.length] ?? 'writer', { cluster, crowd, random })
    }
    await crowd.moreAcknowledged(crowd.size)
    await crowd.finishWriters()
    await untilNothingIsOpen(cluster)
    const readCount = await crowd.finishReader()
    const { dataDir } = cluster.manager
    const history = await blobswarmJson<VersionSummary[]>(dataDir, ['log', PATH])

    expect(readCount).toBe(history.length)
    const left = checkHistory(history, crowd.journals())
    process.stderr.write(
      `${history.length} versions, ${left} of them never acknowledged, read ${crowd.watchedCount} ` +
        'times while they were written\n'
    )
    expect(left).toBeGreaterThan(0)
    expect(crowd.watchedCount).toBeGreaterThan(0)
    expect(await runBlobswarm(dataDir, ['verify', PATH])).toMatchObject({ code: 0 })
    expect(await lastWrite(cluster)).toMatchObject({ version: history.length + 1 })
  },
  120_000 + ROUNDS * 20_000
)

interface Stage {
  readonly cluster: WireCluster
  readonly crowd: WriterCrowd
  readonly random: Random
}

async function start(): Promise<Pick<Stage, 'cluster' | 'crowd'>> {
  const lease = ['--set', `versions.lease=${LEASE_MS}ms`]
  const heartbeat = ['--set', 'providers.heartbeat=200ms']
  const cluster = await WireCluster.start([...lease, ...heartbeat])
  stops.push(() => cluster.stop())
  const newToken = (rights: string): Promise<string> => cluster.newToken(rights)
  const { folder } = cluster
  const crowd = new WriterCrowd({ folder, path: PATH, newToken, seed: SEED })
  stops.push(() => crowd.stop())
  await crowd.start()
  return { cluster, crowd }
}

/** Kills, and starts again; while a metadata provider is away the others go on. */
async function disturb(fault: Fault, { cluster, crowd, random }: Stage): Promise<void> {
  const kinds = fault.split(' and ')
  const provider = below(random, cluster.metadataCount)
  const writer = below(random, crowd.size)
  const isAtStep = fault !== 'writer'
  const replacing = kinds.includes('writer') ? crowd.replaceWriter(writer, { isAtStep }) : undefined
  if (kinds.includes('metadata')) {
    await cluster.killMetadata(provider)
    await crowd.moreAcknowledged(4)
    await cluster.startMetadata(provider)
  }
  if (kinds.includes('manager')) {
    await cluster.manager.kill()
    await cluster.startManager()
  }
  await replacing
}

/** No version waits for ever: what dead writers left is finished once their leases are over. */
async function untilNothingIsOpen(cluster: WireCluster): Promise<void> {
  while ((await cluster.openVersions()) !== 0) await systemClock.sleep(100)
}

/** One more write, which must not have to wait for anybody. */
async function lastWrite(cluster: WireCluster): Promise<PushResult> {
  const file = join(cluster.folder, 'last.raw')
  await writeFile(file, 'the last write')
  const { dataDir } = cluster.manager
  const signal = AbortSignal.timeout(10 * LEASE_MS)
  return await blobswarmJson<PushResult>(dataDir, ['push', file, PATH], { signal })
}

/**
 * Checks that every write that was acknowledged is the version that it was told, that none happened
 * twice, and that one that began after another was acknowledged has a higher version.
 *
 * @returns the number of versions that no writer was told of.
 */
function checkHistory(history: readonly VersionSummary[], lines: readonly JournalLine[]): number {
  const begun = new Map<string, bigint>()
  const acknowledged = lines.filter((line) => line.kind === 'acknowledged')
  for (const { kind, name, at } of lines) if (kind === 'begun') begun.set(name, BigInt(at))
  const notes = history.map(({ note }) => note)

  expect(history.map(({ version }) => version)).toEqual(history.map((_, at) => at + 1))
  expect(new Set(notes).size).toBe(notes.length)
  expect(notes.filter((note) => !begun.has(note))).toEqual([])
  expect(acknowledged.filter(({ name, version }) => notes[version - 1] !== name)).toEqual([])
  for (const { version, at } of acknowledged) {
    const later = notes.slice(0, version).filter((note) => (begun.get(note) ?? 0n) > BigInt(at))
    expect({ version, later }).toEqual({ version, later: [] })
  }
  return notes.length - acknowledged.length
}

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit)
}
