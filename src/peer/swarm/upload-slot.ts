import { toError } from '../../lib/to-error.ts'
import { ProtocolViolationError } from '../errors.ts'
import { REQUEST_CLASSES, type RejectReason, type RequestClass } from '../protocols/swarm.ts'
import type { SwarmLink } from './link.ts'
import type { UploadImage, UploadRequest, Uploads } from './uploads.ts'

interface Waiting {
  readonly request: number
  readonly requestClass: RequestClass
  readonly maxCopies: number
  /** Undefined until it is chosen. */
  readonly chunk: number | undefined
}

interface ReadyChunk {
  readonly waiting: Waiting
  readonly chunk: number
  readonly bytes: Uint8Array
}

/**
 * Serves one neighbour's requests of one image: the most urgent class first, in order of arrival inside
 * a class, reading one chunk ahead of the one that is being sent. Slots of different neighbours send at
 * the same time; the rate limit lets the more urgent of them pass first.
 */
export class UploadSlot {
  readonly #uploads: Uploads
  readonly #image: UploadImage
  readonly #link: SwarmLink
  readonly #remoteHolds: (chunk: number) => boolean
  readonly #queues = new Map<RequestClass, Waiting[]>(REQUEST_CLASSES.map((name) => [name, []]))
  readonly #cancelled = new Set<number>()
  /** Requests that are taken from the queues and not answered. */
  readonly #active = new Set<number>()
  #running: Promise<void> | undefined
  #sentBytes = 0

  constructor(
    uploads: Uploads,
    image: UploadImage,
    link: SwarmLink,
    remoteHolds: (chunk: number) => boolean
  ) {
    this.#uploads = uploads
    this.#image = image
    this.#link = link
    this.#remoteHolds = remoteHolds
  }

  /** Bytes of whole chunks sent. */
  get sentBytes(): number {
    return this.#sentBytes
  }

  /**
   * Takes a request; it is answered later.
   *
   * @throws {ProtocolViolationError} if too many are waiting or there is no such chunk.
   */
  ask(message: UploadRequest): void {
    const { request, requestClass, maxCopies } = message
    if (this.#pendingCount >= this.#uploads.maxPending) {
      throw new ProtocolViolationError(this.#peer, `${this.#pendingCount} requests are waiting`)
    }
    const chunk = message.type === 'request' ? message.index : undefined
    if (chunk !== undefined) {
      const reason = this.#refusal(chunk, maxCopies)
      if (reason !== undefined) {
        this.#reject(request, reason)
        return
      }
      this.#image.spread.add(this.#peer, chunk)
    }
    this.#queues.get(requestClass)?.push({ request, requestClass, maxCopies, chunk })
    this.#running ??= this.#drain()
  }

  /** Answers a waiting request with a reject. Harmless when it has been answered. */
  cancel(request: number): void {
    for (const queue of this.#queues.values()) {
      const at = queue.findIndex((waiting) => waiting.request === request)
      if (at === -1) continue
      const [waiting] = queue.splice(at, 1)
      if (waiting !== undefined) this.#takeBack(waiting.chunk)
      this.#reject(request, 'cancelled')
      return
    }
    if (this.#active.has(request)) this.#cancelled.add(request)
  }

  /** Resolves when nothing is being read or sent; call it after the link has ended. */
  async stopped(): Promise<void> {
    await this.#running
  }

  get #peer(): string {
    return this.#link.peerId
  }

  get #pendingCount(): number {
    let count = this.#active.size
    for (const queue of this.#queues.values()) count += queue.length
    return count
  }

  get #mayRest(): boolean {
    return this.#link.hasEnded || this.#pendingCount === 0
  }

