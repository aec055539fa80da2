import { appendFile, mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { projectFile } from '../support/agent-process.ts'
import { lineChart } from '../support/line-chart.ts'
import { layoutOf, stopClusters } from './cluster.ts'
import { type CostResult, measureCosts } from './costs.ts'
import { measureRate, medianResult, type RateCell, type RateResult, shuffled } from './rate.ts'

// Publish rate, latency and what a small write costs on the wire: see README.md.

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    repetitions: { type: 'string' },
    writers: { type: 'string' },
    layouts: { type: 'string', default: 'embedded,one-agent,three-metadata' },
    'cost-layouts': { type: 'string', default: 'one-agent,three-metadata,six-metadata' },
    only: { type: 'string', default: 'rates,costs' },
    folder: { type: 'string', default: projectFile('experiments/metadata') },
    profile: { type: 'string' },
    seed: { type: 'string', default: '1' }
  }
})
const isQuick = values.quick
const runMs = Number(values.seconds ?? (isQuick ? 2 : 5)) * 1000
const repetitions = Number(values.repetitions ?? (isQuick ? 1 : 3))
const writerCounts = (values.writers ?? (isQuick ? '1,16' : '1,2,4,8,16')).split(',').map(Number)
const layouts = values.layouts.split(',').map(layoutOf)
const seed = Number(values.seed)
/** 1 GiB in chunks of 256 KiB. */
const BLOB_CHUNKS = 4096
const COLORS = ['#1f77b4', '#ff7f0e', '#2ca02c', '#d62728']

// Not in /tmp: that may be memory, and fsync is what is measured.
const folder = await mkdtemp(join(values.folder, 'run-'))
const results = projectFile('experiments/metadata/results')
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void giveUp())
try {
  await mkdir(results, { recursive: true })
  const fsyncMs = await measureFsync(join(folder, 'fsync'))
  print(
    `fsync of one 4 KiB write on this disk, alone: ${fsyncMs.toFixed(2)} ms (median of 200)\n\n`
  )
  if (values.only.includes('costs')) await costs()
  if (values.only.includes('rates')) await rates(fsyncMs)
} finally {
  await rm(folder, { recursive: true, force: true })
}

/** Agents have process groups of their own: nobody else would end them. */
async function giveUp(): Promise<void> {
  await stopClusters()
  await rm(folder, { recursive: true, force: true })
  process.exit(1)
}

async function costs(): Promise<void> {
  const all: CostResult[] = []
  for (const layout of values['cost-layouts'].split(',').map(layoutOf)) {
    all.push(...(await measureCosts(layout, { folder: join(folder, 'costs'), seed })))
  }
  await record('costs.jsonl', all)
  printTable(
    ['operation', 'layout', 'requests', 'rounds', 'BlobSeer, level by level', 'requests by method'],
    all.map(({ what, layout, calls, rounds, formula, methods }) => [
      what,
      layout,
      String(calls),
      String(rounds),
      formula,
      Object.entries(methods)
        .map(([method, count]) => `${method} ${count}`)
        .join(', ')
    ])
  )
}

async function rates(fsyncMs: number): Promise<void> {
  const cells = layouts.flatMap((layout) =>
    (['one blob', 'many blobs'] as const).flatMap((target) =>
      writerCounts.map((writers): RateCell => ({ layout, target, writers }))
    )
  )
  const found = new Map<RateCell, RateResult[]>(cells.map((cell) => [cell, []]))
  for (let repetition = 1; repetition <= repetitions; repetition++) {
    for (const cell of shuffled(cells, seed * 100 + repetition)) {
      const result = await measureRate(cell, {
        folder,
        seed: seed * 100 + repetition,
        warmUpMs: isQuick ? 1000 : 5000,
        runMs,
        chunks: BLOB_CHUNKS,
        profileFolder: values.profile
      })
      found.get(cell)?.push(result)
      await record('rates.jsonl', [{ ...result, repetition, seconds: runMs / 1000, fsyncMs }])
      process.stderr.write(`${JSON.stringify(result)}\n`)
    }
  }
  const medians = Array.from(found.values(), medianResult)
  printTable(
    [
      'layout',
      'target',
      'writers',
      'versions/s',
      'of best',
      'p50 ms',
      'p99 ms',
      'idle %',
      'agent CPU ms',
      'writer CPU ms'
    ],
    medians.map((median) => [
      median.layout,
      median.target,
      String(median.writers),
      String(median.versionsPerSecond),
      (median.versionsPerSecond / bestOf(medians, median)).toFixed(2),
      String(median.p50Ms),
      String(median.p99Ms),
      String(median.idlePercent),
      String(median.agentCpuMs),
      String(median.writerCpuMs)
    ])
  )
  if (!isQuick) await plot(medians)
}

/** Highest rate of the same layout and target, whatever the number of writers. */
function bestOf(medians: readonly RateResult[], { layout, target }: RateCell): number {
  const same = medians.filter((other) => other.layout === layout && other.target === target)
  return Math.max(...same.map(({ versionsPerSecond }) => versionsPerSecond))
}

async function plot(medians: readonly RateResult[]): Promise<void> {
  const groups = Map.groupBy(medians, ({ layout, target }) => `${layout}, ${target}`)
  const series = Array.from(groups, ([name, group], index) => ({
    name,
    color: COLORS[index % COLORS.length] ?? 'black',
    at: group.map(({ writers, versionsPerSecond }) => ({ x: writers, y: versionsPerSecond }))
  }))
  const labels = { title: 'Small versions published', x: 'writers', y: 'versions per second' }
  await writeFile(projectFile('experiments/metadata/rates.svg'), lineChart(labels, series))
}

/** Median of 200 appends of 4 KiB, each followed by fsync. */
async function measureFsync(path: string): Promise<number> {
  const file = await open(path, 'w')
  try {
    const times: number[] = []
    for (let count = 0; count < 200; count++) {
      const startedMs = performance.now()
      await file.write(new Uint8Array(4096).fill(count))
      await file.datasync()
      times.push(performance.now() - startedMs)
    }
    return times.toSorted((a, b) => a - b)[100] ?? 0
  } finally {
    await file.close()
  }
}

async function record(name: string, lines: readonly object[]): Promise<void> {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
  await appendFile(join(results, name), text)
}

function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const ruler = head.map(() => '---')
  print(`${[head, ruler, ...rows].map(tableLine).join('')}\n`)
}

function tableLine(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |\n`
}

function print(text: string): void {
  process.stdout.write(text)
}
