import pLimit from 'p-limit'
import { isZeroChunk } from '../chunks/chunk-id.ts'
import { loadManifest } from '../chunks/manifest-load.ts'
import type { AbortOptions, ChunkId, ChunkReader, ChunkStore, ProviderId } from '../chunks/types.ts'
import type { Clock } from '../lib/clock.ts'
import type { Snapshot } from '../metadata/blob-reader.ts'
import { pageFetcher } from '../metadata/page-fetch.ts'
import { parseRef } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import type { PageStore } from '../metadata/store-types.ts'
import type { DownloadProgress } from '../peer/swarm/downloader.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import { ImageFile } from './image-file.ts'
import type { LongOptions, OperationProgress, PullRequest, PullResult } from './operations.ts'
import type { PartialFiles } from './partial-files.ts'

/** Where a pull reads, and what moves its chunks. */
export interface PullerComponents {
  readonly repository: Repository
  readonly swarm: SwarmService
  readonly store: ChunkStore
  readonly reader: ChunkReader
  readonly metadata: PageStore
  /** Notes half-written files, so that the next start removes what a crash left. */
  readonly partials?: PartialFiles | undefined
  readonly clock: Clock
}

/** Chunks that are read from the store and written to the file at the same time. */
const MAX_WRITES = 8
const PROGRESS_MS = 100

/** Brings an image into this agent's store, from providers and peers, and writes it to a file. */
export class Puller {
  readonly #components: PullerComponents

  constructor(components: PullerComponents) {
    this.#components = components
  }

  /**
   * The version is held meanwhile.
   *
   * @throws {FileExistsError | LocalFileError} for the file, whatever fails on the way for the image.
   */
  async pull(request: PullRequest, options: LongOptions = {}): Promise<PullResult> {
    const { repository } = this.#components
    const snapshot = await repository.openRead(request.ref, options)
    // What is removed or retired from now on stays until the file is whole.
    const hold = await repository.hold(snapshot.record, `pull ${request.ref}`, options)
    try {
      return await this.#pull(snapshot, request, options)
    } finally {
      await hold.release()
    }
  }

  async #pull(
    snapshot: Snapshot,
    { ref, file: path, force }: PullRequest,
    options: LongOptions
  ): Promise<PullResult> {
    const { partials, clock } = this.#components
    const startedMs = clock.monotonic()
    const { bytes, version } = snapshot.record
    const file = await ImageFile.create(path, bytes, force, partials)
    try {
      const moved = await this.#fetch(snapshot, options)
      await this.#write(snapshot, file, options)
      await file.finish()
      return {
        ref,
        path: parseRef(ref).path,
        version,
        file: path,
        bytes,
        fromProvidersBytes: moved.bytesFromProviders,
        fromPeersBytes: moved.bytesFromPeers,
        reusedBytes: moved.bytesReused,
        zeroBytes: moved.zeroBytes,
        seconds: (clock.monotonic() - startedMs) / 1000
      }
    } finally {
      await file.discard()
    }
  }

  /** Fetches what the store lacks; the image is offered to others from the first chunk on. */
  async #fetch(snapshot: Snapshot, options: LongOptions): Promise<DownloadProgress> {
    const { swarm, metadata } = this.#components
    const { onProgress, signal } = options
    const { bytes, manifestRoot } = snapshot.record
    const manifest = await loadManifest(manifestRoot, pageFetcher(metadata), options)
    return swarm.download(manifest, {
      signal,
      sources: await sourcesOf(snapshot, options),
      onProgress: (progress) => onProgress?.(describe(progress, bytes))
    })
  }

  async #write(snapshot: Snapshot, file: ImageFile, options: LongOptions): Promise<void> {
    const { clock } = this.#components
    const { onProgress, signal } = options
    const { bytes: totalBytes, chunkBytes } = snapshot.record
    const limit = pLimit(MAX_WRITES)
    let doneBytes = 0
    let shownMs = clock.monotonic()
    const writeChunk = async (id: ChunkId, index: number): Promise<void> => {
      signal?.throwIfAborted()
      const chunk = await this.#read(snapshot, id, index, options)
      await file.write(index * chunkBytes, chunk)
      doneBytes = Math.max(doneBytes, index * chunkBytes + chunk.byteLength)
      if (clock.monotonic() - shownMs < PROGRESS_MS) return
      shownMs = clock.monotonic()
      onProgress?.({ phase: 'writing the file', doneBytes, totalBytes })
    }
    const { manifest } = snapshot
    for (let page = 0, index = 0; page < manifest.leafPageCount; page++) {
      const ids = await manifest.chunkIds(page, options)
      const writes: Promise<void>[] = []
      for (let at = 0; at < ids.count; at++, index++) {
        const id = ids.get(at)
        const place = index
        if (!isZeroChunk(id)) writes.push(limit(async () => writeChunk(id, place)))
      }
      await Promise.all(writes)
    }
    onProgress?.({ phase: 'writing the file', doneBytes: totalBytes, totalBytes })
  }

  /** From the store; a chunk that was evicted or found corrupt since is fetched once more. */
  async #read(
    snapshot: Snapshot,
    id: ChunkId,
    index: number,
    options: AbortOptions
  ): Promise<Uint8Array> {
    const { store, reader } = this.#components
    const held = await store.get(id, options)
    if (held !== undefined) return held
    const chunk = await reader.read(id, await snapshot.manifest.replicas(index, options), options)
    await store.put(id, chunk, options)
    return chunk
  }
}

/** Providers that the location records name. A record that cannot be had is no failure: they are a hint. */
async function sourcesOf(snapshot: Snapshot, options: AbortOptions): Promise<ProviderId[]> {
  const { manifest } = snapshot
  const sources = new Set<ProviderId>()
  for (let page = 0; page < manifest.leafPageCount; page++) {
    try {
      const location = await manifest.location(page, options)
      for (const id of location?.replicas.flat() ?? []) sources.add(id)
    } catch {
      options.signal?.throwIfAborted()
    }
  }
  return [...sources]
}

function describe(progress: DownloadProgress, totalBytes: number): OperationProgress {
  const { bytesFromProviders, bytesFromPeers, bytesReused, zeroBytes } = progress
  const share = progress.chunksTotal === 0 ? 1 : progress.chunksDone / progress.chunksTotal
  return {
    phase: 'transfer',
    doneBytes: Math.max(
      Math.min(totalBytes, bytesFromProviders + bytesFromPeers + bytesReused + zeroBytes),
      Math.floor(share * totalBytes)
    ),
    totalBytes,
    fromProvidersBytes: bytesFromProviders,
    fromPeersBytes: bytesFromPeers,
    bytesPerSecond: progress.ratePerSecond,
    waitingFor: progress.waitingFor
  }
}
