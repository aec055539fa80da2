import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { KIB } from '../../src/lib/bytes.ts'
import { median, round } from '../support/figures.ts'
import { lineChart } from '../support/line-chart.ts'
import { CASES } from './cases.ts'
import { DEFAULTS, type SwarmOptions } from './options.ts'
import { Progress } from './progress.ts'
import { type Scenario, type SwarmResult, simulate } from './scenario.ts'

// Simulated swarms against the bound: see README.md.

const { values } = parseArgs({
  options: {
    agents: { type: 'string', default: '10,100,1000' },
    chunks: { type: 'string', default: '512' },
    'chunk-kib': { type: 'string', default: '256' },
    mbits: { type: 'string', default: '50' },
    'latency-ms': { type: 'string', default: '1' },
    neighbours: { type: 'string', default: '20' },
    'quantum-kib': { type: 'string', default: '16' },
    'tick-ms': { type: 'string', default: '100' },
    'window-kib': { type: 'string', default: '64' },
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '5' },
    results: { type: 'string', default: join(import.meta.dirname, 'results') },
    cases: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
    plot: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    use: { type: 'boolean', default: false }
  }
})

/** A result, and what it cost. */
interface Row extends SwarmResult {
  readonly name: string
  readonly processorSeconds: number
  readonly memoryMib: number
}

const seeds = Array.from({ length: Number(values.seeds) }, (_, n) => Number(values.seed) + n)
const common = {
  latencyMs: Number(values['latency-ms']),
  maxNeighbours: Number(values.neighbours),
  quantumBytes: Number(values['quantum-kib']) * KIB,
  tickMs: Number(values['tick-ms']),
  windowBytes: Number(values['window-kib']) * KIB
}

const HEAD = [
  'agents',
  'seeds',
  'efficiency',
  'makespan / (F/u)',
  'copies',
  'waste',
  'CPU s',
  'MiB'
]

await mkdir(values.results, { recursive: true })
if (values.plot || values.table) await show()
else if (values.cases) await cases()
else await scale()

async function scale(): Promise<void> {
  print(HEAD)
  for (const agents of values.agents.split(',').map(Number)) {
    const rows: Row[] = []
    const chunkBytes = Number(values['chunk-kib']) * KIB
    const chunks = Number(values.chunks)
    const options = { agents, chunks, chunkBytes, mbits: Number(values.mbits) }
    for (const seed of seeds) {
      rows.push(await measure(`${agents} agents`, 'scale', { ...options, seed }, {}))
    }
    printScale(rows)
  }
}

function printScale(rows: readonly Row[]): void {
  const middle = median(rows, ({ efficiency }) => efficiency)
  const { agents, ratio, sourceCopies, waste, processorSeconds, memoryMib } = middle
  const shown = [middle.efficiency, ratio, sourceCopies, waste].map((value) => round(value, 3))
  print([agents, rows.length, ...shown, processorSeconds, memoryMib])
}

async function cases(): Promise<void> {
  print(['case', 'makespan / (F/u)', 'median', 'worst', 'late', 'copies', 'waste', 'unfinished'])
  for (const { name, options, scenario } of CASES) {
    const rows: Row[] = []
    for (const seed of seeds) {
      rows.push(await measure(name, 'cases', { ...options, seed }, scenario))
    }
    const middle = median(rows, ({ ratio }) => ratio)
    const worst = Math.max(...rows.map(({ ratio }) => ratio))
    const { medianMs, makespanMs, ratio, lateRatio, sourceCopies, waste } = middle
    const half = (ratio * medianMs) / makespanMs
    const shown = [ratio, half, worst, lateRatio, sourceCopies, waste]
    const unfinished = rows.reduce((sum, row) => sum + row.unfinished, 0)
    print([name, ...shown.map((value) => round(value, 3)), unfinished])
  }
}

async function measure(
  name: string,
  file: string,
  options: Partial<SwarmOptions>,
  scenario: Scenario
): Promise<Row> {
  const progress = new Progress(`${name}, seed ${options.seed}`)
  const result = await simulate({ ...DEFAULTS, ...common, ...options }, scenario, progress.tell)
  const row: Row = {
    name,
    ...result,
    processorSeconds: round(progress.processorSeconds, 1),
    memoryMib: Math.round(process.memoryUsage().rss / 2 ** 20)
  }
  const { haveIntervalMs, fewHavesIntervalMs } = DEFAULTS
  const rules = { haveIntervalMs, fewHavesIntervalMs }
  const about = { machine: cpus()[0]?.model, node: process.version, ...common, ...rules, scenario }
  const line = `${JSON.stringify({ ...row, ...about })}\n`
  await appendFile(join(values.results, `${file}.jsonl`), line)
  if (values.use) printUse(row)
  if (values.json) process.stdout.write(line)
  return row
}

function printUse({ name, seed, use, sourceUse }: Row): void {
  const all = use.map((value, tenth) => `${value.toFixed(2)}/${(sourceUse[tenth] ?? 0).toFixed(2)}`)
  process.stdout.write(`${name}, seed ${seed}: use of all / the source's line: ${all.join(' ')}\n`)
}

/** Makes the table, or the plot, of all results that stand in the file. */
async function show(): Promise<void> {
  const text = await readFile(join(values.results, 'scale.jsonl'), 'utf8')
  const rows = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row)
  const byCount = Map.groupBy(rows, ({ agents }) => agents)
  const counts = [...byCount.keys()].toSorted((a, b) => a - b)
  if (values.table) {
    print(HEAD)
    print(HEAD.map(() => '---'))
    for (const count of counts) printScale(byCount.get(count) ?? [])
  }
  if (!values.plot) return
  const at = (by: (row: Row) => number): { x: number; y: number }[] =>
    counts.map((x) => ({ x, y: round(by(median(byCount.get(x) ?? [], by)), 3) }))
  const series = [
    { name: 'bound / makespan', color: '#1f77b4', at: at(({ efficiency }) => efficiency) },
    { name: 'copies that the source sends', color: '#ff7f0e', at: at((row) => row.sourceCopies) },
    { name: 'aim', color: '#999', isDashed: true, at: counts.map((x) => ({ x, y: 0.85 })) }
  ]
  const labels = { title: '512 chunks of 256 KiB, 50 Mbit/s', x: 'agents', y: '' }
  await writeFile(join(import.meta.dirname, 'scale.svg'), lineChart(labels, series))
}

function print(cells: readonly (string | number)[]): void {
  process.stdout.write(`| ${cells.join(' | ')} |\n`)
}
