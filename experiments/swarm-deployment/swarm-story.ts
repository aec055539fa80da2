import { readFile } from 'node:fs/promises'
import type { ChunkReceivedEvent, SwarmEvent } from '../../src/peer/swarm/events.ts'
import { round } from '../support/figures.ts'
import type { BlobswarmSwarm } from './blobswarm-swarm.ts'
import type { Play } from './play.ts'

/** Seconds of the host that was first, of the one in the middle and of the last. */
export type Spread = readonly [number, number, number]

/** What the agents' own events say about a run. */
export interface SwarmStory {
  /** From the start signal until the manifest was there and chunks could be asked for. */
  readonly manifestSeconds: Spread
  /** Until the first chunk was there; until the last was. What comes after that is writing and flushing. */
  readonly firstChunkSeconds: Spread
  readonly lastChunkSeconds: Spread
  /** Longest time in which a host that was not done received nothing. */
  readonly longestPauseSeconds: number
  /** Of the bytes that came, those from the source and those from other hosts. */
  readonly fromSource: number
  readonly fromPeers: number
  /** Chunks that came and were not needed or wrong, over those needed. */
  readonly duplicates: number
  /** From a request to its last byte: the time in the middle and the 95th of 100. */
  readonly chunkMs: readonly [number, number]
  /** Neighbours that a host had in all, on average. */
  readonly neighbours: number
  /** Requests of all hosts by their reasons. */
  readonly asked: Readonly<Record<string, number>>
  /** Seconds in which nothing came, of all hosts, by what was waited for. */
  readonly waitedSeconds: Readonly<Record<string, number>>
}

type Stamped<E extends SwarmEvent = SwarmEvent> = E & { readonly ts: number }

/** Reads the events of all hosts. */
export async function tellStory(play: Play, swarm: BlobswarmSwarm): Promise<SwarmStory> {
  const { stage, measurement } = play
  const startedMs = performance.timeOrigin + measurement.startedMs
  const hosts = await Promise.all(
    stage.hosts.map(async (host) => {
      const events = await readEvents(swarm.events(host))
      return events.filter(({ ts }) => ts >= startedMs)
    })
  )
  const all = hosts.flat()
  const arrivals = hosts.map((events) => events.filter((event) => isArrival(event)))
  const received = arrivals.flat()
  const seconds = (event: Stamped | undefined): number => {
    return ((event?.ts ?? startedMs) - startedMs) / 1000
  }
  const loaded = hosts.map((events) => events.find(({ event }) => event === 'download-started'))
  return {
    manifestSeconds: spread(loaded.map(seconds)),
    firstChunkSeconds: spread(arrivals.map((events) => seconds(events[0]))),
    lastChunkSeconds: spread(arrivals.map((events) => seconds(events.at(-1)))),
    longestPauseSeconds: round(Math.max(...arrivals.map(longestPause))),
    ...originOf(received, swarm.peerIdOfSource),
    duplicates: round(countOf(all, 'chunk-rejected') / Math.max(1, received.length), 4),
    chunkMs: timesOf(received),
    neighbours: round(countOf(all, 'neighbour-joined') / hosts.length, 1),
    asked: sumUp(
      all.flatMap((event) =>
        event.event === 'download-finished' ? Object.entries(event.asked ?? {}) : []
      )
    ),
    waitedSeconds: sumUp(
      all.flatMap((event) =>
        event.event === 'download-waited' ? [[event.reason, event.ms / 1000]] : []
      )
    )
  }
}

function isArrival(event: Stamped): event is Stamped<ChunkReceivedEvent> {
  return event.event === 'chunk-received'
}

function countOf(events: readonly Stamped[], name: SwarmEvent['event']): number {
  return events.filter(({ event }) => event === name).length
}

function originOf(
  received: readonly ChunkReceivedEvent[],
  source: string
): Pick<SwarmStory, 'fromSource' | 'fromPeers'> {
  const total = Math.max(1, bytesOf(received))
  const fromSource = bytesOf(received.filter(({ peer }) => peer === source)) / total
  return { fromSource: round(fromSource, 3), fromPeers: round(1 - fromSource, 3) }
}

function bytesOf(events: readonly ChunkReceivedEvent[]): number {
  return events.reduce((sum, { bytes }) => sum + bytes, 0)
}

function timesOf(received: readonly ChunkReceivedEvent[]): [number, number] {
  const times = received.map(({ ms }) => ms).toSorted((left, right) => left - right)
  const at = (share: number): number => Math.round(times[Math.floor(times.length * share)] ?? 0)
  return [at(0.5), at(0.95)]
}

function spread(values: readonly number[]): Spread {
  const sorted = values.map((value) => round(value)).toSorted((left, right) => left - right)
  return [sorted[0] ?? 0, sorted[Math.floor((sorted.length - 1) / 2)] ?? 0, sorted.at(-1) ?? 0]
}

function longestPause(events: readonly { readonly ts: number }[]): number {
  const pauses = events.slice(1).map(({ ts }, index) => ts - (events[index]?.ts ?? ts))
  return Math.max(0, ...pauses) / 1000
}

function sumUp(entries: readonly (readonly [string, number])[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const [name, value] of entries) sums[name] = round((sums[name] ?? 0) + value)
  return sums
}

/** A line that a killed agent has left half-written is no event. */
async function readEvents(path: string): Promise<Stamped[]> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [JSON.parse(line) as Stamped]
    } catch {
      return []
    }
  })
}
