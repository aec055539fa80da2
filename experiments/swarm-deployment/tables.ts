import { median, round } from '../support/figures.ts'
import type { RunResult } from './deploy.ts'
import { nameOf } from './setting.ts'

const WHOLE = new Set(['all-at-once', 'one-host'])

/** Runs in which nothing happens but the deployment: the one in the middle of each cell and method. */
export function wholeTable(runs: readonly RunResult[]): string {
  const head = [
    'hosts × Mbit/s',
    'MTU',
    'MiB',
    'method',
    'runs',
    'first s',
    'median s',
    'last s',
    'bound s',
    'ratio',
    'of the runs',
    'source copies',
    'wire',
    'duplicates',
    'idle %',
    'CPU s/GiB',
    'of its processes'
  ]
  const rows = groups(runs.filter(({ scenario }) => WHOLE.has(scenario))).map((same) => {
    const run = middleOf(same)
    const [first, middle, last] = marks(run.doneSeconds)
    return [
      `${run.hosts} × ${run.rateMbit}`,
      run.mtu,
      run.mib,
      run.method,
      same.length,
      first,
      middle,
      last,
      run.boundSeconds,
      emphasized(run.ratio),
      same.map(({ ratio }) => ratio ?? '–').join(', '),
      run.sourceCopies,
      run.wireCost,
      run.story === undefined ? '' : `${round(run.story.duplicates * 100)}%`,
      round((1 - run.busy) * 100, 0),
      round(run.machineSecondsPerGib, 1),
      round(run.processSecondsPerGib, 1)
    ]
  })
  return table(head, rows)
}

/** Runs in which something happens. */
export function scenarioTable(runs: readonly RunResult[]): string {
  const head = [
    'what happens',
    'method',
    'runs',
    'last s',
    'over the bound',
    'source copies',
    'not done',
    'what it shows',
    'idle %'
  ]
  const rows = groups(runs.filter(({ scenario }) => !WHOLE.has(scenario))).map((same) => {
    const run = middleOf(same)
    return [
      nameOf(run),
      run.method,
      same.length,
      marks(run.doneSeconds)[2],
      run.ratio ?? '–',
      run.sourceCopies,
      same.reduce((sum, { unfinished }) => sum + unfinished, 0),
      pointOf(run, same),
      round((1 - run.busy) * 100, 0)
    ]
  })
  return table(head, rows)
}

function pointOf(run: RunResult, same: readonly RunResult[]): string {
  if (run.scenario === 'late') {
    return `late ones took ${marks(run.lateSeconds ?? []).join(' / ')} s`
  }
  if (run.scenario === 'slow-host') {
    const delays = same.map(({ delay }) => delay ?? '–').join(', ')
    return `others' time to that without the slow one: ${delays}`
  }
  return run.notes.filter((note) => !note.startsWith('host ')).join('; ')
}

/** By cell, then method, as they came first. */
function groups(runs: readonly RunResult[]): RunResult[][] {
  const cells = Map.groupBy(runs, (run) => `${nameOf(run)} ${run.mib}`)
  return Array.from(cells.values(), (cell) =>
    Array.from(Map.groupBy(cell, ({ method }) => method).values())
  ).flat()
}

function middleOf(runs: readonly RunResult[]): RunResult {
  return median(runs, ({ ratio }) => ratio ?? Infinity)
}

/** First, middle, last. */
function marks(seconds: readonly number[]): (number | string)[] {
  const middle = seconds[Math.floor((seconds.length - 1) / 2)]
  return [seconds[0], middle, seconds.at(-1)].map((value) => value ?? '–')
}

function emphasized(ratio: number | undefined): string {
  return ratio === undefined ? '–' : `**${ratio}**`
}

function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  if (rows.length === 0) return ''
  const ruler = head.map(() => '---')
  return [head, ruler, ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('')
}
