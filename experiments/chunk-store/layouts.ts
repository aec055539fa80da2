import { join } from 'node:path'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { LmdbStore } from './lmdb-store.ts'

/** What is measured of a store. */
export interface MeasuredStore {
  readonly chunkCount: number
  has(id: ChunkId): boolean
  put(id: ChunkId, bytes: Uint8Array): Promise<boolean>
  get(id: ChunkId): Promise<Uint8Array | undefined>
  delete(id: ChunkId): Promise<boolean>
  start(): Promise<void>
  stop(): Promise<void>
}

/** A file a chunk, segments (both as in production), or one LMDB file. */
export type LayoutName = 'files' | 'segments' | 'lmdb'

/** Makes a store, which is not started yet, in a folder of its own. */
export function makeStore(
  layout: LayoutName,
  folder: string,
  { isDurable = true }: { readonly isDurable?: boolean } = {}
): MeasuredStore {
  const directory = join(folder, layout)
  if (layout === 'lmdb') return new LmdbStore(directory, isDurable)
  const durability = isDurable ? 'fsync' : 'memory'
  return new DiskStore({ logger: noLogger }, { directory, durability, format: layout })
}
