import { setTimeout as sleep } from 'node:timers/promises'
import { Churn } from './churn.ts'
import type { Measurement } from './measurement.ts'
import type { Scenario } from './setting.ts'
import type { Stage } from './stage.ts'
import type { Swarm } from './swarm.ts'

/** A deployment that runs. */
export interface Play {
  readonly stage: Stage
  readonly swarm: Swarm
  readonly measurement: Measurement
  /** Aborts when the run takes far too long. */
  readonly signal: AbortSignal
  /** When each host was told to fetch, and when it was done, in milliseconds of `performance.now()`. */
  readonly askedMs: Map<number, number>
  readonly doneMs: Map<number, number>
  /** What has happened that a reader of the result should know. */
  readonly notes: string[]
}

const POLL_MS = 25

/** What each scenario does after the start signal; resolves when all hosts that count are done. */
export const PLAYS: Readonly<Record<Scenario, (play: Play) => Promise<void>>> = {
  'all-at-once': async (play) => fetchAll(play, play.stage.hosts),
  'one-host': async (play) => fetchAll(play, play.stage.hosts),
  late: playLate,
  churn: async (play) => new Churn(play).run(),
  'slow-host': playSlowHost,
  'source-dies': playSourceDies
}

async function fetchAll(play: Play, hosts: readonly number[]): Promise<void> {
  await Promise.all(hosts.map(async (host) => fetchOne(play, host)))
}

/** A host that fails is noted and misses in the result. */
async function fetchOne(play: Play, host: number): Promise<void> {
  const { swarm, signal, askedMs, doneMs, notes } = play
  askedMs.set(host, performance.now())
  try {
    doneMs.set(host, await swarm.fetch(host, signal))
  } catch (error) {
    notes.push(`host ${host}: ${signal.aborted ? 'not done in time' : String(error)}`)
  }
}

/** Half of the hosts begin when the others have half of the image, counted on the wire. */
async function playLate(play: Play): Promise<void> {
  const { stage, measurement, signal, notes } = play
  const early = stage.hosts.slice(0, Math.ceil(stage.hosts.length / 2))
  const late = stage.hosts.slice(early.length)
  const first = fetchAll(play, early)
  const needed = (early.length * stage.image.bytes) / 2
  for (let received = 0; received < needed && !signal.aborted; await sleep(POLL_MS)) {
    const links = measurement.moved()
    received = early.reduce((sum, host) => sum + (links[host]?.receivedBytes ?? 0), 0)
  }
  notes.push(`the late ones began after ${secondsSince(measurement.startedMs)} s`)
  await Promise.all([first, fetchAll(play, late)])
}

/** The last host is slow and not waited for; the others are what counts. */
async function playSlowHost(play: Play): Promise<void> {
  const { stage, swarm, signal, measurement, notes } = play
  const slow = stage.hosts.at(-1) ?? 1
  swarm.fetch(slow, signal).catch(() => {}) // it is ended with all others
  await fetchAll(
    play,
    stage.hosts.filter((host) => host !== slow)
  )
  const received = (measurement.moved()[slow]?.receivedBytes ?? 0) / stage.image.bytes
  notes.push(`the slow one had received ${received.toFixed(2)} of it by then`)
}

/** Everything on host 0 is killed when it has sent so many copies, counted on the wire. */
async function playSourceDies(play: Play): Promise<void> {
  const { stage, swarm, measurement, signal, notes } = play
  const all = fetchAll(play, stage.hosts)
  const ended = new AbortController()
  void all.then(() => ended.abort())
  const needed = stage.setting.dieAfterCopies * stage.image.bytes
  for (;;) {
    const [source] = measurement.moved()
    if ((source?.sentBytes ?? 0) >= needed) break
    if (ended.signal.aborted || signal.aborted) break
    await sleep(POLL_MS)
  }
  if (ended.signal.aborted) notes.push('all were done before the source had sent so much')
  else {
    await swarm.kill(0)
    notes.push(`the source was killed after ${secondsSince(measurement.startedMs)} s`)
  }
  await all
}

function secondsSince(startedMs: number): string {
  return ((performance.now() - startedMs) / 1000).toFixed(1)
}
