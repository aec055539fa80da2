import { toError } from '../../lib/to-error.ts'
import { ProtocolViolationError } from '../errors.ts'
import { REQUEST_CLASSES, type RejectReason } from '../protocols/swarm.ts'
import type { SwarmLink } from './link.ts'
import type { BorrowedChunk } from './recent-chunks.ts'
import { type ChosenUpload, type UploadAsk, UploadQueue } from './upload-queue.ts'
import type { UploadImage, UploadRequest, Uploads } from './uploads.ts'

interface ReadyChunk extends BorrowedChunk {
  readonly upload: ChosenUpload
}

/**
 * Serves one neighbour's requests of one image in the order of its queue, reading one chunk ahead of the
 * one that is being sent. Slots of different neighbours send at the same time; the rate limit lets the
 * more urgent of them pass first, and between two parts every slot lets a demanded chunk pass.
 */
export class UploadSlot {
  readonly #uploads: Uploads
  readonly #image: UploadImage
  readonly #link: SwarmLink
  readonly #queue: UploadQueue
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
    const { spread } = image
    const isHeld = (chunk: number): boolean => image.isHeld(chunk)
    const { peerId: peer } = link
    this.#queue = new UploadQueue({ peer, spread, isHeld, remoteHolds }, uploads)
  }

  /** Bytes of whole chunks sent. */
  get sentBytes(): number {
    return this.#sentBytes
  }

  /** Requests that are not answered. */
  get pendingCount(): number {
    return this.#queue.pendingCount
  }

  /**
   * Takes a request; it is answered later.
   *
   * @throws {ProtocolViolationError} if too many are waiting or there is no such chunk.
   */
  ask(message: UploadRequest): void {
    const { request, requestClass, maxCopies } = message
    const chunk = message.type === 'request' ? message.index : undefined
    const { table } = this.#image
    if (chunk !== undefined && (chunk >= table.count || !table.isDistinct(chunk))) {
      throw new ProtocolViolationError(this.#peer, `chunk ${chunk} cannot be asked for`)
    }
    const refusal = this.#queue.ask({ request, requestClass, maxCopies, chunk })
    this.#noteDemand()
    if (refusal !== undefined) this.#post(request, refusal)
    else this.#running ??= this.#drain()
  }

  /** Answers a waiting request with a reject. Harmless when it has been answered. */
  cancel(request: number): void {
    if (!this.#queue.cancel(request)) return
    this.#noteDemand()
    this.#post(request, 'cancelled')
  }

  /** Resolves when nothing is being read or sent; call it after the link has ended. */
  async stopped(): Promise<void> {
    await this.#running
  }

  get #peer(): string {
    return this.#link.peerId
  }

  get #mayRest(): boolean {
    return this.#link.hasEnded || this.#queue.pendingCount === 0
  }

  #noteDemand(): void {
    this.#uploads.precedence.note(this, this.#queue.hasDemand)
  }

  async #drain(): Promise<void> {
    let sending = Promise.resolve()
    try {
      for (;;) {
        const ask = this.#link.hasEnded ? undefined : this.#queue.take()
        const ready = ask === undefined ? undefined : await this.#prepare(ask)
        await sending
        if (ready !== undefined) {
          sending = this.#send(ready)
          sending.catch(() => {}) // awaited in the next round
        } else if (ask === undefined && this.#mayRest) return
      }
    } catch (error) {
      // Reading failed only because the link ended; whatever else fails is answered with a reject.
      this.#uploads.log.trace('uploads to %p end: %e', this.#peer, error)
      await sending.catch(() => {})
      this.#queue.clear()
    } finally {
      if (this.#link.hasEnded) this.#queue.clear()
      this.#noteDemand()
      this.#running = undefined
    }
  }

  /** Chooses and reads a chunk, when memory and rate allow. Answers and gives undefined if there is none. */
  async #prepare(ask: UploadAsk): Promise<ReadyChunk | undefined> {
    const upload = this.#queue.choose(ask)
    if (upload === undefined) return this.#reject(ask, 'spread')
    const length = this.#image.table.byteLength(upload.chunk)
    const signal = this.#link.channel.ended
    const priority = REQUEST_CLASSES.indexOf(ask.requestClass)
    await this.#uploads.memory.acquire(length, { signal })
    try {
      await this.#uploads.limiter.take(length, { signal, priority })
      const found = await this.#read(upload.chunk)
      if (typeof found !== 'string') return { ...found, upload }
      this.#reject(upload, found)
    } catch (error) {
      this.#uploads.memory.release(length)
      throw error
    }
    this.#uploads.memory.release(length)
    return undefined
  }

  async #read(chunk: number): Promise<BorrowedChunk | RejectReason> {
    const { store, recent, readBuffers } = this.#uploads
    const id = this.#image.table.id(chunk)
    const borrowed = recent.borrow(id)
    if (borrowed !== undefined) return borrowed
    try {
      const bytes = await store.get(id)
      if (bytes !== undefined) return { bytes, release: () => readBuffers?.giveBack(bytes) }
      this.#image.lost(chunk)
      return 'notHeld'
    } catch (error) {
      this.#uploads.log.error('chunk %d cannot be read: %e', chunk, toError(error))
      return 'failed'
    }
  }

  async #send(ready: ReadyChunk): Promise<void> {
    const { upload, bytes, release } = ready
    const { chunk, request } = upload
    const { partBytes, precedence, memory } = this.#uploads
    try {
      for (let offset = 0; offset < bytes.byteLength; offset += partBytes) {
        await precedence.yield(this, { signal: this.#link.channel.ended })
        if (this.#queue.isCancelled(request)) {
          this.#reject(upload, 'cancelled')
          release()
          return
        }
        const part = bytes.subarray(offset, offset + partBytes)
        const totalBytes = bytes.byteLength
        const about = { request, index: chunk, encoding: 0, totalBytes, offset, part }
        await this.#link.send({ type: 'chunk', ...about })
      }
      this.#sentBytes += bytes.byteLength
      this.#uploads.sentBytes?.add(bytes.byteLength)
      this.#image.sent(this.#peer, chunk)
    } finally {
      this.#queue.sent(request)
      this.#noteDemand()
      memory.release(bytes.byteLength)
    }
    release()
  }

  /** Answers an active request; its chunk, if it has one, does not go to this neighbour. */
  #reject(ask: UploadAsk, reason: RejectReason): undefined {
    this.#queue.rejected(ask.request, ask.chunk)
    this.#noteDemand()
    this.#post(ask.request, reason)
  }

  #post(request: number, reason: RejectReason): void {
    this.#link.post({ type: 'reject', request, reason })
  }
}