  #refusal(chunk: number, maxCopies: number): RejectReason | undefined {
    const { table, spread } = this.#image
    if (chunk >= table.count || !table.isDistinct(chunk)) {
      throw new ProtocolViolationError(this.#peer, `chunk ${chunk} cannot be asked for`)
    }
    if (!this.#image.isHeld(chunk)) return 'notHeld'
    return spread.copiesBeside(this.#peer, chunk) > maxCopies ? 'spread' : undefined
  }

  async #drain(): Promise<void> {
    let sending = Promise.resolve()
    try {
      for (;;) {
        const waiting = this.#next()
        const ready = waiting === undefined ? undefined : await this.#prepare(waiting)
        await sending
        if (ready !== undefined) {
          sending = this.#send(ready)
          sending.catch(() => {}) // awaited in the next round
        } else if (waiting === undefined && this.#mayRest) return
      }
    } catch (error) {
      // Reading failed only because the link ended; whatever else fails is answered with a reject.
      this.#uploads.log.trace('uploads to %p end: %e', this.#peer, error)
      await sending.catch(() => {})
      for (const queue of this.#queues.values()) queue.length = 0
    } finally {
      this.#running = undefined
    }
  }

  #next(): Waiting | undefined {
    if (this.#link.hasEnded) return undefined
    for (const queue of this.#queues.values()) {
      const waiting = queue.shift()
      if (waiting === undefined) continue
      this.#active.add(waiting.request)
      return waiting
    }
    return undefined
  }

  /** Chooses and reads a chunk, when memory and rate allow. Answers and gives undefined if there is none. */
  async #prepare(waiting: Waiting): Promise<ReadyChunk | undefined> {
    const { spread, table } = this.#image
    const chunk = waiting.chunk ?? spread.pickFor(this.#peer, waiting.maxCopies)
    if (chunk === undefined) return this.#reject(waiting.request, 'spread')
    spread.add(this.#peer, chunk)
    const length = table.byteLength(chunk)
    const signal = this.#link.channel.ended
    const priority = REQUEST_CLASSES.indexOf(waiting.requestClass)
    await this.#uploads.memory.acquire(length, { signal })
    try {
      await this.#uploads.limiter.take(length, { signal, priority })
      const bytes = await this.#read(chunk)
      if (bytes instanceof Uint8Array) return { waiting, chunk, bytes }
      this.#takeBack(chunk)
      this.#reject(waiting.request, bytes)
    } catch (error) {
      this.#uploads.memory.release(length)
      throw error
    }
    this.#uploads.memory.release(length)
    return undefined
  }

  async #read(chunk: number): Promise<Uint8Array | RejectReason> {
    try {
      const bytes = await this.#uploads.store.get(this.#image.table.id(chunk))
      if (bytes !== undefined) return bytes
      this.#image.lost(chunk)
      return 'notHeld'
    } catch (error) {
      this.#uploads.log.error('chunk %d cannot be read: %e', chunk, toError(error))
      return 'failed'
    }
  }

  async #send(ready: ReadyChunk): Promise<void> {
    const { waiting, chunk, bytes } = ready
    const { request } = waiting
    try {
      for (let offset = 0; offset < bytes.byteLength; offset += this.#uploads.partBytes) {
        if (this.#cancelled.has(request)) {
          this.#takeBack(chunk)
          this.#reject(request, 'cancelled')
          return
        }
        const part = bytes.subarray(offset, offset + this.#uploads.partBytes)
        const totalBytes = bytes.byteLength
        await this.#link.send({
          type: 'chunk',
          request,
          index: chunk,
          encoding: 0,
          totalBytes,
          offset,
          part
        })
      }
      this.#sentBytes += bytes.byteLength
      this.#uploads.sentBytes?.add(bytes.byteLength)
      this.#image.sent(this.#peer, chunk)
    } finally {
      this.#active.delete(request)
      this.#cancelled.delete(request)
      this.#uploads.memory.release(bytes.byteLength)
    }
  }

  /** The chunk does not go to this neighbour after all. */
  #takeBack(chunk: number | undefined): void {
    if (chunk !== undefined && !this.#remoteHolds(chunk)) {
      this.#image.spread.remove(this.#peer, chunk)
    }
  }

  #reject(request: number, reason: RejectReason): undefined {
    this.#active.delete(request)
    this.#cancelled.delete(request)
    this.#link.post({ type: 'reject', request, reason })
  }
}
