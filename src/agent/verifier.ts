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
import type { Snapshot } from '../metadata/blob-reader.ts'
import type { Repository } from '../metadata/repository.ts'
import type { LongOptions, VerifyResult } from './operations.ts'

/** What the verifier reads, and where it asks. */
export interface ImageVerifierComponents {
  readonly repository: Repository
  readonly store: ChunkStore
  readonly reader: ChunkReader
  readonly directory: ProviderDirectory
}

/** A chunk of a page, with the first place that it has in the image. */
interface Finding {
  readonly id: ChunkId
  readonly index: number
  readonly replicas: readonly ProviderId[]
  /** Those of `replicas` that do not have it. */
  readonly absentAt: ProviderId[]
}

type Outcome = 'checked' | 'confirmed' | 'missing' | 'corrupt'

const PAGE_CHUNKS = 1024

/** Failures of a repair that say no more than that it could not be done. */
const BEYOND_REPAIR: ReadonlySet<string> = new Set([
  'ERR_CHUNK_UNAVAILABLE',
  'ERR_PEER_UNREACHABLE',
  'ERR_PEER_TIMEOUT',
  'ERR_STORE_FULL'
])

/**
 * Checks an image: its record and manifest by signature and hash, the chunks that this agent keeps by
 * reading and hashing them again, and of all chunks that the providers which should have them do.
 */
export class ImageVerifier {
  readonly #components: ImageVerifierComponents

  constructor(components: ImageVerifierComponents) {
    this.#components = components
  }

  /**
   * @param repair copy what is missing or corrupt from where it is whole to where it should be.
   * @throws {PathNotFoundError | UnknownVersionError} if there is no such image.
   */
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
      await this.#findAbsences(findings, options)
      for (const finding of findings) {
        signal?.throwIfAborted()
        const outcome = await this.#check(snapshot, finding, options)
        result[outcome] += 1
        const isWrong = outcome === 'missing' || outcome === 'corrupt'
        if (isWrong && repair && (await this.#repair(finding, outcome, options)))
          result.repaired += 1
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
    const findings = new Map<string, Finding>()
    for (let at = 0; at < ids.count; at++) {
      const id = ids.get(at)
      const index = page * PAGE_CHUNKS + at
      if (isZeroChunk(id)) result.zeroChunks += 1
      else if (!findings.has(chunkKey(id))) {
        const replicas = await manifest.replicas(index, options)
        findings.set(chunkKey(id), { id, index, replicas, absentAt: [] })
      }
    }
    return [...findings.values()]
  }

  /** Asks every provider once for all that it should have. */
  async #findAbsences(findings: readonly Finding[], options: LongOptions): Promise<void> {
    const perProvider = new Map<ProviderId, Finding[]>()
    for (const finding of findings) {
      for (const provider of finding.replicas) {
        const asked = perProvider.get(provider) ?? []
        asked.push(finding)
        perProvider.set(provider, asked)
      }
    }
    for (const [provider, asked] of perProvider) {
      const ids = asked.map(({ id }) => id)
      const answers = await this.#ask(provider, ids, options)
      for (const [at, { absentAt }] of asked.entries()) {
        if (answers[at] !== true) absentAt.push(provider)
      }
    }
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
      if (errorCode(error) === undefined) throw error
      return [] // it cannot be reached: what it should have counts as missing
    }
  }

  async #check(
    snapshot: Snapshot,
    { id, index, replicas, absentAt }: Finding,
    options: LongOptions
  ): Promise<Outcome> {
    const { store } = this.#components
    const isConfirmed = replicas.length > 0 && absentAt.length === 0
    if (!store.has(id)) return isConfirmed ? 'confirmed' : 'missing'
    const bytes = await store.get(id, options)
    if (bytes === undefined || !equalBytes(chunkId(bytes), id)) return 'corrupt'
    if (bytes.byteLength !== snapshot.manifest.chunkLength(index)) return 'corrupt'
    return isConfirmed ? 'checked' : 'missing'
  }

  /** @returns false if some place that should have the chunk still lacks it. */
  async #repair(finding: Finding, outcome: Outcome, options: LongOptions): Promise<boolean> {
    const { store, reader, directory } = this.#components
    const { id, replicas, absentAt } = finding
    if (replicas.length === 0) return false
    try {
      const bytes = await reader.read(id, replicas, options)
      if (outcome === 'corrupt') await store.put(id, bytes, options)
      for (const provider of absentAt) {
        const opened = directory.open(provider)
        if (opened === undefined) return false
        await opened.put(id, bytes, options)
      }
      return true
    } catch (error) {
      options.signal?.throwIfAborted()
      if (BEYOND_REPAIR.has(errorCode(error) ?? '')) return false
      throw error
    }
  }
}
