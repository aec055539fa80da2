import { chunkId, ZERO_CHUNK_ID } from '../chunks/chunk-id.ts'
import type { ChunkWriter } from '../chunks/replica-types.ts'
import type { WriteBlockOptions } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Budget } from '../lib/budget.ts'
import { isAllZero } from '../lib/bytes.ts'
import type { Range } from '../lib/range-set.ts'
import { toError } from '../lib/to-error.ts'
import type { PublishOptions, WriteProgress } from './blob-writer-types.ts'
import { UploadAbortedError } from './errors.ts'
import { LeafListBuilder } from './leaf-list.ts'
import { encodeLeafList } from './leaf-list-codec.ts'
import type { Namespace } from './namespace-types.ts'
import type { Signer } from './signature-types.ts'
import type { Fragment } from './tree-types.ts'
import type { VersionSummary } from './types.ts'
import type { Upload } from './upload.ts'
import type { CreateBlobRequest } from './version-manager-types.ts'

export interface SmallUploadComponents {
  readonly namespace: Namespace
  readonly writer: ChunkWriter
  readonly signer: Signer
  /** Memory of all small uploads; one that finds none goes on as a large one. */
  readonly held: Budget
  /** Counts what became of the bytes. */
  readonly count: (kind: UploadedKind, bytes: number) => void
  /** Opens the upload that this one turns into. */
  readonly openLarge: () => Promise<Upload>
}

/** What became of bytes: moved to providers, found there already, or nothing but zeros. */
export type UploadedKind = 'stored' | 'reused' | 'zero'

export interface SmallUploadOptions {
  readonly path: string
  readonly create: CreateBlobRequest
  readonly note?: string | undefined
}

/** Runs of bytes that are told apart; an upload of more goes on as a large one. */
const MAX_PIECES = 64

/** Room that is made at first where nothing was announced. */
const FIRST_BYTES = 16 * 1024

type UploadState =
  | { readonly name: 'open' | 'publishing' | 'published' }
  | { readonly name: 'failed'; readonly error: Error }

interface Piece {
  readonly offset: number
  end: number
}

/**
 * An upload to a path that names nothing yet, held in memory as long as it fits into one chunk. What
 * ends so is stored and published in two steps: its chunk, then blob, version and path together.
 * Whatever else it turns out to be, it goes on as a large upload, to which it hands what it has.
 */
export class SmallUpload implements Upload {
  readonly #components: SmallUploadComponents
  readonly #options: SmallUploadOptions
  readonly #limitBytes: number
  readonly #failed = new AbortController()
  readonly #pieces: Piece[] = []
  #bytes = new Uint8Array()
  #heldBytes = 0
  #endBytes = 0
  #receivedBytes = 0
  #became: Partial<WriteProgress> = {}
  #extendedTo = 0
  #opening: Promise<Upload> | undefined
  #large: Upload | undefined
  #state: UploadState = { name: 'open' }

  constructor(components: SmallUploadComponents, options: SmallUploadOptions) {
    this.#components = components
    this.#options = options
    this.#limitBytes = options.create.chunkBytes
  }

