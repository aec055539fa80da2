import { round } from '../support/figures.ts'
import type { Run } from './cells.ts'
import type { ServerName } from './servers.ts'

/** Median rate of some runs: MiB or files per second. */
export function medianRate(runs: readonly Run[]): number {
  return medianOf(runs.map(rateOf))
}

/** Rates of both servers, and what they cost. */
export function rateTable(runs: readonly Run[]): string {
  const head = [
    '',
    'way',
    'blobswarm MiB/s',
    'Globus MiB/s',
    'ratio',
    'CPU s/GiB',
    'Globus CPU s/GiB',
    'idle %',
    'Globus idle %',
    'dedup hits'
  ]
  return table(
    head,
    rowsOf(runs).map(({ setting, direction, ours, theirs }) => [
      setting,
      direction,
      figure(medianRate(ours)),
      figure(medianRate(theirs)),
      ratio(ours, theirs),
      figure(medianOf(ours.map(costOf))),
      figure(medianOf(theirs.map(costOf))),
      percent(ours),
      percent(theirs),
      sumOf(ours, ({ reusedBytes }) => reusedBytes)
    ])
  )
}

/** The same for small files. */
export function smallTable(runs: readonly Run[]): string {
  const head = ['way', 'blobswarm files/s', 'Globus files/s', 'ratio', 'idle %', 'dedup hits']
  return table(
    head,
    rowsOf(runs).map(({ direction, ours, theirs }) => [
      direction === 'pp' ? '-pp from a Globus server' : '-fast -r from a client',
      figure(medianRate(ours)),
      figure(medianRate(theirs)),
      ratio(ours, theirs),
      percent(ours),
      sumOf(ours, ({ reusedBytes }) => reusedBytes)
    ])
  )
}

/** Processor time by kind, and memory. */
export function memoryTable(runs: readonly Run[]): string {
  const head = ['way', 'server', 'MiB/s', 'user s/GiB', 'system s/GiB', 'peak MiB']
  const rows = rowsOf(runs).flatMap(({ direction, ours, theirs }) =>
    [ours, theirs].map((some) => [
      direction,
      some[0]?.server ?? '',
      figure(medianRate(some)),
      figure(medianOf(some.map((run) => (run.user / run.amount) * 1024))),
      figure(medianOf(some.map((run) => (run.system / run.amount) * 1024))),
      figure(medianOf(some.map(({ peakMib = 0 }) => peakMib)))
    ])
  )
  return table(head, rows)
}

interface Row {
  readonly setting: string
  readonly direction: string
  readonly ours: readonly Run[]
  readonly theirs: readonly Run[]
}

function rowsOf(runs: readonly Run[]): Row[] {
  const groups = Map.groupBy(runs, ({ setting, direction }) => `${direction}\0${setting}`)
  return Array.from(groups.values(), (group) => {
    const of = (name: ServerName): Run[] => group.filter(({ server }) => server === name)
    const { setting = '', direction = '' } = group[0] ?? {}
    return { setting, direction, ours: of('blobswarm'), theirs: of('globus') }
  })
}

/** Median of the ratios of runs that were made one after the other. */
function ratio(ours: readonly Run[], theirs: readonly Run[]): string {
  const pairs = ours.flatMap((run, index) => {
    const other = theirs[index]
    return other === undefined ? [] : [rateOf(run) / rateOf(other)]
  })
  return pairs.length === 0 ? '' : medianOf(pairs).toFixed(2)
}

function rateOf({ amount, seconds }: Run): number {
  return amount / seconds
}

/** Processor seconds of the server per GiB. */
function costOf({ user, system, amount }: Run): number {
  return ((user + system) / amount) * 1024
}

function percent(runs: readonly Run[]): string {
  return runs.length === 0 ? '' : (medianOf(runs.map(({ idle }) => idle)) * 100).toFixed(0)
}

function sumOf(runs: readonly Run[], by: (run: Run) => number): number {
  return runs.reduce((sum, run) => sum + by(run), 0)
}

/** The one in the middle; of an even number the lower one; NaN of none. */
function medianOf(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((left, right) => left - right)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
}

function figure(value: number): string {
  if (Number.isNaN(value)) return ''
  return String(round(value, value >= 100 ? 0 : 2))
}

function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const ruler = head.map(() => '---')
  return [head, ruler, ...rows].map((cells) => `| ${cells.join(' | ')} |\n`).join('')
}
