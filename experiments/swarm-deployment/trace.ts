import { appendFile } from 'node:fs/promises'
import { round } from '../support/figures.ts'
import type { LinkCounters } from '../testbed/wire-reader.ts'
import type { Deployment, RunResult } from './deploy.ts'
import { nameOf, rateOf } from './setting.ts'

/** Appends what each link carried between two looks, as shares of its rate: `{…, ms, up: […], down: […]}`. */
export async function appendTrace(path: string, { result, samples }: Deployment): Promise<void> {
  const { method, run, time } = result
  const lines = sharesOf(result, samples).map((shares) =>
    JSON.stringify({ time, cell: nameOf(result), method, run, ...shares })
  )
  await appendFile(path, lines.map((line) => `${line}\n`).join(''))
}

/** Use of the links in each second, in hundredths: the source's way up, all hosts' ways up and down. */
export function describeTrace({ result, samples }: Deployment): string {
  const seconds = Map.groupBy(sharesOf(result, samples), ({ ms }) => Math.floor(ms / 1000))
  const rows: readonly (readonly [string, (it: Shares) => number])[] = [
    ['source up', ({ up }) => up[0] ?? 0],
    ['hosts up', ({ up }) => mean(up.slice(1))],
    ['hosts down', ({ down }) => mean(down.slice(1))],
    ['worst down', ({ down }) => Math.min(...down.slice(1))]
  ]
  return rows
    .map(([name, of]) => {
      const values = Array.from(seconds.values(), (each) => Math.round(mean(each.map(of)) * 100))
      return `${name.padEnd(10)} % ${values.map((value) => String(value).padStart(3)).join(' ')}`
    })
    .join('\n')
}

interface Shares {
  readonly ms: number
  readonly up: readonly number[]
  readonly down: readonly number[]
}

function sharesOf(setting: RunResult, samples: Deployment['samples']): Shares[] {
  return samples.slice(1).map(({ ms, links }, index) => {
    const before = samples[index] ?? { ms: 0, links: [] }
    const share = (host: number, key: 'sentBytes' | 'receivedBytes'): number => {
      const bytes = read(links[host], key) - read(before.links[host], key)
      return round((bytes * 8) / 1e3 / (ms - before.ms) / rateOf(setting, host), 3)
    }
    return {
      ms: Math.round(ms),
      up: links.map((_, host) => share(host, 'sentBytes')),
      down: links.map((_, host) => share(host, 'receivedBytes'))
    }
  })
}

function read(link: LinkCounters | undefined, key: 'sentBytes' | 'receivedBytes'): number {
  return link?.[key] ?? 0
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}
