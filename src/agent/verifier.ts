import { chunkKey, isZeroChunk } from '../chunks/chunk-id.ts'
import type { ProviderManager } from '../chunks/provider-manager-types.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { Snapshot } from '../metadata/blob-reader.ts'
import { locationRecordName, verifyLocation } from '../metadata/location.ts'
import type { Repository } from '../metadata/repository.ts'
import type { LocationRecord } from '../metadata/sealing-types.ts'
import type { Verifier } from '../metadata/signature-types.ts'
import type { RecordStore } from '../metadata/store-types.ts'
import type { LongOptions, VerifyResult } from './operations.ts'
import { type VerifiedChunk, verifyCopies } from './verify-copies.ts'
import { mendChunks, type VerifyRepairComponents } from './verify-repair.ts'

/** What the verifier reads, and where it asks. */
export interface ImageVerifierComponents extends VerifyRepairComponents {
  readonly repository: Repository
  readonly providers: Pick<ProviderManager, 'list' | 'place'>
  /** Where the location records are, as they are now. */
  readonly metadata: Pick<RecordStore, 'getRecords'>
  readonly verifier: Verifier
}

export interface ImageVerifierOptions {
  /** Copies that each chunk shall have. @default 1 */
  readonly replicas?: number | undefined
}

/** Counts while they grow. */
type Counts = { -readonly [K in keyof VerifyResult]: VerifyResult[K] }

const PAGE_CHUNKS = 1024

/**
 * Checks an image: its record and manifest by signature and hash, and of all chunks all copies.
 * Each provider that should have some reads and hashes them again, and so does this agent with what
 * it keeps. Chunks that occur twice in 1,024 count once.
 */
export class ImageVerifier {
  readonly #components: ImageVerifierComponents
  readonly #replicas: number

  constructor(components: ImageVerifierComponents, options: ImageVerifierOptions = {}) {
    const { replicas = 1 } = options
    this.#components = components
    this.#replicas = replicas
  }

