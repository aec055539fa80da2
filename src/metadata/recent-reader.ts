import { chunkKey } from '../chunks/chunk-id.ts'
import type { ChunkReader } from '../chunks/replica-types.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { SharedCache } from '../lib/shared-cache.ts'

/** Chunks that are remembered, of up to 16 MiB each. */
const MAX_REMEMBERED = 4

/**
 * Reads chunks for somebody who takes parts of the same one shortly after each other, and only
 * looks at the bytes: they are shared.
 */
export class RecentReader implements ChunkReader {
  readonly #reader: ChunkReader
  readonly #recent = new SharedCache<Uint8Array>(MAX_REMEMBERED)

  constructor(reader: ChunkReader) {
    this.#reader = reader
  }

  async read(
    id: ChunkId,
    hint: readonly ProviderId[],
    options: AbortOptions = {}
  ): Promise<Uint8Array> {
    const load = (signal: AbortSignal) => this.#reader.read(id, hint, { signal })
    return await this.#recent.get(chunkKey(id), load, options)
  }
}
