import { GIB, KIB, MIB } from '../../lib/bytes.ts'
import type { CommandContext } from '../cli.ts'
import { UsageError } from '../errors.ts'

type Value = CommandContext['values'][string]

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: KIB,
  m: MIB,
  g: GIB,
  t: 1024 * GIB
}

const TIME_UNITS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000
}

/** `--offset 65536` → 65536; undefined if it was not given. @throws {UsageError} */
export function wholeNumber(option: string, value: Value, what: string): number | undefined {
  if (value === undefined) return undefined
  const number = Number(value)
  if (/^\d+$/.test(String(value)) && Number.isSafeInteger(number)) return number
  throw new UsageError(`${option} ${value.toString()}: wanted ${what}`)
}

/** `--size 10G` → 10737418240; K, M, G and T, also as KiB, count by 1,024. @throws {UsageError} */
export function byteSize(option: string, value: Value): number | undefined {
  if (value === undefined) return undefined
  const [, digits = '', unit = ''] = /^(\d+)(?:([kmgt])(?:ib)?)?$/i.exec(String(value)) ?? []
  const bytes = Number(digits) * (SIZE_UNITS[unit.toLowerCase()] ?? Number.NaN)
  if (digits !== '' && Number.isSafeInteger(bytes)) return bytes
  throw new UsageError(`${option} ${value.toString()}: wanted a size such as 65536, 512M or 10G`)
}

const RATE_UNITS: Readonly<Record<string, number>> = {
  ...SIZE_UNITS,
  b: 1,
  kib: KIB,
  mib: MIB,
  gib: GIB,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  bit: 1 / 8,
  kbit: 1e3 / 8,
  mbit: 1e6 / 8,
  gbit: 1e9 / 8
}

/**
 * `--up 50MB/s` → 50000000 bytes a second; 0 is no limit. MB counts by 1,000, MiB and M by 1,024, Mbit in
 * bits; `/s` may be left out.
 *
 * @throws {UsageError}
 */
export function byteRate(option: string, value: Value): number | undefined {
  if (value === undefined) return undefined
  const [, digits = '', name = ''] =
    /^(\d+(?:\.\d+)?) ?([a-z]*)(?:\/s)?$/i.exec(String(value)) ?? []
  const unit = name.toLowerCase()
  const bytesPerUnit = Object.hasOwn(RATE_UNITS, unit) ? RATE_UNITS[unit] : undefined
  const bytes = Math.round(Number(digits) * (bytesPerUnit ?? Number.NaN))
  const isTooSlow = bytes === 0 && Number(digits) > 0
  if (digits !== '' && Number.isSafeInteger(bytes) && !isTooSlow) return bytes
  throw new UsageError(
    `${option} ${value.toString()}: wanted a rate such as 50MB/s, 400Mbit/s or 0`
  )
}

/** `--expires 30m` → 1800000. @throws {UsageError} */
export function duration(option: string, value: Value): number | undefined {
  if (value === undefined) return undefined
  const [, digits = '', unit = ''] = /^(\d+)([smhd])$/.exec(String(value)) ?? []
  const milliseconds = Number(digits) * (TIME_UNITS[unit] ?? Number.NaN)
  if (digits !== '' && Number.isSafeInteger(milliseconds)) return milliseconds
  throw new UsageError(`${option} ${value.toString()}: wanted a time such as 30m, 1h or 7d`)
}