  /**
   * @param repair copy what is missing or corrupt from where it is whole, first to where it should
   *   be. The location records follow with the next look of the provider manager.
   * @throws {PathNotFoundError | UnknownVersionError} if there is no such image.
   */
  async verify(ref: string, repair: boolean, options: LongOptions = {}): Promise<VerifyResult> {
    const { signal, onProgress } = options
    const snapshot = await this.#components.repository.openRead(ref, options)
    const { chunkCount, leafPageCount } = snapshot.manifest
    const { bytes: totalBytes, chunkBytes } = snapshot.record
    const live = await this.#liveProviders(options)
    const counts = countsOf(ref, chunkCount)
    const unreachable = new Set<ProviderId>()
    for (let page = 0; page < leafPageCount; page++) {
      const chunks = await this.#chunksOf(snapshot, page, counts, options)
      const startBytes = page * PAGE_CHUNKS * chunkBytes
      const pageBytes = Math.min(totalBytes - startBytes, PAGE_CHUNKS * chunkBytes)
      const onPart = (part: number): void => {
        const doneBytes = startBytes + Math.floor(pageBytes * part)
        onProgress?.({ phase: 'verify', doneBytes, totalBytes })
      }
      const checking = { signal, onPart }
      for (const id of await verifyCopies(this.#components, chunks, checking)) unreachable.add(id)
      await this.#lookAgain(snapshot, page, chunks, options)
      counts.unreachableProviders = unreachable.size
      const states = Map.groupBy(chunks, (chunk) => this.#count(chunk, live, counts))
      if (!repair) continue
      const common = { replicas: this.#replicas, live }
      const damaged = { chunks: states.get('damaged') ?? [], ...common }
      const short = { chunks: states.get('short') ?? [], ...common }
      counts.repaired += await mendChunks(this.#components, damaged, options)
      await mendChunks(this.#components, short, options)
    }
    return counts
  }

  /** Providers whose copies count; undefined where that cannot be told now. */
  async #liveProviders(options: LongOptions): Promise<ReadonlySet<ProviderId> | undefined> {
    try {
      const states = await this.#components.providers.list(options)
      const live = states.filter(({ condition, isDraining }) => condition === 'live' && !isDraining)
      return new Set(live.map(({ id }) => id))
    } catch {
      options.signal?.throwIfAborted()
      return undefined
    }
  }

  /** The different chunks of a page. */
  async #chunksOf(
    { manifest }: Snapshot,
    page: number,
    counts: Pick<Counts, 'zeroChunks'>,
    options: LongOptions
  ): Promise<VerifiedChunk[]> {
    const ids = await manifest.chunkIds(page, options)
    const location = await this.#locationOf(manifest, page, options)
    const chunks = new Map<string, VerifiedChunk>()
    for (let at = 0; at < ids.count; at++) {
      const id = ids.get(at)
      const index = page * PAGE_CHUNKS + at
      if (isZeroChunk(id)) counts.zeroChunks++
      else if (!chunks.has(chunkKey(id))) {
        const replicas = location?.replicas[at] ?? []
        const bytes = manifest.chunkLength(index)
        chunks.set(chunkKey(id), { id, bytes, replicas, found: new Map(), own: 'absent' })
      }
    }
    return [...chunks.values()]
  }

  /** Where the chunks of a page are now; what the repository remembers may be older. */
  async #locationOf(
    manifest: Snapshot['manifest'],
    page: number,
    { signal }: LongOptions
  ): Promise<LocationRecord | undefined> {
    const { metadata, verifier } = this.#components
    const id = await manifest.leafPageId(page, { signal })
    if (isZeroChunk(id)) return undefined
    const [found] = await metadata.getRecords([locationRecordName(id)], { signal })
    return found === undefined ? undefined : verifyLocation(verifier, found.envelope, id)
  }

  /** A copy that is not there may have been taken away meanwhile, and another made. */
  async #lookAgain(
    snapshot: Snapshot,
    page: number,
    chunks: VerifiedChunk[],
    options: LongOptions
  ): Promise<void> {
    const absent = chunks.filter(({ found }) => [...found.values()].includes('absent'))
    if (absent.length === 0) return
    const ids = new Set(absent.map(({ id }) => chunkKey(id)))
    const now = await this.#chunksOf(snapshot, page, { zeroChunks: 0 }, options)
    const again = now.filter(({ id }) => ids.has(chunkKey(id)))
    const { signal } = options
    await verifyCopies(this.#components, again, { signal, onPart: () => {} })
    const places = new Map(chunks.map(({ id }, at) => [chunkKey(id), at]))
    for (const chunk of again) chunks[places.get(chunkKey(chunk.id)) ?? 0] = chunk
  }

  /** @returns what is to be mended: damage, or only that there are too few copies. */
  #count(
    { found, own }: VerifiedChunk,
    live: ReadonlySet<ProviderId> | undefined,
    counts: Counts
  ): 'whole' | 'short' | 'damaged' {
    const { localId } = this.#components
    const conditions = [...found.values(), ...(own === 'absent' ? [] : [own])]
    const intact = [...found].filter(([, condition]) => condition === 'intact').map(([id]) => id)
    const isHere = own === 'intact' || (localId !== undefined && intact.includes(localId))
    counts.copies += conditions.length
    counts.intact += conditions.filter((condition) => condition === 'intact').length
    const isShort = intact.filter((id) => live?.has(id) ?? true).length < this.#replicas
    if (isShort) counts.underReplicated++
    const isOwnLost = own === 'corrupt' || own === 'missing'
    const isWhole = found.size > 0 && intact.length === found.size
    if (isOwnLost || conditions.includes('corrupt')) counts.corrupt++
    else if (!isWhole) counts.missing++
    else if (isHere) counts.checked++
    else counts.confirmed++
    if (isOwnLost || !isWhole) return 'damaged'
    return isShort ? 'short' : 'whole'
  }
}

function countsOf(ref: string, chunks: number): Counts {
  return {
    ref,
    chunks,
    zeroChunks: 0,
    copies: 0,
    intact: 0,
    checked: 0,
    confirmed: 0,
    missing: 0,
    corrupt: 0,
    underReplicated: 0,
    unreachableProviders: 0,
    repaired: 0
  }
}
