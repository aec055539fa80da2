import type { WriteBlockOptions } from '../chunks/types.ts'
import type { Range } from '../lib/range-set.ts'
import { toError } from '../lib/to-error.ts'
import type { LeafList } from '../metadata/leaf-list.ts'
import type { PublishVersionOptions } from '../metadata/publishing.ts'
import type { ReceivedStripe } from '../metadata/stripe-types.ts'
import type { StripedWriter } from '../metadata/striped-writer.ts'
import type { BlobDescription } from '../metadata/types.ts'
import type { Upload } from '../metadata/upload.ts'
import { translate, translated, translatedEach } from './blob-errors.ts'
import type { Published, PublishOptions, WriteHandle } from './dsi.ts'
import type { QuotaClaim } from './quotas.ts'
import type { StripedWriteHandle } from './striped-storage.ts'

/** What both kinds of upload have: a writer, and a claim on the quota that ends with them. */
abstract class ClaimedUpload<W extends Pick<Upload, 'signal' | 'suspend' | 'abort'>> {
  protected readonly path: string
  protected readonly writer: W
  protected readonly claim: QuotaClaim | undefined
  readonly #failed = new AbortController()

  constructor(path: string, writer: W, claim: QuotaClaim | undefined) {
    this.path = path
    this.writer = writer
    this.claim = claim
    const { signal } = writer
    const fail = (): void => this.#failed.abort(translate(path, toError(signal.reason)))
    signal.addEventListener('abort', fail, { once: true })
  }

  get failed(): AbortSignal {
    return this.#failed.signal
  }

  async suspend(): Promise<void> {
    await this.writer.suspend()
    this.claim?.release()
  }

  async abort(): Promise<void> {
    await this.writer.abort()
    this.claim?.release()
  }
}

/** One upload into the repository. */
export class BlobUpload extends ClaimedUpload<Upload> implements WriteHandle {
  async write(offset: number, bytes: Uint8Array, options: WriteBlockOptions = {}): Promise<void> {
    await translated(this.path, async () => {
      this.claim?.cover(offset + bytes.byteLength)
      await this.writer.write(offset, bytes, options)
    })
  }

  tryWrite(offset: number, bytes: Uint8Array): boolean {
    if (this.claim?.covers(offset + bytes.byteLength) === false) return false
    return this.writer.tryWrite(offset, bytes)
  }

  async checkpoint(): Promise<Iterable<Range>> {
    return translated(this.path, async () => this.writer.checkpoint())
  }

  readBack(
    offset: number,
    options: { signal?: AbortSignal | undefined } = {}
  ): AsyncIterable<Uint8Array> {
    return translatedEach(this.path, this.writer.readBack(offset, options))
  }

  async publish(options: PublishOptions = {}): Promise<Published> {
    return translated(this.path, async () => {
      await this.claim?.confirm()
      const { bytes, version } = await this.writer.publish(options)
      this.claim?.release()
      return { bytes, version }
    })
  }
}

/** One upload into the repository whose blocks data movers store. */
export class StripedBlobUpload extends ClaimedUpload<StripedWriter> implements StripedWriteHandle {
  readonly description: BlobDescription
  readonly baseOffset: number

  constructor(path: string, writer: StripedWriter, claim: QuotaClaim | undefined) {
    super(path, writer, claim)
    this.description = writer.description
    this.baseOffset = writer.baseOffset
  }

  async note(leaves: LeafList): Promise<Iterable<Range>> {
    return translated(this.path, async () => this.writer.note(leaves))
  }

  explain(error: Error): Error {
    return translate(this.path, error)
  }

  async publish(
    stored: readonly ReceivedStripe[],
    options: PublishVersionOptions
  ): Promise<Published> {
    return translated(this.path, async () => {
      for (const { endBytes } of stored) this.claim?.cover(endBytes - this.baseOffset)
      await this.claim?.confirm()
      const { bytes, version } = await this.writer.publish(stored, options)
      this.claim?.release()
      return { bytes, version }
    })
  }
}
