import type { ReadBuffers } from '../chunks/read-buffers.ts'
import type { ChunkReader } from '../chunks/replica-types.ts'
import type { ChunkStore } from '../chunks/store-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { NotRunningError } from '../lib/errors.ts'
import { type EventLog, noEvents } from '../lib/events.ts'
import { anySignal } from '../lib/signals.ts'
import type { Repository } from '../metadata/repository.ts'
import type { Verifier } from '../metadata/signature-types.ts'
import type { RecordStore } from '../metadata/store-types.ts'
import type { VersionHold } from '../metadata/version-hold.ts'
import type { DownloadResult } from '../peer/swarm/download.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import type { ImageCache } from './image-cache.ts'
import { ImageFile } from './image-file.ts'
import { ImageFiller } from './image-filler.ts'
import type { ImageOpener, OpenedImage } from './image-opener.ts'
import { ImageSources } from './image-sources.ts'
import type {
  LongOptions,
  MovedBytes,
  PrefetchResult,
  PullRequest,
  PullResult
} from './operations.ts'
import type { PartialFiles } from './partial-files.ts'
import { type PullEvent, type PullKind, PullReport } from './pull-report.ts'
import { transferProgress } from './transfer-progress.ts'

/** Where a pull reads, and what moves its chunks. */
export interface PullerComponents {
  readonly repository: Pick<Repository, 'hold'>
  readonly opener: Pick<ImageOpener, 'open'>
  readonly cache: Pick<ImageCache, 'use'>
  readonly swarm: Pick<SwarmService, 'download'>
  readonly store: ChunkStore
  readonly reader: ChunkReader
  readonly metadata: Pick<RecordStore, 'getRecords'>
  readonly verifier: Verifier
  /** Notes half-written files, so that the next start removes what a crash left. */
  readonly partials?: PartialFiles | undefined
  /** What the store reads into. @default what is read is left alone */
  readonly readBuffers?: Pick<ReadBuffers, 'giveBack'> | undefined
  readonly clock: Clock
  readonly events?: EventLog<PullEvent> | undefined
}

/** What a fetch tells while it runs. */
interface FetchOptions extends LongOptions {
  readonly filler?: ImageFiller | undefined
}

/** What is done with an image once it is open. */
type Work<T> = (image: OpenedImage, sources: ImageSources) => Promise<T>

/** Holds that are being released when the agent stops have so long to be. */
const RELEASES_END_MS = 1000

/** Brings images into this agent's cache, from providers and peers, and writes them to files. */
export class Puller {
  readonly #components: PullerComponents
  readonly #releases = new Set<Promise<void>>()
  readonly #stop = new AbortController()

  constructor(components: PullerComponents) {
    this.#components = components
  }

