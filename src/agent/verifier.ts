import { chunkId, chunkKey, isZeroChunk } from '../chunks/chunk-id.ts'
import type {
  ChunkId,
  ChunkReader,
  ChunkStore,
  ProviderDirectory,
  ProviderId
} from '../chunks/types.ts'
import { equalBytes } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import type { Snapshot } from '../metadata/blob-reader.ts'
import type { Repository } from '../metadata/repository.ts'
import type { LongOptions, VerifyResult } from './operations.ts'

export interface ImageVerifierComponents {
  readonly repository: Repository
  readonly store: ChunkStore
  readonly reader: ChunkReader
  readonly directory: ProviderDirectory
}

interface Finding {
  readonly indexes: readonly number[]
  readonly id: ChunkId
  readonly replicas: readonly ProviderId[]
}

const PAGE_CHUNKS = 1024

/**
 * Checks an image: its record and manifest by signature and hash, the chunks that this agent keeps by
 * reading and hashing them again, and of all chunks that the providers which should have them do.
 */
export class ImageVerifier {
  readonly #components: ImageVerifierComponents

  constructor(components: ImageVerifierComponents) {
    this.#components = components
  }

  async verify(ref: string, repair: boolean, options: LongOptions = {}): Promise<VerifyResult> {
    const { signal, onProgress } = options
    const snapshot = await this.#components.repository.openRead(ref, options)
    const { chunkCount, leafPageCount } = snapshot.manifest
    const { bytes: totalBytes, chunkBytes } = snapshot.record
    const result = {
      ref,
      chunks: chunkCount,
      zeroChunks: 0,
      checked: 0,
      confirmed: 0,
      missing: 0,
      corrupt: 0,
      repaired: 0
    }
    for (let page = 0; page < leafPageCount; page++) {
      const findings = await this.#pageOf(snapshot, page, result, options)
      const confirmed = await this.#confirm(findings, options)
      for (const finding of findings) {
        signal?.throwIfAborted()
        const outcome = await this.#check(snapshot, finding, confirmed, options)
        result[outcome] += 1
        const isWrong = outcome === 'missing' || outcome === 'corrupt'
        if (isWrong && repair && (await this.#repair(finding, options))) result.repaired += 1
      }
      const doneBytes = Math.min(totalBytes, (page + 1) * PAGE_CHUNKS * chunkBytes)
      onProgress?.({ phase: 'verify', doneBytes, totalBytes })
    }
    return result
  }

  /** The different chunks of a page. */
  async #pageOf(
    { manifest }: Snapshot,
    page: number,
    result: { zeroChunks: number },
    options: LongOptions
  ): Promise<Finding[]> {
    const ids = await manifest.chunkIds(page, options)
    const findings = new Map<string, Finding & { indexes: number[] }>()
    for (let at = 0; at < ids.count; at++) {
      const id = ids.get(at)
      const index = page * PAGE_CHUNKS + at
      const known = findings.get(chunkKey(id))
      if (isZeroChunk(id)) result.zeroChunks += 1
      else if (known !== undefined) known.indexes.push(index)
      else {
        const replicas = await manifest.replicas(index, options)
        findings.set(chunkKey(id), { id, indexes: [index], replicas })
      }
    }
    return [...findings.values()]
  }

  /** Keys of the chunks that every provider on their location record has. */
  async #confirm(findings: readonly Finding[], options: LongOptions): Promise<Set<string>> {
    const confirmed = new Set<string>()
    const perProvider = new Map<ProviderId, ChunkId[]>()
    for (const { id, replicas } of findings) {
      if (replicas.length > 0) confirmed.add(chunkKey(id))
      for (const provider of replicas) {
        const asked = perProvider.get(provider) ?? []
        asked.push(id)
        perProvider.set(provider, asked)
      }
    }
    for (const [provider, ids] of perProvider) {
      const answers = await this.#ask(provider, ids, options)
      for (const [at, id] of ids.entries()) {
        if (answers[at] !== true) confirmed.delete(chunkKey(id))
      }
    }
    return confirmed
  }

  async #ask(
    provider: ProviderId,
    ids: readonly ChunkId[],
    options: LongOptions
  ): Promise<readonly boolean[]> {
    try {
      return (await this.#components.directory.open(provider)?.has(ids, options)) ?? []
    } catch (error) {
      options.signal?.throwIfAborted()
      const code = errorCode(toError(error))
      if (code === undefined) throw error
      return [] // it cannot be reached: what it should have counts as missing
    }
  }

  async #check(
    snapshot: Snapshot,
    { id, indexes: [index = 0] }: Finding,
    confirmed: ReadonlySet<string>,
    options: LongOptions
  ): Promise<'checked' | 'confirmed' | 'missing' | 'corrupt'> {
    const { store } = this.#components
    const isConfirmed = confirmed.has(chunkKey(id))
    if (!store.has(id)) return isConfirmed ? 'confirmed' : 'missing'
    const bytes = await store.get(id, options)
    if (bytes === undefined || !equalBytes(chunkId(bytes), id)) return 'corrupt'
    if (bytes.byteLength !== snapshot.manifest.chunkLength(index)) return 'corrupt'
    return isConfirmed ? 'checked' : 'missing'
  }

  async #repair({ id, replicas }: Finding, options: LongOptions): Promise<boolean> {
    const { store, reader } = this.#components
    try {
      await store.put(id, await reader.read(id, replicas, options), options)
      return true
    } catch (error) {
      options.signal?.throwIfAborted()
      if (errorCode(error) === 'ERR_CHUNK_UNAVAILABLE') return false
      throw error
    }
  }
}
