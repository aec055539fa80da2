import { setTimeout as sleep } from 'node:timers/promises'
import { GIB } from '../../src/lib/bytes.ts'
import { round } from '../support/figures.ts'
import { sha256File } from '../support/image.ts'
import { BlobswarmSwarm } from './blobswarm-swarm.ts'
import { type Costs, type LinkSample, Measurement } from './measurement.ts'
import type { Method } from './methods.ts'
import { PLAYS, type Play } from './play.ts'
import { boundSeconds, type Setting } from './setting.ts'
import { Stage } from './stage.ts'
import { type SwarmStory, tellStory } from './swarm-story.ts'

/** One run; a line of results. */
export interface RunResult extends Setting {
  readonly method: string
  readonly run: number
  /** When it began, ISO 8601. */
  readonly time: string
  /** Seconds from the start signal until the host had the verified file, ascending; only of those that count. */
  readonly doneSeconds: readonly number[]
  /** Hosts that should be done and are not. */
  readonly unfinished: number
  readonly boundSeconds: number
  /** Of the last host, to the bound; undefined if some host is not done. */
  readonly ratio: number | undefined
  /** Bytes that left the source over those of the image, headers and everything included. */
  readonly sourceCopies: number
  /** The same of what came to the hosts, over what they needed. */
  readonly wireCost: number
  /** Bytes of a packet on the wire on average, of those with a full load mostly. */
  readonly packetBytes: number
  readonly busy: number
  readonly machineSecondsPerGib: number
  readonly processSecondsPerGib: number
  readonly reusedBytes: number
  /** Seconds that those hosts needed that began later, ascending. */
  readonly lateSeconds?: readonly number[] | undefined
  /** Where a host is slow: seconds of the last host in the same run without it, and this run's over them. */
  readonly withoutSeconds?: number | undefined
  readonly delay?: number | undefined
  /** What our agents' events say. */
  readonly story?: SwarmStory | undefined
  readonly notes: readonly string[]
}

/** A run and what was seen on the links. */
export interface Deployment {
  readonly result: RunResult
  readonly samples: readonly LinkSample[]
}

/** A run may take so many times the bound, and not less than the other. */
const GIVE_UP_RATIO = 8
const GIVE_UP_SECONDS = 60
/** A host that is told to fetch so much after the start signal is a late one. */
const LATE_MS = 500
/** Between the last preparation and the start signal. */
const CALM_MS = 2000

/** Makes the hosts, has them fetch a fresh image, checks each copy and removes everything. */
export async function deploy(
  setting: Setting,
  { name, make }: Method,
  options: { readonly run: number; readonly isTraced: boolean }
): Promise<Deployment> {
  const time = new Date().toISOString()
  const stage = await Stage.up(setting)
  const swarm = make(stage)
  try {
    await swarm.start()
    await stage.limitLinks()
    await swarm.warmUp?.()
    await sleep(CALM_MS)
    const seconds = Math.max(GIVE_UP_SECONDS, GIVE_UP_RATIO * boundSeconds(setting))
    const measurement = await Measurement.begin(stage, options.isTraced)
    const play: Play = {
      stage,
      swarm,
      measurement,
      signal: AbortSignal.timeout(Math.ceil(seconds * 1000)),
      askedMs: new Map(),
      doneMs: new Map(),
      notes: []
    }
    await PLAYS[setting.scenario](play).finally(() => measurement.stop())
    const costs = await measurement.end()
    await checkCopies(play)
    const story = swarm instanceof BlobswarmSwarm ? await tellStory(play, swarm) : undefined
    const figures = { ...figuresOf(play, costs), reusedBytes: swarm.reusedBytes(), story }
    const result = { method: name, run: options.run, time, ...setting, ...figures }
    return { result, samples: measurement.samples }
  } finally {
    await swarm.stop()
    await stage.down()
  }
}

async function checkCopies({ stage, swarm, doneMs }: Play): Promise<void> {
  for (const host of doneMs.keys()) {
    const sha256 = await sha256File(swarm.file(host))
    if (sha256 !== stage.image.sha256) throw new Error(`host ${host} has other bytes: ${sha256}`)
  }
}

type Figures = Omit<RunResult, keyof Setting | 'method' | 'run' | 'time' | 'story' | 'reusedBytes'>

function figuresOf(play: Play, costs: Costs): Figures {
  const { stage, notes } = play
  const { setting, image } = stage
  const { links } = costs
  const isCounted = (host: number): boolean =>
    setting.scenario !== 'slow-host' || host !== setting.hosts
  const counted = stage.hosts.filter(isCounted)
  const { doneSeconds, lateSeconds, bound } = timesOf(play, counted)
  const unfinished = counted.length - doneSeconds.length
  const received = links.slice(1).reduce((sum, link) => sum + link.receivedBytes, 0)
  const packets = links.slice(1).reduce((sum, link) => sum + link.receivedPackets, 0)
  const gib = (counted.length * image.bytes) / GIB
  return {
    doneSeconds,
    lateSeconds,
    unfinished,
    boundSeconds: round(bound),
    ratio: unfinished === 0 ? round((doneSeconds.at(-1) ?? 0) / bound, 3) : undefined,
    sourceCopies: round((links[0]?.sentBytes ?? 0) / image.bytes, 3),
    wireCost: round(received / (stage.hosts.length * image.bytes), 3),
    packetBytes: Math.round(received / packets),
    busy: round(costs.busy, 3),
    machineSecondsPerGib: round(costs.machineSeconds / gib),
    processSecondsPerGib: round(costs.processSeconds / gib),
    notes
  }
}

interface Times {
  readonly doneSeconds: readonly number[]
  readonly lateSeconds: readonly number[] | undefined
  readonly bound: number
}

function timesOf(play: Play, hosts: readonly number[]): Times {
  const { stage, askedMs, doneMs, measurement } = play
  const times = hosts.flatMap((host) => {
    const asked = askedMs.get(host)
    const done = doneMs.get(host)
    if (asked === undefined || done === undefined) return []
    const isLate = asked > measurement.startedMs + LATE_MS
    return [
      {
        done: secondsBetween(measurement.startedMs, done),
        asked,
        isLate,
        own: secondsBetween(asked, done)
      }
    ]
  })
  const late = times.filter(({ isLate }) => isLate)
  // Whoever begins late needs at least what its link needs.
  const lateBegin = Math.max(
    0,
    ...late.map(({ asked }) => secondsBetween(measurement.startedMs, asked))
  )
  const alone = boundSeconds({ ...stage.setting, hosts: 1 })
  return {
    doneSeconds: times.map(({ done }) => done).toSorted(ascending),
    lateSeconds: late.length === 0 ? undefined : late.map(({ own }) => own).toSorted(ascending),
    bound: Math.max(boundSeconds(stage.setting), late.length === 0 ? 0 : lateBegin + alone)
  }
}

function secondsBetween(fromMs: number, toMs: number): number {
  return round((toMs - fromMs) / 1000)
}

function ascending(left: number, right: number): number {
  return left - right
}
