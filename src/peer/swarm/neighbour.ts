import { Bitfield } from '../../chunks/bitfield.ts'
import type { HandshakeMessage } from '../protocols/swarm.ts'
import type { Member } from '../types.ts'
import type { Assembly } from './assembly.ts'
import type { ChunkTable } from './chunk-table.ts'
import type { LeaveReason } from './events.ts'
import type { SwarmLink } from './link.ts'
import { Scorecard, type ScorecardOptions } from './scorecard.ts'
import { Tolerance } from './tolerance.ts'

/** What two agents told each other when they met. */
export interface Meeting {
  readonly link: SwarmLink
  /** Who opened the channel. */
  readonly opener: string
  readonly handshake: HandshakeMessage
}

/** Another agent that has the same image or wants it, with a channel to it. */
export class Neighbour {
  readonly link: SwarmLink
  readonly opener: string
  readonly addresses: readonly string[]
  /** Failure domain that it said it is in; empty if it did not. */
  readonly zone: string
  readonly scorecard: Scorecard
  readonly tolerance: Tolerance
  /** Chunks of which some parts came, by request. */
  readonly assemblies = new Map<number, Assembly>()
  /** Since when neither end wants anything of the other, monotonic; undefined while one does. */
  idleSinceMs: number | undefined
  /**
   * It wanted nothing when it came: a provider, or an agent that has finished. What only sources hold
   * has not spread yet.
   */
  readonly isSource: boolean
  /** It wants chunks now. */
  wants: boolean
  /** Why it is about to go, once that is decided. */
  leaving: LeaveReason | undefined
  readonly #table: ChunkTable
  readonly #held: Bitfield

  /** @throws {MalformedError} if the bitfield is not one of this image. */
  constructor(meeting: Meeting, table: ChunkTable, options: ScorecardOptions = {}) {
    const { link, opener, handshake } = meeting
    this.link = link
    this.opener = opener
    this.addresses = handshake.addresses
    this.zone = handshake.zone ?? ''
    this.scorecard = new Scorecard(options)
    this.tolerance = new Tolerance(link.receivedMs)
    this.isSource = !handshake.wants
    this.wants = handshake.wants
    this.#table = table
    this.#held = heldFrom(handshake, table)
  }

  get peerId(): string {
    return this.link.peerId
  }

  get member(): Member {
    return this.link.channel.remote
  }

  /** It keeps chunks durably for the cluster; its bytes count as a provider's. */
  get isProvider(): boolean {
    return this.member.roles.has('provider')
  }

  /** Different chunks of the image that it holds. */
  get heldCount(): number {
    return this.#held.onesCount
  }

  get holdsAll(): boolean {
    return this.heldCount === this.#table.distinctCount
  }

  /** Tells whether it holds the chunk that is fetched under this index. */
  readonly holds = (chunk: number): boolean => this.#held.get(chunk)

  /** The chunks that it holds, for those who count copies; not to be changed. */
  get held(): Bitfield {
    return this.#held
  }

  /** Notes that it has a chunk. @returns true if that is news. */
  gained(chunk: number): boolean {
    return this.#held.set(chunk)
  }

  /** Notes that it does not have a chunk after all. @returns true if that is news. */
  lacks(chunk: number): boolean {
    return this.#held.clear(chunk)
  }
}

function heldFrom(handshake: HandshakeMessage, table: ChunkTable): Bitfield {
  const { bitfield, holdsAll } = handshake
  if (bitfield !== undefined) return Bitfield.decode(bitfield, table.count).and(table.distinctField)
  return holdsAll ? table.distinctField.and(table.distinctField) : new Bitfield(table.count)
}
