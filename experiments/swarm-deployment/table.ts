import { median, round } from '../support/figures.ts'
import type { RunResult } from './deploy.ts'
import { nameOf } from './setting.ts'

/** Columns of a run, with their widths on a terminal. */
const COLUMNS: readonly (readonly [head: string, width: number, cell: Cell])[] = [
  ['method', 18, ({ method }) => method],
  ['cell', 18, nameOf],
  ['MiB', 4, ({ mib }) => mib],
  ['first s', 8, ({ doneSeconds }) => doneSeconds[0]],
  ['median', 7, middleSeconds],
  ['last', 7, ({ doneSeconds }) => doneSeconds.at(-1)],
  ['bound', 6, ({ boundSeconds }) => boundSeconds],
  ['ratio', 9, ({ ratio, unfinished }) => ratio ?? `${unfinished} open`],
  ['copies', 6, ({ sourceCopies }) => sourceCopies],
  ['wire', 6, ({ wireCost }) => wireCost],
  ['dup %', 6, ({ story }) => story && round(story.duplicates * 100)],
  ['dedup', 5, ({ reusedBytes }) => reusedBytes],
  ['busy %', 6, ({ busy }) => round(busy * 100, 0)],
  ['CPU s/GiB', 9, ({ machineSecondsPerGib }) => round(machineSecondsPerGib, 1)],
  ['own', 6, ({ processSecondsPerGib }) => round(processSecondsPerGib, 1)],
  ['delay', 6, ({ delay }) => delay]
]

type Cell = (run: RunResult) => string | number | undefined

/** The head of the table on a terminal. */
export function headLine(): string {
  return line(COLUMNS.map(([head]) => head))
}

/** A run as a line below it. */
export function runLine(run: RunResult): string {
  return line(COLUMNS.map(([, , cell]) => String(cell(run) ?? '-')))
}

function line(cells: readonly string[]): string {
  return cells.map((cell, index) => cell.padStart(COLUMNS[index]?.[1] ?? 0)).join(' ')
}

function middleSeconds({ doneSeconds }: RunResult): number | undefined {
  return doneSeconds.length === 0 ? undefined : median(doneSeconds, (seconds) => seconds)
}
