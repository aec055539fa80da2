import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { MIB } from '../../src/lib/bytes.ts'
import { projectFile } from '../support/agent-process.ts'
import { median, round } from '../support/figures.ts'
import { lineChart } from '../support/line-chart.ts'
import { measureRepair, SOON_DEAD } from './repair.ts'
import { INTERVAL_MS, StripedCluster, type Upload } from './striped-cluster.ts'

// Upload rate against the links, the cost of replicas, the time of repair: see README.md.

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'rates,replicas,repair' },
    client: { type: 'string', default: '200' },
    links: { type: 'string', default: '25,50' },
    providers: { type: 'string', default: '1,2,4,10' },
    replicas: { type: 'string', default: '1,2,3' },
    copies: { type: 'string', default: '4,16' },
    seconds: { type: 'string', default: '8' },
    repetitions: { type: 'string', default: '3' },
    mtu: { type: 'string', default: '1500' },
    folder: { type: 'string', default: tmpdir() },
    profile: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
    trace: { type: 'boolean', default: false }
  }
})
const clientMbit = Number(values.client)
const providerCounts = values.providers.split(',').map(Number)
const repetitions = Number(values.repetitions)
const mtu = Number(values.mtu)
/** For each provider, before what is measured. */
const WARM_UP_BYTES = 4 * MIB
const COLORS = ['#1f77b4', '#ff7f0e', '#2ca02c', '#d62728']
/** Bytes on the wire for a byte of payload: Ethernet, IP and TCP headers with timestamps. */
const headerCost = (mtu + 14) / (mtu - 52)
const folder = await mkdtemp(join(values.folder, 'blobswarm-providers-'))
const results = projectFile('experiments/providers/results')

interface Cell {
  readonly providers: number
  readonly providerMbit: number
  readonly replicas: number
}

interface RateResult extends Cell {
  readonly clientMbit: number
  readonly mtu: number
  readonly mib: number
  readonly seconds: number
  /** Payload rate that the links allow, and how much of it there was. */
  readonly boundMbit: number
  readonly mbit: number
  readonly share: number
  readonly idlePercent: number
  readonly reusedBytes: number
  /** Most that one provider received, over the mean. */
  readonly imbalance: number
  /** Bytes that the client sent, over copies of the payload. */
  readonly wireCost: number
  readonly clientCpuSeconds: number
  readonly providerCpuSeconds: number
}

try {
  await mkdir(results, { recursive: true })
  if (values.only.includes('rates')) await rates()
  if (values.only.includes('replicas')) await replicaCosts()
  if (values.only.includes('repair')) await repairTimes()
} finally {
  await rm(folder, { recursive: true, force: true })
}

async function rates(): Promise<void> {
  const cells = values.links
    .split(',')
    .map(Number)
    .flatMap((providerMbit) =>
      providerCounts.map((providers): Cell => ({ providers, providerMbit, replicas: 1 }))
    )
  const medians = await measureAll(cells)
  print(rateTable(medians))
  if (medians.length > 1) await plot(medians)
}

async function replicaCosts(): Promise<void> {
  const providerMbit = Number(values.links.split(',').at(-1))
  const providers = Math.max(...providerCounts)
  const copies = values.replicas.split(',').map(Number)
  const cells = copies.map((replicas): Cell => ({ providers, providerMbit, replicas }))
  print(rateTable(await measureAll(cells)))
}

async function repairTimes(): Promise<void> {
  const providerMbit = Number(values.links.split(',').at(-1))
  const providers = Math.max(...providerCounts)
  const runs: object[] = []
  for (const copies of values.copies.split(',').map(Number)) {
    for (let count = 0; count < repetitions; count++) {
      const run = await lose({ providers, providerMbit, replicas: 2 }, copies)
      await appendFile(join(results, 'repair.jsonl'), `${JSON.stringify(run)}\n`)
      process.stderr.write(`${JSON.stringify(run)}\n`)
      runs.push(run)
    }
  }
  print(table(Object.keys(runs[0] ?? {}), runs.map(Object.values)))
}

