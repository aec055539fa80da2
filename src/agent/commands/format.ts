import { GIB, KIB, MIB } from '../../lib/bytes.ts'
import type { PrefetchResult } from '../operations.ts'

/** `1536` → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  if (bytes >= GIB) return `${(bytes / GIB).toFixed(2)} GiB`
  if (bytes >= MIB) return `${(bytes / MIB).toFixed(1)} MiB`
  if (bytes >= KIB) return `${(bytes / KIB).toFixed(1)} KiB`
  return `${bytes} B`
}

/** Milliseconds since the epoch → `2026-11-22 08:15:00Z`. */
export function formatTime(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 19).replace('T', ' ')}Z`
}

/** Bytes a second. */
export function formatRate(bytes: number, seconds: number): string {
  return `${formatBytes(seconds > 0 ? bytes / seconds : 0)}/s`
}

/** What a pull or prefetch moved, in one line. */
export function movedText(result: PrefetchResult): string {
  return (
    `${result.path}@${result.version}  ${formatBytes(result.bytes)}  ` +
    `from providers ${formatBytes(result.fromProvidersBytes)}, ` +
    `from peers ${formatBytes(result.fromPeersBytes)}, ` +
    `reused ${formatBytes(result.reusedBytes)}, zero ${formatBytes(result.zeroBytes)}  ` +
    formatRate(result.bytes, result.seconds)
  )
}

/** A rate limit in bytes a second; 0 is none. */
export function formatLimit(bytesPerSecond: number): string {
  return bytesPerSecond === 0 ? 'unlimited' : `${formatBytes(bytesPerSecond)}/s`
}

/** Seconds for people: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 4 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

const DURATION_UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000]
] as const

/** `5400000` → `90m`: in the largest unit that divides it. */
export function formatDuration(milliseconds: number): string {
  const fitting = DURATION_UNITS.find(([, unitMs]) => milliseconds % unitMs === 0)
  const [name, unitMs] = fitting ?? ['ms', 1]
  return `${milliseconds / unitMs}${name}`
}

const NUMBER = /^[\d.]+( [KMG]?i?B(\/s)?)?$/

/** Rows of cells as text, columns as wide as they need; a column of nothing but numbers and sizes to the right. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  const isNumeric = head.map((_, column) =>
    rows.map((row) => row[column] ?? '').every((cell) => cell === '' || NUMBER.test(cell))
  )
  const pad = (cell: string, column: number): string => {
    const width = widths[column] ?? 0
    return isNumeric[column] === true ? cell.padStart(width) : cell.padEnd(width)
  }
  return all.map((row) => row.map(pad).join('  ').trimEnd()).join('\n')
}

/** Objects of one shape as a table, their keys as its head. */
export function formatRecords(records: readonly Readonly<Record<string, unknown>>[]): string {
  const head = Object.keys(records[0] ?? {})
  if (head.length === 0) return 'none'
  const rows = records.map((record) =>
    head.map((key) => {
      const value = record[key]
      if (Array.isArray(value)) return value.join(',')
      return typeof value === 'string' ? value : JSON.stringify(value ?? '')
    })
  )
  return formatTable(head, rows)
}
