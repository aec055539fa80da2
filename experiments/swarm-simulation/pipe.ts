import type { RejectReason } from '../../src/peer/protocols/swarm.ts'
import type { ChosenUpload, UploadAsk } from '../../src/peer/swarm/upload-queue.ts'
import type { Announcements } from './announcements.ts'
import type { EventQueue, EventTarget } from './event-queue.ts'
import type { Host } from './host.ts'

/** A small message. */
export type ControlMessage =
  | { readonly type: 'ask'; readonly ask: UploadAsk }
  | { readonly type: 'cancel'; readonly request: number }
  | { readonly type: 'reject'; readonly request: number; readonly reason: RejectReason }
  | { readonly type: 'wants'; readonly wants: boolean }

/** What the two ends of a pipe do. */
export interface PipeEnds {
  /** At the near end: chooses the next chunk to send; undefined if there is none now. */
  nextChunk(): ChosenUpload | undefined
  /** At the near end: all of a chunk is under way. */
  chunkSent(upload: ChosenUpload): void
  /** At the near end, between two quanta: true to send the rest of the chunk later. */
  mustPause(upload: ChosenUpload): boolean
  /** At the far end. */
  chunkBegan(upload: ChosenUpload): void
  partCame(bytes: number): void
  chunkCame(upload: ChosenUpload): void
  messageCame(message: ControlMessage): void
  /** Announcements from one place to another, of `Announcements.chunks`. */
  haveCame(from: number, to: number): void
}

export interface PipeOptions {
  /** Bytes that are written and have not reached the other end: buffers of sockets and network. */
  readonly windowBytes: number
  readonly chunkBytes: number
}

/** Where a pipe is, and what is announced over it. */
export interface PipePlace {
  readonly from: Host
  readonly to: Host
  readonly announcements: Announcements
}

/** Something small on its way: announcements, a message, or both in this order. */
interface Posted {
  readonly message: ControlMessage | undefined
  readonly haveFrom: number
  readonly haveTo: number
  /** Quanta that arrive before it. */
  readonly after: number
  next: Posted | undefined
}

// The receiving end hears of a chunk in parts of this size.
const PART_BYTES = 64 * 1024
const DELIVERED = 0
const POSTED = 1
// A message that waits behind the others of its host's way down waits no longer than a queue is there.
const MAX_QUEUE_MS = 50

/**
 * One direction between two neighbours, as a stream over TCP is: bytes in order, a window of them on the
 * way, small messages behind what is written already, announcements collected as `SwarmLink` does.
 */
export class Pipe implements EventTarget {
  readonly to: Host
  isClosed = false
  /** The next in its host's turns. */
  nextReady: Pipe | undefined
  readonly #events: EventQueue
  readonly #from: Host
  readonly #ends: PipeEnds
  readonly #announcements: Announcements
  readonly #place: number
  readonly #window: number
  readonly #quantaPerChunk: number
  /** Quanta written, sent and delivered so far. */
  #written = 0
  #sent = 0
  #delivered = 0
  #current: ChosenUpload | undefined
  /** Of the chunk that is being written, quanta to go. */
  #currentLeft = 0
  /** Chunks that have begun to be written and have not come; of the first one, quanta that came. */
  readonly #chunks: ChosenUpload[] = []
  #cameOfFirst = 0
  #partBytes = 0
  /** Waiting for quanta before them. */
  #firstBehind: Posted | undefined
  #lastBehind: Posted | undefined
  /** With nothing before them, each with an event of its own. */
  #firstFlying: Posted | undefined
  #lastFlying: Posted | undefined
  #flyingUntilMs = 0

  constructor(events: EventQueue, place: PipePlace, ends: PipeEnds, options: PipeOptions) {
    const { from, to, announcements } = place
    this.#events = events
    this.#from = from
    this.to = to
    this.#ends = ends
    this.#announcements = announcements
    this.#place = announcements.add(this)
    this.#window = Math.max(1, Math.floor(options.windowBytes / from.quantumBytes))
    this.#quantaPerChunk = options.chunkBytes / from.quantumBytes
  }

  /** Something is written that has not left. */
  get hasUnsent(): boolean {
    return this.#sent < this.#written
  }

