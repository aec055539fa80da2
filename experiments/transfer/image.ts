import { randomFillSync } from 'node:crypto'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../src/chunks/chunk-list.ts'
import { Manifest } from '../../src/chunks/manifest.ts'
import type { ChunkStore } from '../../src/chunks/store-types.ts'
import { KIB } from '../../src/lib/bytes.ts'

export const CHUNK_BYTES = 256 * KIB

/** Stores fresh random chunks. @returns their ids, in hexadecimal, for the other processes. */
export async function storeRandomImage(store: ChunkStore, bytes: number): Promise<string> {
  const ids: Uint8Array[] = []
  for (let at = 0; at < bytes; at += CHUNK_BYTES) {
    const chunk = randomFillSync(new Uint8Array(Math.min(CHUNK_BYTES, bytes - at)))
    const id = chunkId(chunk)
    await store.put(id, chunk)
    ids.push(id)
  }
  return Buffer.concat(ids).toString('hex')
}

/** The manifest of an image of whole chunks; nobody asks for its pages here. */
export function manifestOf(idsHex: string): Manifest {
  const all = new Uint8Array(Buffer.from(idsHex, 'hex'))
  const chunkCount = all.byteLength / 32
  const ids = ChunkList.from(
    Array.from({ length: chunkCount }, (_, n) => all.slice(n * 32, n * 32 + 32))
  )
  const root = chunkId(all)
  const shape = { bytes: chunkCount * CHUNK_BYTES, chunkBytes: CHUNK_BYTES, chunkCount, levels: 0 }
  return new Manifest({ root, shape, ids, leafPages: new ChunkList(0), pageIds: [root] })
}
