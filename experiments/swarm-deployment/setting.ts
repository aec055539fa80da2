import { MIB } from '../../src/lib/bytes.ts'

export const SCENARIOS = [
  'all-at-once',
  'one-host',
  'late',
  'churn',
  'slow-host',
  'source-dies'
] as const

/** What happens during a deployment: see README.md. */
export type Scenario = (typeof SCENARIOS)[number]

/** A deployment that can be repeated with other methods. */
export interface Setting {
  readonly scenario: Scenario
  /** Besides the source. */
  readonly hosts: number
  /** Of each link, each way, with all headers. */
  readonly rateMbit: number
  readonly mib: number
  readonly mtu: number
  /** TCP's congestion control of every host. */
  readonly congestion: string
  /** Rate of the last host's link where that is slow. */
  readonly slowMbit: number
  /** Copies on the wire after which the source is killed where it dies. */
  readonly dieAfterCopies: number
  /** From one kill to the next where there are some. */
  readonly killEverySeconds: number
  /** MiB of another image that all hosts fetch before; 0: none, everything is fresh. */
  readonly warmUpMib: number
  /** `key=value` for every agent of ours. */
  readonly set: readonly string[]
}

/** Rate of a host's link; host 0 is the source. */
export function rateOf(setting: Setting, host: number): number {
  const isSlow = setting.scenario === 'slow-host' && host === setting.hosts
  return isSlow ? setting.slowMbit : setting.rateMbit
}

/** Least time in which every host can have the image: max(F/us, F/d, N·F/(us + Σu)). Headers are not counted. */
export function boundSeconds({ mib, rateMbit, hosts }: Setting): number {
  const once = (mib * MIB * 8) / (rateMbit * 1e6)
  return Math.max(once, (hosts * once) / (1 + hosts))
}

/** `8x50`, `16x50-mtu9000`, `8x50-churn`: names a cell of the matrix. */
export function nameOf({ scenario, hosts, rateMbit, mtu }: Setting): string {
  const base = `${hosts}x${rateMbit}`
  const jumbo = mtu === 1500 ? '' : `-mtu${mtu}`
  const what = scenario === 'all-at-once' || scenario === 'one-host' ? '' : `-${scenario}`
  return `${base}${jumbo}${what}`
}
