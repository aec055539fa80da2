import { isZeroChunk } from '../../src/chunks/chunk-id.ts'
import type { ChunkReader } from '../../src/chunks/replica-types.ts'
import { concatBytes } from '../../src/lib/bytes.ts'
import type { Snapshot } from '../../src/metadata/blob-reader.ts'
import type { NodeStore } from '../../src/metadata/store-types.ts'
import { readExtents, type TreeSnapshot } from '../../src/metadata/tree-read.ts'

/** Reads all of a sealed version as deployers do: by its manifest. */
export async function readByManifest(snapshot: Snapshot): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const bytes of snapshot.read({ offset: 0, length: snapshot.bytes })) parts.push(bytes)
  return concatBytes(parts)
}

/** Reads all of a published version by its segment tree. */
export async function readByTree(
  { metadata, reader }: { readonly metadata: NodeStore; readonly reader: ChunkReader },
  tree: TreeSnapshot
): Promise<Uint8Array> {
  const read = new Uint8Array(tree.bytes)
  for (const extent of await readExtents(metadata, tree, { offset: 0, length: tree.bytes })) {
    const { chunk, chunkOffset, offset, length, replicas } = extent
    if (chunk === undefined || isZeroChunk(chunk)) continue
    const whole = await reader.read(chunk, replicas)
    read.set(whole.subarray(chunkOffset, chunkOffset + length), offset)
  }
  return read
}
