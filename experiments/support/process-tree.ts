import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** Clock ticks a second of /proc (USER_HZ, 100 on every Linux that we run on). */
const TICKS_PER_SECOND = 100

/** Processor seconds. */
export interface ProcessorTimes {
  readonly user: number
  readonly system: number
}

/** Processor time of a process and all below it, with those that have ended. */
export async function timesOfTree(pid: number): Promise<ProcessorTimes> {
  const own = await treeOf(pid)
  const sum = (field: 'user' | 'system'): number =>
    own.reduce((total, one) => total + one[field], 0) / TICKS_PER_SECOND
  return { user: sum('user'), system: sum('system') }
}

/** Difference of two looks. */
export function timesBetween(before: ProcessorTimes, after: ProcessorTimes): ProcessorTimes {
  return { user: after.user - before.user, system: after.system - before.system }
}

/** Watches the most memory that a process and all below it ever had resident, until told to end. */
export class PeakMemory {
  readonly #pid: number
  readonly #kilobytes = new Map<number, number>()
  readonly #stop = new AbortController()
  readonly #watching: Promise<void>

  constructor(pid: number) {
    this.#pid = pid
    this.#watching = this.#watch()
  }

  /** @returns MiB, the sum of each process's peak. */
  async end(): Promise<number> {
    this.#stop.abort()
    await this.#watching
    await this.#look()
    return this.#kilobytes.values().reduce((sum, one) => sum + one, 0) / 1024
  }

  async #watch(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#look()
      await sleep(100, undefined, { signal: this.#stop.signal }).catch(() => {})
    }
  }

  async #look(): Promise<void> {
    for (const { pid } of await treeOf(this.#pid)) {
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
      const peak = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0)
      this.#kilobytes.set(pid, Math.max(peak, this.#kilobytes.get(pid) ?? 0))
    }
  }
}

interface ProcessState {
  readonly pid: number
  readonly parent: number
  /** Ticks of its own and of its children that have ended. */
  readonly user: number
  readonly system: number
}

/** A process and all below it. */
async function treeOf(root: number): Promise<ProcessState[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const states = (await Promise.all(pids.map(stateOf))).filter((state) => state !== undefined)
  const parents = new Map(states.map(({ pid, parent }) => [pid, parent]))
  return states.filter(({ pid }) => ancestors(pid, parents).includes(root))
}

/** A process, its parent, and so on. */
function ancestors(pid: number, parents: ReadonlyMap<number, number>): number[] {
  const line: number[] = []
  for (let at: number | undefined = pid; at !== undefined && at > 0; at = parents.get(at)) {
    line.push(at)
  }
  return line
}

/** @returns undefined for a process that has ended meanwhile. */
async function stateOf(pid: number): Promise<ProcessState | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const field = (number: number): number => Number(fields[number - 3])
  return {
    pid,
    parent: field(4),
    user: field(14) + field(16),
    system: field(15) + field(17)
  }
}
