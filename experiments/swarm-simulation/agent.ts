import { strict as assert } from 'node:assert'
import { Bitfield } from '../../src/chunks/bitfield.ts'
import type { Random } from '../../src/lib/random.ts'
import { RateMeter } from '../../src/lib/rate-meter.ts'
import type { ChunkTable } from '../../src/peer/swarm/chunk-table.ts'
import { DownloadPlan, type PlanNeighbour } from '../../src/peer/swarm/plan.ts'
import { Precedence } from '../../src/peer/swarm/precedence.ts'
import { Scorecard } from '../../src/peer/swarm/scorecard.ts'
import { Spread } from '../../src/peer/swarm/spread.ts'
import { type ChosenUpload, UploadQueue } from '../../src/peer/swarm/upload-queue.ts'
import type { EventQueue, EventTarget } from './event-queue.ts'
import { Host, type Line } from './host.ts'
import type { SwarmOptions } from './options.ts'
import { type ControlMessage, Pipe, type PipeEnds } from './pipe.ts'

const TICK_MS = 100
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

  constructor(name: string, components: AgentComponents, line: Line, isSource = false) {
    const { events, options, random, table } = components
    this.name = name
    this.components = components
    this.isSource = isSource
    this.host = new Host(events, line, options.quantumBytes)
    this.held = new Bitfield(table.count)
    this.spread = new Spread(table.count, random)
    const isStored = (chunk: number): boolean => this.held.get(chunk)
    this.plan = new DownloadPlan({ table, random, isStored }, options.plan)
    if (!isSource) return
    this.held.setAll()
    for (const chunk of table.distinct()) this.spread.hold(chunk)
  }

  /** Begins to fetch what is missing. */
  begin(): void {
    const { events, random, table } = this.components
    this.isRunning = true
    this.startedMs = events.nowMs
    this.plan.begin(events.nowMs)
    for (const chunk of table.distinct()) if (!this.held.get(chunk)) this.plan.want(chunk)
    for (const peer of this.neighbours) peer.post({ type: 'wants', wants: true })
    events.at(events.nowMs + random() * TICK_MS, this, this.#tick % TICK_KINDS)
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
    const isStored = (chunk: number): boolean => this.held.get(chunk)
    this.plan = new DownloadPlan({ table, random, isStored }, options.plan)
    this.#tick++
  }

  /** Looks at time-outs. */
  fire(tick: number): void {
    if (!this.isRunning || tick !== this.#tick % TICK_KINDS) return
    const { events } = this.components
    const { nowMs } = events
    events.at(nowMs + TICK_MS, this, tick)
    for (const name of this.plan.ledger.silent(nowMs)) {
      const peer = this.byName.get(name)
      for (const { id } of this.plan.giveUp(name)) peer?.post({ type: 'cancel', request: id })
      if (peer?.scorecard.failed().action === 'drop') peer.leave()
    }
    this.plan.tick(nowMs, this.#chunkRate.perSecond(nowMs))
    this.components.onTick(this)
    this.askAll()
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
    for (const neighbour of this.neighbours) neighbour.out.announce(chunk)
    if (this.plan.missing === 0) this.#finish()
    else this.ask(peer)
  }

  #finish(): void {
    this.isRunning = false
    this.finishedMs = this.components.events.nowMs
    for (const peer of this.neighbours) {
      for (const { id } of this.plan.giveUp(peer.peerId)) {
        peer.post({ type: 'cancel', request: id })
      }
    }
    this.plan.end()
    for (const peer of this.neighbours) peer.post({ type: 'wants', wants: false })
    this.components.onFinished(this)
  }
}

/** One agent's view of another: what the plan sees, the queue of its requests, and the pipe to it. */
export class Peer implements PlanNeighbour, PipeEnds {
  readonly peerId: string
  readonly isSource: boolean
  readonly scorecard: Scorecard
  readonly held: Bitfield
  readonly owner: SimulatedAgent
  readonly remote: SimulatedAgent
  readonly queue: UploadQueue
  /** Carries what the owner sends. */
  readonly out: Pipe
  wants: boolean
  #endSending: () => void = () => {}
  /** The same pair, seen from the other end. */
  #mirror: Peer | undefined

  constructor(owner: SimulatedAgent, remote: SimulatedAgent) {
    const { events, options, table } = owner.components
    this.owner = owner
    this.remote = remote
    this.peerId = remote.name
    this.isSource = !remote.isRunning
    this.wants = remote.isRunning
    this.scorecard = new Scorecard(options.scorecard)
    this.held = Bitfield.decode(remote.held.encode(), table.count)
    const isHeld = (chunk: number): boolean => owner.held.get(chunk)
    const parts = { peer: this.peerId, spread: owner.spread, isHeld, remoteHolds: this.holds }
    this.queue = new UploadQueue(parts)
    this.out = new Pipe(events, [owner.host, remote.host], this, options)
  }

  readonly holds = (chunk: number): boolean => this.held.get(chunk)

  /** Makes two agents neighbours. */
  static join(one: SimulatedAgent, other: SimulatedAgent): void {
    const [near, far] = [new Peer(one, other), new Peer(other, one)]
    near.#mirror = far
    far.#mirror = near
    near.#enter()
    far.#enter()
    one.ask(near)
    other.ask(far)
  }

  post(message: ControlMessage): void {
    this.out.post(message)
  }

  /** Ends the neighbourhood at both ends; what is under way is lost. */
  leave(): void {
    this.#exit()
    this.#far.#exit()
  }

  nextChunk(): ChosenUpload | undefined {
    for (;;) {
      const ask = this.queue.take()
      if (ask === undefined) return undefined
      const upload = this.queue.choose(ask)
      if (upload !== undefined) {
        assert(this.owner.held.get(upload.chunk), 'serves what it does not hold')
        this.#endSending = this.owner.precedence.begin(upload.requestClass)
        return upload
      }
      this.queue.rejected(ask.request, undefined)
      this.post({ type: 'reject', request: ask.request, reason: 'spread' })
    }
  }

  chunkSent(upload: ChosenUpload): void {
    this.queue.sent(upload.request)
    this.owner.sentChunks++
    this.#endSending()
    if (upload.requestClass === 'demand') this.owner.resume()
  }

  mustPause(upload: ChosenUpload): boolean {
    return this.owner.precedence.mustYield(upload.requestClass)
  }

  /** At the far end the first bytes of a chunk came: the mirror is who receives them. */
  chunkBegan(upload: ChosenUpload): void {
    const { owner, peerId } = this.#far
    const { plan, components } = owner
    const request = plan.ledger.find(peerId, upload.request)
    assert(request !== undefined, 'an answer to no request')
    plan.ledger.touch(peerId, components.events.nowMs)
    if (request.chunk === undefined) plan.bound(request, upload.chunk)
  }

  partCame(bytes: number): void {
    const { owner, peerId } = this.#far
    owner.plan.ledger.touch(peerId, owner.components.events.nowMs, bytes)
    owner.ask(this.#far)
  }

  chunkCame(upload: ChosenUpload): void {
    this.#far.owner.take(this.#far, upload)
  }

  messageCame(message: ControlMessage): void {
    this.#far.#handle(message)
  }

  get #far(): Peer {
    return this.#mirror as Peer
  }

  #handle(message: ControlMessage): void {
    const { owner, queue } = this
    switch (message.type) {
      case 'ask': {
        const { chunk } = message.ask
        assert(chunk === undefined || owner.held.get(chunk), 'asked for what it does not hold')
        const reason = queue.ask(message.ask)
        const { request } = message.ask
        if (reason !== undefined) this.post({ type: 'reject', request, reason })
        else this.out.pump()
        break
      }
      case 'cancel':
        if (queue.cancel(message.request)) {
          this.post({ type: 'reject', request: message.request, reason: 'cancelled' })
        }
        break
      case 'reject':
        this.#rejected(message)
        break
      case 'have':
        this.#gained(message.chunks)
        break
      case 'wants':
        this.#changedWants(message.wants)
        break
    }
  }

  #rejected({ request: id, reason }: Extract<ControlMessage, { type: 'reject' }>): void {
    const { plan, components } = this.owner
    const { nowMs } = components.events
    const request = plan.ledger.find(this.peerId, id)
    assert(request !== undefined, 'a reject of no request')
    plan.ledger.touch(this.peerId, nowMs)
    plan.rejected(request, reason, nowMs)
    if (reason === 'notHeld' && request.chunk !== undefined && this.held.clear(request.chunk)) {
      plan.lost(this, request.chunk)
    }
    this.owner.ask(this)
  }

  #gained(chunks: readonly number[]): void {
    for (const chunk of chunks) {
      if (!this.held.set(chunk)) continue
      this.owner.spread.add(this.peerId, chunk)
      this.owner.plan.gained(this, chunk)
    }
    this.owner.ask(this)
  }

  #changedWants(wants: boolean): void {
    const { spread } = this.owner
    this.wants = wants
    if (wants && !this.held.hasAll) spread.join(this.peerId, this.held)
    else if (!this.held.hasAll) spread.leave(this.peerId)
  }

  #enter(): void {
    const { owner } = this
    owner.neighbours.push(this)
    owner.byName.set(this.peerId, this)
    if (this.wants && !this.held.hasAll) owner.spread.join(this.peerId, this.held)
    owner.plan.joined(this)
  }

  #exit(): void {
    const { owner } = this
    const at = owner.neighbours.indexOf(this)
    if (at === -1) return
    owner.neighbours.splice(at, 1)
    owner.byName.delete(this.peerId)
    this.out.close()
    this.queue.clear()
    if (this.out.isSendingChunk) this.#endSending()
    owner.resume()
    owner.spread.leave(this.peerId)
    owner.plan.left(this, owner.components.events.nowMs)
    owner.askAll()
  }
}