  get progress(): WriteProgress {
    if (this.#large !== undefined) return this.#large.progress
    const { storedBytes = 0, reusedBytes = 0, zeroBytes = 0 } = this.#became
    return { receivedBytes: this.#receivedBytes, storedBytes, reusedBytes, zeroBytes }
  }

  get signal(): AbortSignal {
    return this.#failed.signal
  }

  async write(offset: number, bytes: Uint8Array, options: WriteBlockOptions = {}): Promise<void> {
    this.#checkOpen()
    if (this.#take(offset, bytes)) return
    const large = await this.#enlarge()
    await large.write(offset, bytes, options)
  }

  tryWrite(offset: number, bytes: Uint8Array): boolean {
    if (this.#state.name !== 'open') return false
    return this.#large?.tryWrite(offset, bytes) ?? this.#take(offset, bytes)
  }

  extendTo(bytes: number): void {
    this.#checkOpen()
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`size ${bytes}`)
    this.#extendedTo = Math.max(this.#extendedTo, bytes)
    this.#large?.extendTo(bytes)
  }

  /** Nothing short of a chunk is worth being continued. */
  async checkpoint(): Promise<Iterable<Range>> {
    this.#checkOpen()
    if (this.#opening === undefined && this.#endBytes < this.#limitBytes) return []
    return await (await this.#enlarge()).checkpoint()
  }

  async *readBack(offset: number, options: AbortOptions = {}): AsyncGenerator<Uint8Array, void> {
    this.#checkOpen()
    if (this.#opening !== undefined) yield* (await this.#opening).readBack(offset, options)
    else if (offset < this.#endBytes) yield this.#bytes.slice(offset, this.#endBytes)
  }

  async suspend(): Promise<void> {
    await this.#end(new UploadAbortedError('broken, and kept as far as it is noted'), 'suspend')
  }

  async publish(options: PublishOptions = {}): Promise<VersionSummary> {
    this.#checkOpen()
    this.#state = { name: 'publishing' }
    try {
      const published = await this.#publishSmall(options)
      const summary = published ?? (await (await this.#enlarge()).publish(options))
      this.#state = { name: 'published' }
      this.#release()
      return summary
    } catch (thrown) {
      // A large one has ended itself, and may still be kept for its client to continue.
      await this.#end(toError(thrown), 'leave')
      throw thrown
    }
  }

  async abort(): Promise<void> {
    await this.#end(new UploadAbortedError('aborted by its writer'))
  }

  /** @returns undefined if it has to be published as a large one. */
  async #publishSmall(options: PublishOptions): Promise<VersionSummary | undefined> {
    if (this.#opening !== undefined || options.ifNewest !== undefined) return undefined
    if (this.#extendedTo > this.#limitBytes || !this.#makeRoom(this.#extendedTo)) return undefined
    const endBytes = Math.max(this.#endBytes, this.#extendedTo)
    const { namespace, signer } = this.#components
    const { path, create, note } = this.#options
    const leaves = new LeafListBuilder()
    if (endBytes > 0) {
      leaves.add(0, await this.#storeChunk(this.#bytes.subarray(0, endBytes), options))
    }
    const pages = Array.from(encodeLeafList(leaves.build()))
    const leafList = pages.at(-1)?.id
    if (leafList === undefined) throw new TypeError('a leaf list without a root')
    if (options.isStillWanted?.() === false) throw new UploadAbortedError('it is not wanted now')
    const request = {
      ...create,
      path,
      writer: signer.peerId,
      endBytes,
      leafList,
      leafPages: pages.map(({ bytes }) => bytes),
      note
    }
    return await namespace.publishFile(request, options)
  }

  async #storeChunk(bytes: Uint8Array, { signal }: AbortOptions): Promise<Fragment> {
    const { writer, count } = this.#components
    const whole = { at: 0, length: bytes.byteLength, chunkOffset: 0 }
    if (isAllZero(bytes)) {
      count('zero', bytes.byteLength)
      this.#became = { zeroBytes: bytes.byteLength }
      return { ...whole, chunk: ZERO_CHUNK_ID, replicas: [] }
    }
    const id = chunkId(bytes)
    const [held = []] = await writer.locate([id], { signal })
    const isHeld = held.length >= this.#options.create.replicas
    // No stripe: what is alone needs none, and its providers are chosen together with others'.
    const replicas = isHeld ? held : await writer.write(id, bytes, { beside: held, signal })
    const kind = replicas.length > held.length ? 'stored' : 'reused'
    count(kind, bytes.byteLength)
    this.#became = { [`${kind}Bytes`]: bytes.byteLength }
    return { ...whole, chunk: id, replicas }
  }

  /** Copies a block in. @returns false if it does not fit, or this is no small upload any more. */
  #take(offset: number, bytes: Uint8Array): boolean {
    const end = offset + bytes.byteLength
    if (this.#opening !== undefined || !(offset >= 0 && end <= this.#limitBytes)) return false
    if (bytes.byteLength === 0) return true
    const last = this.#pieces.at(-1)
    const isNext = last?.end === offset
    if (!isNext && this.#pieces.length >= MAX_PIECES) return false
    if (!this.#makeRoom(end)) return false
    this.#bytes.set(bytes, offset)
    if (isNext) last.end = end
    else this.#pieces.push({ offset, end })
    this.#endBytes = Math.max(this.#endBytes, end)
    this.#receivedBytes += bytes.byteLength
    return true
  }

  #makeRoom(end: number): boolean {
    if (end <= this.#bytes.byteLength) return true
    const { sizeHint = FIRST_BYTES } = this.#options.create
    const wanted = Math.max(end, sizeHint, 2 * this.#bytes.byteLength)
    const length = Math.min(wanted, this.#limitBytes)
    if (!this.#components.held.tryAcquire(length - this.#heldBytes)) return false
    this.#heldBytes = length
    const larger = new Uint8Array(length)
    larger.set(this.#bytes.subarray(0, this.#endBytes))
    this.#bytes = larger
    return true
  }

  /** Goes on as a large upload; what comes meanwhile waits and follows what was taken before. */
  async #enlarge(): Promise<Upload> {
    this.#opening ??= this.#handOver()
    return await this.#opening
  }

  async #handOver(): Promise<Upload> {
    const large = await this.#components.openLarge()
    try {
      this.#failed.signal.throwIfAborted()
      const { signal } = this.#failed
      for (const { offset, end } of this.#pieces) {
        await large.write(offset, this.#bytes.slice(offset, end), { signal })
      }
      large.extendTo(this.#extendedTo)
    } catch (error) {
      await large.abort()
      throw error
    }
    this.#release()
    this.#large = large
    const fail = (): void => this.#failed.abort(large.signal.reason)
    large.signal.addEventListener('abort', fail, { once: true })
    return large
  }

  #checkOpen(): void {
    if (this.#state.name === 'failed') throw this.#state.error
    if (this.#state.name !== 'open') throw new TypeError(`the upload is ${this.#state.name}`)
  }

  #release(): void {
    if (this.#heldBytes > 0) this.#components.held.release(this.#heldBytes)
    this.#heldBytes = 0
    this.#bytes = new Uint8Array()
  }

  /** @param how what becomes of the large upload that this one may have turned into. */
  async #end(error: Error, how: 'abort' | 'suspend' | 'leave' = 'abort'): Promise<void> {
    if (this.#state.name === 'open' || this.#state.name === 'publishing') {
      this.#state = { name: 'failed', error }
      this.#failed.abort(error)
    }
    const large = await this.#opened()
    if (how !== 'leave') await large?.[how]()
    this.#release()
  }

  /** The large upload, if there is one; who asked for it is told if there is none. */
  async #opened(): Promise<Upload | undefined> {
    try {
      return await this.#opening
    } catch {
      return undefined
    }
  }
}
