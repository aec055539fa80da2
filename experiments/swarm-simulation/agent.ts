import { strict as assert } from 'node:assert'
import { Bitfield } from '../../src/chunks/bitfield.ts'
import type { Random } from '../../src/lib/random.ts'
import { RateMeter } from '../../src/lib/rate-meter.ts'
import type { ChunkTable } from '../../src/peer/swarm/chunk-table.ts'
import { DownloadPlan } from '../../src/peer/swarm/plan.ts'
import { Precedence } from '../../src/peer/swarm/precedence.ts'
import { Spread } from '../../src/peer/swarm/spread.ts'
import type { ChosenUpload } from '../../src/peer/swarm/upload-queue.ts'
import { Announcements } from './announcements.ts'
import type { EventQueue, EventTarget } from './event-queue.ts'
import { Host, type Line } from './host.ts'
import type { SwarmOptions } from './options.ts'
import type { Peer } from './peer.ts'

// Silence is measured in many seconds; it is looked for this often.
const SILENCE_LOOK_MS = 500
const TICK_KINDS = 256

/** What all agents of a simulation share. */
export interface AgentComponents {
  readonly events: EventQueue
  readonly table: ChunkTable
  readonly random: Random
  readonly options: SwarmOptions
  readonly onFinished: (agent: SimulatedAgent) => void
  /** A running agent has time to look for neighbours. */
  readonly onTick: (agent: SimulatedAgent) => void
}

/** An agent as the swarm sees it: the real rules, and channels that cost only their events. */
export class SimulatedAgent implements EventTarget {
  readonly name: string
  host: Host
  readonly held: Bitfield
  readonly neighbours: Peer[] = []
  readonly byName = new Map<string, Peer>()
  readonly announcements: Announcements
  spread: Spread
  readonly components: AgentComponents
  plan: DownloadPlan
  readonly precedence = new Precedence({ schedule: () => () => {} })
  isSource: boolean
  isRunning = false
  finishedMs: number | undefined
  startedMs = 0
  /** Whole chunks sent, and those that came and were not needed. */
  sentChunks = 0
  wastedChunks = 0
  readonly #chunkRate = new RateMeter()
  /** Which life the agent is in, so that ticks of an earlier one end. */
  #tick = 0
  #lookedMs = 0

  constructor(name: string, components: AgentComponents, line: Line, isSource = false) {
    const { events, options, random, table } = components
    this.name = name
    this.components = components
    this.isSource = isSource
    this.host = new Host(events, line, options.quantumBytes)
    this.held = new Bitfield(table.count)
    this.announcements = new Announcements(events, table.count, line.latencyMs, options)
    this.spread = new Spread(table.count, random)
    this.plan = new DownloadPlan({ table, random, isStored: this.isHeld }, options.plan)
    if (!isSource) return
    this.held.setAll()
    for (const chunk of table.distinct()) this.spread.hold(chunk)
  }

  readonly isHeld = (chunk: number): boolean => this.held.get(chunk)

  /** Begins to fetch what is missing. */
  begin(): void {
    const { events, options, random, table } = this.components
    this.isRunning = true
    this.startedMs = events.nowMs
    this.plan.begin(events.nowMs)
    for (const chunk of table.distinct()) if (!this.held.get(chunk)) this.plan.want(chunk)
    for (const peer of this.neighbours) peer.post({ type: 'wants', wants: true })
    events.at(events.nowMs + random() * options.tickMs, this, this.#tick % TICK_KINDS)
    this.askAll()
  }

  /** Goes away in the middle of whatever it does; its neighbours see their connections reset. */
  crash(): void {
    this.isRunning = false
    this.host.isDead = true
    for (const peer of this.neighbours.slice()) peer.leave()
  }

  /** Comes back with the chunks that it had, and nothing else. */
  restart(): void {
    const { events, options, random, table } = this.components
    const old = this.host
    this.host = new Host(events, old.line, options.quantumBytes)
    this.host.busyMs = old.busyMs
    this.plan = new DownloadPlan({ table, random, isStored: this.isHeld }, options.plan)
    this.#tick++
  }

  /** Looks at time-outs. */
  fire(tick: number): void {
    if (!this.isRunning || tick !== this.#tick % TICK_KINDS) return
    const { events, options } = this.components
    const { nowMs } = events
    events.at(nowMs + options.tickMs, this, tick)
    if (nowMs >= this.#lookedMs + SILENCE_LOOK_MS) this.#dropSilent(nowMs)
    this.plan.tick(nowMs, this.#chunkRate.perSecond(nowMs))
    this.components.onTick(this)
    this.askAll()
  }

  #dropSilent(nowMs: number): void {
    this.#lookedMs = nowMs
    for (const name of this.plan.ledger.silent(nowMs)) {
      const peer = this.byName.get(name)
      for (const { id } of this.plan.giveUp(name, nowMs))
        peer?.post({ type: 'cancel', request: id })
      if (peer?.scorecard.failed().action === 'drop') peer.leave()
    }
  }

  /** Goes on sending what has waited for a demanded chunk. */
  resume(): void {
    for (const { out } of this.neighbours) out.pump()
  }

  /** Somebody waits for a chunk. */
  demand(chunk: number): void {
    this.plan.picker.prioritise([chunk], 'demand')
    this.askAll()
  }

  askAll(): void {
    for (const peer of this.neighbours) this.ask(peer)
  }

  ask(peer: Peer): void {
    if (!this.isRunning) return
    const { nowMs } = this.components.events
    for (;;) {
      const planned = this.plan.next(peer, nowMs)
      if (planned === undefined) return
      const { id, requestClass, chunk } = planned.request
      const { maxCopies } = planned
      peer.post({ type: 'ask', ask: { request: id, requestClass, maxCopies, chunk } })
    }
  }

  /** Takes a whole chunk. */
  take(peer: Peer, upload: ChosenUpload): void {
    const { events, options } = this.components
    const { nowMs } = events
    const { chunk } = upload
    const { ledger } = this.plan
    const request = ledger.find(peer.peerId, upload.request)
    assert(request !== undefined, 'an answer to no request')
    assert(request.chunk === chunk)
    ledger.touch(peer.peerId, nowMs)
    if (!this.isRunning || !this.plan.isNeeded(chunk)) {
      ledger.settle(request)
      this.wastedChunks++
      return
    }
    peer.scorecard.received(options.chunkBytes, nowMs)
    this.#chunkRate.add(1, nowMs)
    for (const other of this.plan.arrived(peer, request, nowMs)) {
      this.byName.get(other.peer)?.post({ type: 'cancel', request: other.id })
    }
    this.held.set(chunk)
    this.spread.hold(chunk)
    this.plan.stored(chunk)
    this.announcements.announce(chunk)
    if (this.plan.missing === 0) this.#finish()
    else this.ask(peer)
  }

  #finish(): void {
    this.isRunning = false
    this.finishedMs = this.components.events.nowMs
    for (const peer of this.neighbours) {
      for (const { id } of this.plan.giveUp(peer.peerId, this.finishedMs)) {
        peer.post({ type: 'cancel', request: id })
      }
    }
    this.plan.end()
    for (const peer of this.neighbours) peer.post({ type: 'wants', wants: false })
    this.components.onFinished(this)
  }
}
