import { join } from 'node:path'
import { seededRandom } from '../../src/lib/random.ts'
import { Member } from '../support/member.ts'
import { ProcessorUse } from '../support/processor.ts'
import { type Layout, MeasuredCluster } from './cluster.ts'
import { CHUNK_BYTES } from './costs.ts'
import type { WriterOrder } from './writing.ts'

/** Processes that writers are shared out over, at most. */
const MAX_PROCESSES = 4

/** What is measured in one go, on a cluster of its own. */
export interface RateCell {
  readonly layout: Layout
  readonly target: 'one blob' | 'many blobs'
  readonly writers: number
}

export interface RateOptions {
  readonly folder: string
  readonly seed: number
  readonly warmUpMs: number
  readonly runMs: number
  /** Chunks of each blob. */
  readonly chunks: number
  readonly profileFolder?: string | undefined
}

export interface RateResult extends RateCell {
  readonly versionsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Share of the machine that was idle, in per cent. */
  readonly idlePercent: number
  /** Processor time of all agents, and of all writers, for one version. */
  readonly agentCpuMs: number
  readonly writerCpuMs: number
}

/** Lets writers publish for a while and says how fast they were. */
export async function measureRate(cell: RateCell, options: RateOptions): Promise<RateResult> {
  const { folder, seed, warmUpMs, runMs, chunks, profileFolder } = options
  const cluster = await MeasuredCluster.start(join(folder, 'cell'), cell.layout, profileFolder)
  try {
    const orders = await ordersFor(cluster, cell, chunks)
    const common = { chunks, chunkBytes: CHUNK_BYTES, warmUpMs, runMs }
    const running = cluster.run(
      orders.map((blobs, index) => Object.assign({ seed: seed * 100 + index }, common, blobs))
    )
    running.catch(() => {}) // it is awaited below; until then nobody may take it for unhandled
    await delay(warmUpMs)
    const { agents, writers } = cluster.pids
    const use = await ProcessorUse.begin([...agents, ...writers])
    await delay(runMs)
    const { idle, seconds } = await use.end()
    const latencies = (await running).flatMap(({ latenciesMs }) => latenciesMs)
    const { length: count } = latencies
    const cpuMs = (pids: readonly number[]): number =>
      (pids.reduce((sum, pid) => sum + (seconds.get(pid) ?? 0), 0) * 1000) / Math.max(1, count)
    latencies.sort((a, b) => a - b)
    return {
      ...cell,
      versionsPerSecond: round(count / (runMs / 1000)),
      p50Ms: round(quantile(latencies, 0.5)),
      p99Ms: round(quantile(latencies, 0.99)),
      idlePercent: round(idle * 100),
      agentCpuMs: round(cpuMs(agents), 2),
      writerCpuMs: round(cpuMs(writers), 2)
    }
  } finally {
    await cluster.stop()
  }
}

/** Starts the processes of writers. @returns what each of them is to write to. */
async function ordersFor(
  cluster: MeasuredCluster,
  { layout, target, writers }: RateCell,
  chunks: number
): Promise<Pick<WriterOrder, 'blobs' | 'fresh'>[]> {
  const all = Array.from({ length: writers }, (_, writer) => writer)
  const blobOf = (writer: number): number => (target === 'one blob' ? 0 : writer)
  if (layout === 'embedded') {
    await cluster.startEmbedded()
    return [{ blobs: [], fresh: all.map(blobOf) }]
  }
  const processes = Math.min(writers, MAX_PROCESSES)
  await cluster.startWriters(processes)
  const blobs = await makeBlobs(cluster, target === 'one blob' ? 1 : writers, chunks)
  return Array.from({ length: processes }, (_, index) => ({
    blobs: all
      .filter((writer) => writer % processes === index)
      .map((writer) => blobs[blobOf(writer)] ?? '')
  }))
}

/** Blobs of equal size, each with a first version, so that all trees have their final span. */
async function makeBlobs(
  cluster: MeasuredCluster,
  count: number,
  chunks: number
): Promise<string[]> {
  const { token, addresses } = await cluster.invitation()
  const member = await Member.join(token, addresses)
  const versions = member.openVersions()
  try {
    const request = { chunkBytes: CHUNK_BYTES, replicas: 1, sizeHint: chunks * CHUNK_BYTES }
    const blobs: string[] = []
    while (blobs.length < count) blobs.push((await versions.createBlob(request)).blob)
    return blobs
  } finally {
    await versions.stop()
    await member.stop()
  }
}

/** The cells in an order of chance, so that no count of writers always runs first. */
export function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = seededRandom(seed)
  return items
    .map((item) => ({ item, rank: random() }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ item }) => item)
}

/** Middle of the results of one cell, figure by figure. */
export function medianResult(results: readonly RateResult[]): RateResult {
  const [first] = results
  if (first === undefined) throw new RangeError('no results')
  const middle = (of: (result: RateResult) => number): number =>
    quantile(
      results.map(of).toSorted((a, b) => a - b),
      0.5
    )
  return {
    ...first,
    versionsPerSecond: middle((result) => result.versionsPerSecond),
    p50Ms: middle((result) => result.p50Ms),
    p99Ms: middle((result) => result.p99Ms),
    idlePercent: middle((result) => result.idlePercent),
    agentCpuMs: middle((result) => result.agentCpuMs),
    writerCpuMs: middle((result) => result.writerCpuMs)
  }
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

function round(value: number, digits = 1): number {
  return Number(value.toFixed(digits))
}

async function delay(ms: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
