import { verifyChunk } from '../../src/chunks/chunk-id.ts'
import { ChunkUnavailableError } from '../../src/chunks/errors.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import type { ChunkReader, ChunkWriter, WrittenChunk } from '../../src/chunks/replica-types.ts'
import type { ChunkId, ProviderId } from '../../src/chunks/types.ts'
import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { toHex } from '../../src/lib/bytes.ts'

/**
 * Providers in one object: keeps chunks in memory, says that they are at `providers`, and counts
 * what it was asked for. Faults are put in through `onWrite` and `onRead`.
 */
export class ChunkPool implements ChunkWriter, ChunkReader {
  readonly store = new MemoryStore()
  readonly providers: readonly ProviderId[]
  /** Ids that were written, found by a look-up, or read, in order. */
  readonly writtenIds: string[] = []
  readonly locatedIds: string[] = []
  readonly readIds: string[] = []
  readonly #started = this.store.start()
  writtenBytes = 0
  lookUps = 0
  /** Called before each write and read; may throw or wait. */
  onWrite: (id: ChunkId, options: AbortOptions) => Promise<void> = async () => {}
  onRead: (id: ChunkId, options: AbortOptions) => Promise<void> = async () => {}

  constructor(providers: readonly ProviderId[] = ['provider-a']) {
    this.providers = providers
  }

  async write(
    id: ChunkId,
    bytes: Uint8Array,
    options: AbortOptions = {}
  ): Promise<readonly ProviderId[]> {
    await this.#started
    await this.onWrite(id, options)
    options.signal?.throwIfAborted()
    verifyChunk(id, bytes)
    this.writtenIds.push(toHex(id))
    this.writtenBytes += bytes.byteLength
    await this.store.put(id, new Uint8Array(bytes))
    return this.providers
  }

  async locate(ids: readonly ChunkId[]): Promise<(readonly ProviderId[])[]> {
    this.lookUps++
    return ids.map((id) => {
      if (!this.store.has(id)) return []
      this.locatedIds.push(toHex(id))
      return this.providers
    })
  }

  async makeWhole(chunks: readonly WrittenChunk[]): Promise<(readonly ProviderId[])[]> {
    return chunks.map(({ replicas }) => replicas)
  }

  async read(
    id: ChunkId,
    hint: readonly ProviderId[],
    options: AbortOptions = {}
  ): Promise<Uint8Array> {
    await this.#started
    await this.onRead(id, options)
    options.signal?.throwIfAborted()
    this.readIds.push(toHex(id))
    const bytes = await this.store.get(id)
    if (bytes === undefined) throw new ChunkUnavailableError(toHex(id), hint)
    return bytes
  }
}
