import type { RejectReason } from '../../src/peer/protocols/swarm.ts'
import type { ChosenUpload, UploadAsk } from '../../src/peer/swarm/upload-queue.ts'
import type { EventQueue, EventTarget } from './event-queue.ts'
import type { Host } from './host.ts'

/** A small message. */
export type ControlMessage =
  | { readonly type: 'ask'; readonly ask: UploadAsk }
  | { readonly type: 'cancel'; readonly request: number }
  | { readonly type: 'reject'; readonly request: number; readonly reason: RejectReason }
  | { readonly type: 'have'; readonly chunks: readonly number[] }
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
}

export interface PipeOptions {
  /** Bytes that are written and have not reached the other end: buffers of sockets and network. */
  readonly windowBytes: number
  readonly chunkBytes: number
  /** Least time between two announcements that travel on their own. */
  readonly haveIntervalMs: number
  /** The same while fewer than four chunks are to be announced. */
  readonly fewHavesIntervalMs: number
}

interface Chunk {
  readonly upload: ChosenUpload
  /** Numbers of its quanta: from `first`, before `end`. */
  readonly first: number
  readonly end: number
}

// The receiving end hears of a chunk in parts of this size.
const PART_BYTES = 64 * 1024
const DELIVERED = 0
const CONTROL = 1
const HAVE_CAME = 2
// As `SwarmLink` has it.
const MANY_HAVES = 4
// A message that waits behind the others of its host's way down waits no longer than a queue is there.
const MAX_QUEUE_MS = 50

/**
 * One direction between two neighbours, as a stream over TCP is: bytes in order, a window of them on the
 * way, small messages behind what is written already, announcements collected as `SwarmLink` does.
 */
export class Pipe implements EventTarget {
  readonly to: Host
  isClosed = false
  readonly #events: EventQueue
  readonly #from: Host
  readonly #ends: PipeEnds
  readonly #options: PipeOptions
  readonly #window: number
  readonly #quantaPerChunk: number
  /** Quanta written, sent and delivered so far. */
  #written = 0
  #sent = 0
  #delivered = 0
  #current: ChosenUpload | undefined
  #currentLeft = 0
  #partBytes = 0
  readonly #chunks: Chunk[] = []
  /** Messages that are delivered after so many quanta. */
  readonly #behind: { readonly after: number; readonly message: ControlMessage }[] = []
  /** Messages on their way, in order. */
  readonly #flying: ControlMessage[] = []
  #flyingUntilMs = 0
  #haves: number[] = []
  #haveSentMs = -Infinity
  /** When those that wait will have come on their own; infinite if none waits. */
  #haveDueMs = Infinity

  constructor(events: EventQueue, hosts: [Host, Host], ends: PipeEnds, options: PipeOptions) {
    this.#events = events
    this.#from = hosts[0]
    this.to = hosts[1]
    this.#ends = ends
    this.#options = options
    this.#window = Math.max(1, Math.floor(options.windowBytes / hosts[0].quantumBytes))
    this.#quantaPerChunk = options.chunkBytes / hosts[0].quantumBytes
  }

  /** Something is written that has not left. */
  get hasUnsent(): boolean {
    return this.#sent < this.#written
  }

  /** A chunk is being written. */
  get isSendingChunk(): boolean {
    return this.#current !== undefined
  }

  /** Sends a small message. */
  post(message: ControlMessage): void {
    if (this.isClosed) return
    this.#flushHaves()
    this.#write(message)
  }

  /** Announces a chunk soon. */
  announce(chunk: number): void {
    if (this.isClosed) return
    this.#haves.push(chunk)
    const { haveIntervalMs, fewHavesIntervalMs } = this.#options
    const intervalMs = this.#haves.length < MANY_HAVES ? fewHavesIntervalMs : haveIntervalMs
    const leavesMs = Math.max(this.#events.nowMs, this.#haveSentMs + intervalMs)
    const dueMs = leavesMs + this.#from.line.latencyMs
    if (dueMs >= this.#haveDueMs) return
    this.#haveDueMs = dueMs
    this.#events.at(dueMs, this, HAVE_CAME)
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
    this.isClosed = true
  }

  fire(kind: number): void {
    if (this.isClosed) return
    if (kind === DELIVERED) this.#deliver()
    else if (kind === CONTROL) this.#ends.messageCame(this.#flying.shift() as ControlMessage)
    else this.#haveCame()
  }

  #begin(): boolean {
    const upload = this.#ends.nextChunk()
    if (upload === undefined) return false
    this.#flushHaves()
    this.#current = upload
    this.#currentLeft = this.#quantaPerChunk
    const first = this.#written
    this.#chunks.push({ upload, first, end: first + this.#quantaPerChunk })
    return true
  }

  #deliver(): void {
    const index = this.#delivered++
    const chunk = this.#chunks[0] as Chunk
    if (index === chunk.first) this.#ends.chunkBegan(chunk.upload)
    this.#partBytes += this.#from.quantumBytes
    if (index === chunk.end - 1) {
      this.#partBytes = 0
      this.#chunks.shift()
      this.#ends.chunkCame(chunk.upload)
    } else if (this.#partBytes >= PART_BYTES) {
      this.#ends.partCame(this.#partBytes)
      this.#partBytes = 0
    }
    while (this.#behind[0] !== undefined && this.#behind[0].after <= this.#delivered) {
      const behind = this.#behind.shift()
      if (behind !== undefined) this.#ends.messageCame(behind.message)
    }
    this.pump()
  }

  #write(message: ControlMessage): void {
    if (this.#written > this.#delivered) {
      this.#behind.push({ after: this.#written, message })
      return
    }
    const { nowMs } = this.#events
    const arrivalMs = nowMs + this.#from.line.latencyMs
    const queuedMs = Math.min(this.to.downFreeMs, arrivalMs + MAX_QUEUE_MS)
    this.#flyingUntilMs = Math.max(this.#flyingUntilMs, arrivalMs, queuedMs)
    this.#flying.push(message)
    this.#events.at(this.#flyingUntilMs, this, CONTROL)
  }

  #flushHaves(): void {
    if (this.#haves.length === 0) return
    const message = this.#takeHaves()
    this.#write(message)
  }

  /** One event both lets announcements go and brings them, unless bytes are before them. */
  #haveCame(): void {
    if (this.#events.nowMs < this.#haveDueMs) return // those that it was for rode along with something else
    const message = this.#takeHaves()
    if (this.#written > this.#delivered) this.#write(message)
    else this.#ends.messageCame(message)
  }

  #takeHaves(): ControlMessage {
    const chunks = this.#haves
    this.#haves = []
    this.#haveDueMs = Infinity
    this.#haveSentMs = this.#events.nowMs
    return { type: 'have', chunks }
  }
}
