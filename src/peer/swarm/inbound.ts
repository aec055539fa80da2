import type { Clock } from '../../lib/clock.ts'
import { ProtocolViolationError } from '../errors.ts'
import type { SwarmMessage } from '../protocols/swarm.ts'
import type { ChunkTable } from './chunk-table.ts'
import type { Dialling } from './dialling.ts'
import type { Downloader } from './downloader.ts'
import type { Neighbour } from './neighbour.ts'
import type { Neighbourhood } from './neighbourhood.ts'
import type { PageServer } from './page-server.ts'
import type { Spread } from './spread.ts'
import type { Nuisance } from './tolerance.ts'
import type { UploadSlot } from './upload-slot.ts'

/** The parts of a session that messages go to. */
export interface InboundComponents {
  readonly clock: Clock
  readonly table: ChunkTable
  readonly spread: Spread
  readonly neighbourhood: Neighbourhood
  readonly dialling: Dialling
  readonly pages: PageServer
  readonly slotOf: (neighbour: Neighbour) => UploadSlot | undefined
  /** Undefined before the image was first fetched. */
  readonly downloader: () => Downloader | undefined
  /** A neighbour begins to fetch. */
  readonly onWanted: () => void
  /** Tells whether this agent holds a chunk. */
  readonly isHeld: (chunk: number) => boolean
}

/** Acts on what neighbours say. */
export class Inbound {
  readonly #components: InboundComponents

  constructor(components: InboundComponents) {
    this.#components = components
  }

  /** Handles one message. @throws {ProtocolViolationError} if it breaks the protocol. */
  handle(neighbour: Neighbour, message: SwarmMessage): void {
    const { dialling, neighbourhood, pages, slotOf } = this.#components
    if (neighbour.leaving !== undefined) return
    switch (message.type) {
      case 'have':
        this.#gained(neighbour, message.indexes)
        break
      case 'request':
      case 'any':
        slotOf(neighbour)?.ask(message)
        if (message.type === 'request' && !this.#components.isHeld(message.index)) {
          this.#bear(neighbour, 'requests for what is not here')
        }
        break
      case 'cancel':
        this.#bear(neighbour, 'cancels')
        slotOf(neighbour)?.cancel(message.request)
        break
      case 'chunk':
        this.#fetching(neighbour).receive(neighbour, message)
        break
      case 'reject':
        this.#fetching(neighbour).rejected(neighbour, message.request, message.reason)
        break
      case 'peers':
        this.#bear(neighbour, 'names of other peers', message.peers.length)
        dialling.exchanged(message.peers)
        if (this.#components.downloader()?.isRunning === true) dialling.tick()
        break
      case 'pages':
        this.#bear(neighbour, 'manifest pages', message.ids.length)
        pages.answer(neighbour.link, message)
        break
      case 'wants':
        this.#bear(neighbour, 'changes of mind')
        this.#changedWants(neighbour, message.wants)
        break
      case 'goodbye':
        neighbourhood.remove(neighbour, 'goodbye')
        dialling.refused(neighbour.peerId, message.reason)
        break
      case 'handshake':
      case 'page':
        throw new ProtocolViolationError(neighbour.peerId, `${message.type} out of place`)
    }
  }

  /** Bears something of no use. @throws {ProtocolViolationError} if there was too much of that. */
  #bear(neighbour: Neighbour, nuisance: Nuisance, times = 1): void {
    if (neighbour.tolerance.bears(nuisance, times, this.#components.clock.monotonic())) return
    neighbour.leaving = 'flooding'
    throw new ProtocolViolationError(neighbour.peerId, `too many ${nuisance}`)
  }

  #fetching(neighbour: Neighbour): Downloader {
    const downloader = this.#components.downloader()
    if (downloader !== undefined) return downloader
    throw new ProtocolViolationError(neighbour.peerId, 'an answer to no request')
  }

  #gained(neighbour: Neighbour, chunks: readonly number[]): void {
    const { table, spread } = this.#components
    if (chunks.length === 0) this.#bear(neighbour, 'messages that say nothing')
    const news: number[] = []
    for (const chunk of chunks) {
      if (chunk >= table.count || !table.isDistinct(chunk)) {
        throw new ProtocolViolationError(neighbour.peerId, `chunk ${chunk} cannot be announced`)
      }
      if (!neighbour.gained(chunk)) continue
      spread.add(neighbour.peerId, chunk)
      news.push(chunk)
    }
    const oldCount = chunks.length - news.length
    if (oldCount > 0) this.#bear(neighbour, 'announcements that tell nothing new', oldCount)
    if (news.length > 0) this.#components.downloader()?.gained(neighbour, news)
  }

  #changedWants(neighbour: Neighbour, wants: boolean): void {
    const { spread } = this.#components
    neighbour.wants = wants
    // One that has become whole goes on counting as long as it is there: it serves whoever comes next.
    if (wants && !neighbour.holdsAll) spread.join(neighbour.peerId, neighbour.held)
    else if (!neighbour.holdsAll) spread.leave(neighbour.peerId)
    if (wants) this.#components.onWanted()
  }
}