  /**
   * Writes an image to a file. The version is held meanwhile; afterwards this agent goes on serving it.
   *
   * @throws {FileExistsError | LocalFileError} for the file, whatever fails on the way for the image.
   * @throws {CacheTooSmallError | CacheFullError} if this agent cannot keep the image.
   */
  async pull(request: PullRequest, options: LongOptions = {}): Promise<PullResult> {
    const { ref, file: path, force } = request
    const startedMs = this.#components.clock.monotonic()
    return await this.#withImage('pull', ref, options, async (image, sources) => {
      const { partials } = this.#components
      const file = await ImageFile.create(path, image.record.bytes, force, partials)
      try {
        const moved = await this.#fill(image, sources, file, options)
        await file.finish()
        return { ...this.#result(ref, image, moved, startedMs), file: path }
      } finally {
        await file.discard()
      }
    })
  }

  /**
   * As a pull, without a file.
   *
   * @throws {CacheTooSmallError | CacheFullError} if this agent cannot keep the image.
   */
  async prefetch(ref: string, options: LongOptions = {}): Promise<PrefetchResult> {
    const startedMs = this.#components.clock.monotonic()
    return await this.#withImage('prefetch', ref, options, async (image, sources) => {
      const moved = await this.#fetch(image, sources, options)
      return this.#result(ref, image, moved, startedMs)
    })
  }

  /** Ends what goes on behind pulls that are over. Called when no pull runs any more. */
  async stop(): Promise<void> {
    const { clock } = this.#components
    const cancel = clock.schedule(
      () => this.#stop.abort(new NotRunningError('the agent')),
      RELEASES_END_MS
    )
    await Promise.all(this.#releases)
    cancel()
  }

  /** Opens an image, has room for it, does the work, and tells of it all. */
  async #withImage<T>(
    kind: PullKind,
    ref: string,
    options: LongOptions,
    work: Work<T>
  ): Promise<T> {
    const { events = noEvents, clock } = this.#components
    const report = new PullReport({ clock, events }, { kind, ref }, options.onProgress)
    try {
      const done = await this.#open(`${kind} ${ref}`, ref, { ...options, report }, work)
      report.finished()
      return done
    } catch (error) {
      report.failed(error)
      throw error
    }
  }

  /** What is removed or retired from now on stays until the work is done. */
  async #open<T>(
    purpose: string,
    ref: string,
    { report, signal }: LongOptions & { readonly report: PullReport },
    work: Work<T>
  ): Promise<T> {
    const { repository, cache, opener } = this.#components
    const onRecord = (): void => report.enter('manifest pages')
    const image = await opener.open(ref, { signal, onRecord })
    const { record, manifest } = image
    const { bytes, chunkCount: chunks } = manifest
    report.opened({ image: toHex(manifest.root), bytes, chunks })
    report.enter('location records')
    const loading = ImageSources.load(this.#components, manifest, { signal })
    loading.catch(() => {}) // thrown below, unless there is no hold
    const hold = image.isOffline ? undefined : await repository.hold(record, purpose, { signal })
    try {
      const sources = await loading
      const onWaiting = (): void => report.enter('room in the cache')
      const use = await cache.use(manifest, image.name, { signal, onWaiting })
      report.enter('transfer')
      try {
        return await work(image, sources)
      } finally {
        await use.release()
      }
    } finally {
      if (hold !== undefined) this.#release(hold)
    }
  }

  /** A pull is over when the file is there, whether or not the version manager can be told so. */
  #release(hold: VersionHold): void {
    const releasing = hold.release({ signal: this.#stop.signal })
    this.#releases.add(releasing)
    releasing.finally(() => this.#releases.delete(releasing)).catch(() => {}) // it never rejects
  }

  /** Fetches what the store lacks; the image is offered to others from the first chunk on. */
  async #fetch(
    { manifest, record }: OpenedImage,
    sources: ImageSources,
    { filler, onProgress, signal }: FetchOptions
  ): Promise<DownloadResult> {
    return await this.#components.swarm.download(manifest, {
      signal: anySignal([signal, filler?.failed]),
      sources: sources.providers,
      onProgress: (progress) => onProgress?.(transferProgress(progress, record.bytes)),
      onArrived: async (chunk, bytes) => filler?.take(chunk, bytes),
      onHeld: (chunk) => filler?.add(chunk)
    })
  }

  /** Fetches, and writes what is there meanwhile. */
  async #fill(
    image: OpenedImage,
    sources: ImageSources,
    file: ImageFile,
    options: LongOptions
  ): Promise<DownloadResult> {
    const { readBuffers } = this.#components
    const { onProgress, signal } = options
    const { manifest } = image
    const { bytes: totalBytes } = image.record
    const filler = new ImageFiller({
      manifest,
      file,
      read: async (index, ended) => {
        const replicas = sources.replicasOf(index)
        return await this.#read(image, index, replicas, { signal: anySignal([signal, ended]) })
      },
      giveBack: (bytes) => readBuffers?.giveBack(bytes)
    })
    try {
      const moved = await this.#fetch(image, sources, { ...options, filler })
      onProgress?.({ phase: 'writing the file', doneBytes: filler.doneBytes, totalBytes })
      await filler.finish()
      onProgress?.({ phase: 'writing the file', doneBytes: totalBytes, totalBytes })
      return moved
    } finally {
      await filler.stop(signal?.reason)
    }
  }

  /** From the store; a chunk that was found corrupt since is fetched once more. */
  async #read(
    { manifest }: OpenedImage,
    index: number,
    replicas: readonly string[],
    options: AbortOptions
  ): Promise<Uint8Array> {
    const { store, reader } = this.#components
    const id = manifest.chunkId(index)
    options.signal?.throwIfAborted()
    const held = await store.get(id, options)
    if (held !== undefined) return held
    const chunk = await reader.read(id, replicas, options)
    await store.put(id, chunk, options)
    return chunk
  }

  #result(
    ref: string,
    { name, record }: OpenedImage,
    moved: DownloadResult,
    startedMs: number
  ): PrefetchResult {
    const { path, version } = name
    const { bytes } = record
    const seconds = (this.#components.clock.monotonic() - startedMs) / 1000
    return { ref, path, version, bytes, ...movedBytes(moved), seconds }
  }
}

function movedBytes(moved: DownloadResult): MovedBytes {
  return {
    fromProvidersBytes: moved.bytesFromProviders,
    fromPeersBytes: moved.bytesFromPeers,
    reusedBytes: moved.bytesReused,
    zeroBytes: moved.zeroBytes
  }
}
