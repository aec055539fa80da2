import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { projectFile } from '../support/agent-process.ts'
import { median, round } from '../support/figures.ts'
import { type ChartSeries, lineChart } from '../support/line-chart.ts'
import type { RunResult } from './deploy.ts'
import { keyOf, Results } from './results.ts'
import { nameOf } from './setting.ts'
import { scenarioTable, wholeTable } from './tables.ts'

// Tables and plots of the README out of results of the matrix: report.ts [FILE]…; all of results/20*.jsonl if none is named.

const FOLDER = projectFile('experiments/swarm-deployment')
const COLORS: Readonly<Record<string, string>> = {
  ours: '#1f77b4',
  aria2: '#ff7f0e',
  libtorrent: '#2ca02c'
}
const OTHER_COLOR = '#7f7f7f'
/** Cells of which makespan and cost are plotted over the number of hosts. */
const GROWING = new Set(['1x50', '8x50', '16x25', '32x12.5'])
/** The cell of which each host's time is plotted. */
const SPREAD = '16x25'

const BEGIN = '<!-- figures: report.ts writes from here -->'
const END = '<!-- to here -->'

const runs = await readRuns()
const tables = [wholeTable(runs), scenarioTable(runs)].filter((table) => table !== '')
await writeFile(join(FOLDER, 'makespan.svg'), growthChart('ratio'))
await writeFile(join(FOLDER, 'cost.svg'), growthChart('cost'))
await writeFile(join(FOLDER, 'completion.svg'), completionChart())
await updateReadme(tables.join('\n'))
process.stdout.write(`${tables.join('\n')}\n`)

/** A run that was made again counts as it was made last. */
async function readRuns(): Promise<RunResult[]> {
  const folder = await readdir(join(FOLDER, 'results')).catch(() => [])
  const names = folder.filter((name) => /^20.*jsonl$/.test(name))
  const given = process.argv.slice(2)
  const paths = given.length > 0 ? given : names.map((name) => join(FOLDER, 'results', name))
  const all = (await Promise.all(paths.toSorted().map((path) => new Results(path).all()))).flat()
  return [...new Map(all.map((run) => [keyOf(run), run])).values()]
}

function growthChart(what: 'ratio' | 'cost'): string {
  const growing = runs.filter((run) => GROWING.has(nameOf(run)))
  const series = [...Map.groupBy(growing, ({ method }) => method)].map(([method, own]) => {
    const cells = [...Map.groupBy(own, ({ hosts }) => hosts)].map(([hosts, same]) => {
      const middle = median(same, ({ ratio }) => ratio ?? Infinity)
      const cost = median(same, ({ machineSecondsPerGib }) => machineSecondsPerGib)
      return { x: hosts, y: what === 'ratio' ? (middle.ratio ?? 0) : cost.machineSecondsPerGib }
    })
    return seriesOf(
      method,
      cells.toSorted((left, right) => left.x - right.x)
    )
  })
  const labels =
    what === 'ratio'
      ? { title: 'Makespan over the bound', y: 'times the bound' }
      : { title: 'Processor time of the machine', y: 'seconds for a GiB received' }
  if (what === 'ratio') series.push(levelLine('1.15', 1.15, growing))
  return lineChart({ ...labels, x: 'hosts' }, series)
}

/** Share of hosts that are done over time, of the run in the middle. */
function completionChart(): string {
  const cell = runs.filter((run) => nameOf(run) === SPREAD)
  const series = [...Map.groupBy(cell, ({ method }) => method)].map(([method, own]) => {
    const { doneSeconds, hosts } = median(own, ({ ratio }) => ratio ?? Infinity)
    const steps = doneSeconds.flatMap((seconds, index) => [
      { x: seconds, y: round((index * 100) / hosts, 1) },
      { x: seconds, y: round(((index + 1) * 100) / hosts, 1) }
    ])
    return seriesOf(method, steps)
  })
  const [bound = 0] = cell.map(({ boundSeconds }) => boundSeconds)
  const least = [0, 100].map((y) => ({ x: bound, y }))
  series.push({ name: 'bound', color: OTHER_COLOR, isDashed: true, at: least })
  const title = `Hosts that have the image, ${SPREAD} Mbit/s`
  return lineChart({ title, x: 'seconds', y: '% of the hosts', scale: 'linear' }, series)
}

function seriesOf(name: string, at: ChartSeries['at']): ChartSeries {
  return { name, color: COLORS[name] ?? OTHER_COLOR, at }
}

function levelLine(name: string, y: number, cells: readonly RunResult[]): ChartSeries {
  const hosts = [...new Set(cells.map((run) => run.hosts))].toSorted((left, right) => left - right)
  return { name, color: OTHER_COLOR, isDashed: true, at: hosts.map((x) => ({ x, y })) }
}

async function updateReadme(text: string): Promise<void> {
  const path = join(FOLDER, 'README.md')
  const readme = await readFile(path, 'utf8')
  const from = readme.indexOf(BEGIN)
  const to = readme.indexOf(END)
  if (from === -1 || to < from) throw new Error(`${path} has no place for figures`)
  const [before, after] = [readme.slice(0, from + BEGIN.length), readme.slice(to)]
  await writeFile(path, `${before}\n\n${text}\n${after}`)
}
