import { isZeroChunk } from '../chunks/chunk-id.ts'
import { KeySet } from '../chunks/key-set.ts'
import type { Manifest } from '../chunks/manifest.ts'
import type { ChunkStore } from '../chunks/store-types.ts'
import type { ChunkId } from '../chunks/types.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { nextTurn } from '../lib/turn.ts'

/** Ids that are looked at before others have a turn. */
const IDS_PER_TURN = 8192

/** Files that are changed at the same time; those who read shall not notice. */
const DELETES_AT_A_TIME = 8

/** How much of an image there is to keep. */
export interface ChunkBytes {
  /** Bytes of its different chunks, without zeros. */
  readonly dataBytes: number
  /** Of these, bytes of chunks that are not held. */
  readonly missingBytes: number
}

/** Counts the different chunks of an image, and those that are not held. */
export async function countChunks(
  manifest: Manifest,
  has: (id: ChunkId) => boolean
): Promise<ChunkBytes> {
  const seen = new KeySet()
  let [dataBytes, missingBytes] = [0, 0]
  for (let index = 0; index < manifest.chunkCount; index++) {
    if (index % IDS_PER_TURN === IDS_PER_TURN - 1) await nextTurn()
    const id = manifest.chunkId(index)
    if (isZeroChunk(id) || !seen.add(id)) continue
    const bytes = manifest.chunkLength(index)
    dataBytes += bytes
    if (!has(id)) missingBytes += bytes
  }
  return { dataBytes, missingBytes }
}

/** Adds the ids of an image's chunks to a set. */
export async function addChunks(set: KeySet, { ids }: Manifest): Promise<void> {
  for (let index = 0; index < ids.count; index++) {
    if (index % IDS_PER_TURN === IDS_PER_TURN - 1) await nextTurn()
    set.add(ids.get(index))
  }
}

/** Deletes those of the chunks that are held and not to be kept. @returns how many bytes that were. */
export async function deleteChunks(
  store: ChunkStore,
  ids: Iterable<ChunkId>,
  kept: KeySet
): Promise<{ count: number; bytes: number }> {
  const deleted = { count: 0, bytes: 0 }
  const doomed = Iterator.from(ids).filter(
    (id) => !isZeroChunk(id) && !kept.has(id) && store.has(id)
  )
  await forEachConcurrently(doomed, DELETES_AT_A_TIME, async (id) => {
    const bytes = store.lengthOf(id) ?? 0
    if (!(await store.delete(id))) return
    deleted.count++
    deleted.bytes += bytes
  })
  return deleted
}
