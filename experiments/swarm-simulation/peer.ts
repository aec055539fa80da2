import { strict as assert } from 'node:assert'
import { Bitfield } from '../../src/chunks/bitfield.ts'
import type { PlanNeighbour } from '../../src/peer/swarm/plan.ts'
import { Scorecard } from '../../src/peer/swarm/scorecard.ts'
import { type ChosenUpload, UploadQueue } from '../../src/peer/swarm/upload-queue.ts'
import type { SimulatedAgent } from './agent.ts'
import { type ControlMessage, Pipe, type PipeEnds } from './pipe.ts'

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
    const { spread, isHeld, announcements } = owner
    this.queue = new UploadQueue({ peer: this.peerId, spread, isHeld, remoteHolds: this.holds })
    const place = { from: owner.host, to: remote.host, announcements }
    this.out = new Pipe(events, place, this, options)
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
        return upload
      }
      this.queue.rejected(ask.request, undefined)
      this.#noteDemand()
      this.post({ type: 'reject', request: ask.request, reason: 'spread' })
    }
  }

  chunkSent(upload: ChosenUpload): void {
    this.queue.sent(upload.request)
    this.owner.sentChunks++
    this.#noteDemand()
    if (upload.requestClass === 'demand') this.owner.resume()
  }

  mustPause(): boolean {
    return this.owner.precedence.mustYield(this)
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

  haveCame(from: number, to: number): void {
    this.#far.#gained(from, to)
  }

  get #far(): Peer {
    return this.#mirror as Peer
  }

  #noteDemand(): void {
    this.owner.precedence.note(this, this.queue.hasDemand)
  }

  #handle(message: ControlMessage): void {
    const { owner, queue } = this
    switch (message.type) {
      case 'ask': {
        const { chunk } = message.ask
        assert(chunk === undefined || owner.held.get(chunk), 'asked for what it does not hold')
        const reason = queue.ask(message.ask)
        this.#noteDemand()
        const { request } = message.ask
        if (reason !== undefined) this.post({ type: 'reject', request, reason })
        else this.out.pump()
        break
      }
      case 'cancel':
        if (queue.cancel(message.request)) {
          this.#noteDemand()
          this.post({ type: 'reject', request: message.request, reason: 'cancelled' })
        }
        break
      case 'reject':
        this.#rejected(message)
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

  #gained(from: number, to: number): void {
    const { held, owner, peerId } = this
    const { chunks } = this.remote.announcements
    for (let at = from; at < to; at++) {
      const chunk = chunks[at] ?? 0
      if (!held.set(chunk)) continue
      owner.spread.add(peerId, chunk)
      owner.plan.gained(this, chunk)
    }
    owner.ask(this)
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
    this.#noteDemand()
    owner.resume()
    owner.spread.leave(this.peerId)
    owner.plan.left(this, owner.components.events.nowMs)
    owner.askAll()
  }
}