  /** A chunk is being written. */
  get isSendingChunk(): boolean {
    return this.#current !== undefined
  }

  /** Sends a small message, and before it what is to be announced. */
  post(message: ControlMessage | undefined): void {
    if (this.isClosed) return
    const haveFrom = this.#announcements.take(this.#place)
    if (haveFrom === undefined && message === undefined) return
    const haveTo = this.#announcements.end
    const after = this.#written
    const posted = { message, haveFrom: haveFrom ?? haveTo, haveTo, after, next: undefined }
    if (after > this.#delivered) this.#queueBehind(posted)
    else this.#fly(posted)
  }

  /** Announcements would come about now. */
  bringAnnouncements(): void {
    if (this.#written > this.#delivered) this.post(undefined)
    else {
      const from = this.#announcements.take(this.#place)
      if (from !== undefined) this.#ends.haveCame(from, this.#announcements.end)
    }
  }

  /** Writes as much of chunks as the window allows. */
  pump(): void {
    const hadUnsent = this.hasUnsent
    while (!this.isClosed && this.#written - this.#delivered < this.#window) {
      if (this.#current === undefined && !this.#begin()) break
      const current = this.#current as unknown as ChosenUpload
      if (this.#ends.mustPause(current)) break
      this.#written++
      if (--this.#currentLeft > 0) continue
      this.#current = undefined
      this.#ends.chunkSent(current)
    }
    // The quantum that is leaving keeps the pipe in its host's turns.
    if (!hadUnsent && this.hasUnsent) this.#from.ready(this)
  }

  /** A quantum has left and will have come at a time. */
  departed(atMs: number): void {
    this.#sent++
    this.#events.at(atMs, this, DELIVERED)
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#announcements.remove(this.#place)
  }

  fire(kind: number): void {
    if (this.isClosed) return
    if (kind === DELIVERED) this.#deliver()
    else this.#land()
  }

  #begin(): boolean {
    const upload = this.#ends.nextChunk()
    if (upload === undefined) return false
    this.post(undefined)
    this.#current = upload
    this.#currentLeft = this.#quantaPerChunk
    this.#chunks.push(upload)
    return true
  }

  #deliver(): void {
    this.#delivered++
    const upload = this.#chunks[0] as ChosenUpload
    if (this.#cameOfFirst++ === 0) this.#ends.chunkBegan(upload)
    this.#partBytes += this.#from.quantumBytes
    if (this.#cameOfFirst === this.#quantaPerChunk) {
      this.#partBytes = 0
      this.#cameOfFirst = 0
      this.#chunks.shift()
      this.#ends.chunkCame(upload)
    } else if (this.#partBytes >= PART_BYTES) {
      this.#ends.partCame(this.#partBytes)
      this.#partBytes = 0
    }
    while (this.#firstBehind !== undefined && this.#firstBehind.after <= this.#delivered) {
      const posted = this.#firstBehind
      this.#firstBehind = posted.next
      this.#come(posted)
    }
    this.pump()
  }

  #queueBehind(posted: Posted): void {
    if (this.#firstBehind === undefined || this.#lastBehind === undefined) {
      this.#firstBehind = posted
    } else this.#lastBehind.next = posted
    this.#lastBehind = posted
  }

  #fly(posted: Posted): void {
    const arrivalMs = this.#events.nowMs + this.#from.line.latencyMs
    const queuedMs = Math.min(this.to.downFreeMs, arrivalMs + MAX_QUEUE_MS)
    this.#flyingUntilMs = Math.max(this.#flyingUntilMs, arrivalMs, queuedMs)
    if (this.#firstFlying === undefined || this.#lastFlying === undefined) {
      this.#firstFlying = posted
    } else this.#lastFlying.next = posted
    this.#lastFlying = posted
    this.#events.at(this.#flyingUntilMs, this, POSTED)
  }

  #land(): void {
    const posted = this.#firstFlying
    if (posted === undefined) return
    this.#firstFlying = posted.next
    this.#come(posted)
  }

  #come({ message, haveFrom, haveTo }: Posted): void {
    if (haveFrom < haveTo) this.#ends.haveCame(haveFrom, haveTo)
    if (message !== undefined && !this.isClosed) this.#ends.messageCame(message)
  }
}
