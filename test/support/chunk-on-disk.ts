import { open } from 'node:fs/promises'
import { DiskLayout } from '../../src/chunks/disk-layout.ts'
import { RECORD_HEADER_BYTES } from '../../src/chunks/segment-format.ts'
import { loadSegment } from '../../src/chunks/segment-load.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { equalBytes } from '../../src/lib/bytes.ts'
import { systemFiles } from '../../src/lib/file-layer.ts'

/** Where a chunk's bytes are. */
export interface ChunkOnDisk {
  readonly path: string
  readonly offset: number
  readonly length: number
}

/** Finds a chunk in a store's directory, whatever its layout. @throws {Error} if it is not there. */
export async function findChunk(directory: string, id: ChunkId): Promise<ChunkOnDisk> {
  const layout = new DiskLayout(directory)
  const path = layout.pathOf(id)
  const [size] = await systemFiles.sizesOf([path])
  if (size !== undefined) return { path, offset: 0, length: size }
  let found: ChunkOnDisk | undefined
  for (const name of (await systemFiles.list(layout.segments)).toSorted()) {
    const number = layout.segmentOf(name)
    if (number === undefined || !name.endsWith('.chunks')) continue
    const paths = layout.segmentPaths(number)
    for (const record of (await loadSegment(systemFiles, paths))?.records ?? []) {
      if (!equalBytes(record.id, id)) continue
      const offset = record.offset + RECORD_HEADER_BYTES
      found = { path: paths.chunks, offset, length: record.bytes }
    }
  }
  if (found === undefined) throw new Error(`the chunk is not in ${directory}`)
  return found
}

/** Changes a byte of a chunk on the disk behind the back of the store. */
export async function spoilChunk(directory: string, id: ChunkId): Promise<void> {
  const { path, offset } = await findChunk(directory, id)
  const file = await open(path, 'r+')
  try {
    const byte = new Uint8Array(1)
    await file.read(byte, 0, 1, offset + 10)
    await file.write(Uint8Array.of((byte[0] ?? 0) ^ 1), 0, 1, offset + 10)
  } finally {
    await file.close()
  }
}