/** Each run has a fresh cluster, whose client has no limit: how the chunks come there is no matter here. */
async function lose(cell: Cell, copies: number): Promise<object> {
  const { providers, providerMbit } = cell
  const cluster = await StripedCluster.start({
    ...cell,
    clientMbit: undefined,
    mtu,
    folder,
    profileFolder: values.profile,
    args: [...SOON_DEAD, `repair.copies=${copies}`, ...values.set].flatMap((it) => ['--set', it])
  })
  try {
    const lostMib = (providerMbit * 1e6 * Number(values.seconds)) / 8 / MIB
    await cluster.upload(Math.round((lostMib * providers) / 2) * MIB)
    const run = await measureRepair(cluster)
    // Every copy is received once and sent once, by those that are left.
    const leastSeconds = (run.lostBytes * headerCost * 8) / ((providers - 1) * providerMbit * 1e6)
    return {
      providers: `${providers} × ${providerMbit}`,
      mtu,
      copiesAtOnce: copies,
      lostMib: round(run.lostBytes / MIB, 1),
      lostChunks: run.lostChunks,
      noticedAfterSeconds: round(run.noticeSeconds, 1),
      repairSeconds: round(run.seconds),
      leastSeconds: round(leastSeconds),
      share: round(leastSeconds / run.seconds, 2),
      copiedMib: round(run.copiedBytes / MIB, 1),
      wireMib: round(run.wireBytes / MIB, 1),
      idlePercent: round(run.idle * 100, 0)
    }
  } finally {
    await cluster.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** @returns the median run of each cell. */
async function measureAll(cells: readonly Cell[]): Promise<RateResult[]> {
  const medians: RateResult[] = []
  for (const cell of cells) {
    const runs = await measure(cell)
    const text = runs.map((run) => `${JSON.stringify(run)}\n`).join('')
    await appendFile(join(results, 'rates.jsonl'), text)
    process.stderr.write(text)
    medians.push(median(runs, ({ share }) => share))
  }
  return medians
}

async function measure(cell: Cell): Promise<RateResult[]> {
  const cluster = await StripedCluster.start({
    ...cell,
    clientMbit,
    mtu,
    folder,
    profileFolder: values.profile,
    args: values.set.flatMap((setting) => ['--set', setting])
  })
  try {
    const bytes = Math.round((boundOf(cell) * 1e6 * Number(values.seconds)) / 8 / MIB) * MIB
    const runs: RateResult[] = []
    // Fresh processes compile what they run; that is no matter of links.
    await cluster.upload(Math.min(bytes, cell.providers * WARM_UP_BYTES))
    for (let count = 0; count < repetitions; count++) {
      runs.push(resultOf(cell, await cluster.upload(bytes)))
    }
    return runs
  } finally {
    await cluster.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** Payload rate that the links allow in Mbit/s: every copy passes the client's link and one provider's. */
function boundOf({ providers, providerMbit, replicas }: Cell): number {
  return Math.min(clientMbit, providers * providerMbit) / replicas / headerCost
}

function resultOf(cell: Cell, upload: Upload): RateResult {
  const { bytes, seconds, receivedBytes } = upload
  if (values.trace) process.stderr.write(`${traceOf(upload)}\n`)
  const boundMbit = boundOf(cell)
  const mbit = (bytes * 8) / 1e6 / seconds
  const mean = receivedBytes.reduce((sum, each) => sum + each, 0) / receivedBytes.length
  return {
    ...cell,
    clientMbit,
    mtu,
    mib: bytes / MIB,
    seconds: round(seconds),
    boundMbit: round(boundMbit, 1),
    mbit: round(mbit, 1),
    share: round(mbit / boundMbit, 3),
    idlePercent: round(upload.idle * 100, 0),
    reusedBytes: upload.reusedBytes,
    imbalance: round(Math.max(...receivedBytes) / mean),
    wireCost: round(upload.sentBytes / bytes / cell.replicas, 3),
    clientCpuSeconds: round(upload.clientSeconds),
    providerCpuSeconds: round(upload.providerSeconds)
  }
}

/** Mbit/s that the client sent in each interval. */
function traceOf({ sentInIntervals }: Upload): string {
  const sent = sentInIntervals.map((bytes) => Math.round((bytes * 8) / 1e3 / INTERVAL_MS))
  return `sent, Mbit/s in each ${INTERVAL_MS} ms: ${sent.join(' ')}`
}

function rateTable(medians: readonly RateResult[]): string {
  const head = [
    'client',
    'providers',
    'replicas',
    'MiB',
    'seconds',
    'bound Mbit/s',
    'Mbit/s',
    'of the bound',
    'idle %',
    'dedup hits',
    'busiest provider',
    'wire / copies'
  ]
  const rows = medians.map((run) => [
    run.clientMbit,
    `${run.providers} × ${run.providerMbit}`,
    run.replicas,
    run.mib,
    run.seconds,
    run.boundMbit,
    run.mbit,
    run.share,
    run.idlePercent,
    run.reusedBytes,
    run.imbalance,
    run.wireCost
  ])
  return table(head, rows)
}

function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const ruler = head.map(() => '---')
  return `${[head, ruler, ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('')}\n`
}

async function plot(medians: readonly RateResult[]): Promise<void> {
  const groups = Map.groupBy(medians, ({ providerMbit }) => providerMbit)
  const series = Array.from(groups, ([providerMbit, group], index) => {
    const color = COLORS[index % COLORS.length] ?? 'black'
    const name = `providers of ${providerMbit} Mbit/s`
    return [
      { name, color, at: group.map(({ providers, mbit }) => ({ x: providers, y: mbit })) },
      {
        name: `${name}: what the links allow`,
        color,
        isDashed: true,
        at: group.map(({ providers, boundMbit }) => ({ x: providers, y: boundMbit }))
      }
    ]
  })
  const title = `Upload through a link of ${clientMbit} Mbit/s`
  const labels = { title, x: 'providers', y: 'Mbit/s of payload' }
  await writeFile(projectFile('experiments/providers/rates.svg'), lineChart(labels, series.flat()))
}

function print(text: string): void {
  process.stdout.write(text)
}
