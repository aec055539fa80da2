import { readFile } from 'node:fs/promises'

/** Clock ticks a second of /proc (USER_HZ, 100 on every Linux that we run on). */
const TICKS_PER_SECOND = 100

interface MachineTicks {
  readonly idle: number
  readonly all: number
}

/** Measures how busy the machine was, and how much of it which process took, between start and end. */
export class ProcessorUse {
  readonly #machine: MachineTicks
  readonly #seconds: ReadonlyMap<number, number>

  private constructor(machine: MachineTicks, seconds: ReadonlyMap<number, number>) {
    this.#machine = machine
    this.#seconds = seconds
  }

  static async begin(pids: readonly number[]): Promise<ProcessorUse> {
    const seconds = await Promise.all(pids.map(async (pid) => [pid, await secondsOf(pid)] as const))
    return new ProcessorUse(await machineTicks(), new Map(seconds))
  }

  /** @returns the idle share of the whole machine, 0 to 1, and processor seconds by process. */
  async end(): Promise<{ idle: number; seconds: Map<number, number> }> {
    const machine = await machineTicks()
    const seconds = new Map<number, number>()
    for (const [pid, before] of this.#seconds) seconds.set(pid, (await secondsOf(pid)) - before)
    const all = machine.all - this.#machine.all
    return { idle: all === 0 ? 0 : (machine.idle - this.#machine.idle) / all, seconds }
  }
}

async function machineTicks(): Promise<MachineTicks> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n')
  const ticks = line.trim().split(/\s+/).slice(1).map(Number)
  // user nice system idle iowait irq softirq steal; guest time is in user already
  const counted = ticks.slice(0, 8)
  return { idle: (ticks[3] ?? 0) + (ticks[4] ?? 0), all: counted.reduce((sum, n) => sum + n, 0) }
}

/** User and system time of a process with all its threads. */
async function secondsOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}
