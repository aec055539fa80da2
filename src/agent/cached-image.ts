import type { ChunkStore } from '../chunks/store-types.ts'
import { countChunks } from './cached-chunks.ts'
import { type ImageCatalogue, rootOf } from './image-catalogue.ts'

/** An image of the cache as operators see it. */
export interface CachedImage {
  /** Manifest root, in hexadecimal. */
  readonly image: string
  readonly names: readonly { readonly path: string; readonly version: number }[]
  readonly bytes: number
  /** Bytes of its different chunks, without zeros, and of those that are here. */
  readonly dataBytes: number
  readonly heldBytes: number
  readonly isInUse: boolean
  /** ISO 8601. */
  readonly used: string
}

/** How full the cache is. */
export interface CacheFigures {
  readonly images: number
  readonly bytes: number
  /** Undefined for as much as the disk holds. */
  readonly limitBytes: number | undefined
  readonly evictedImages: number
  readonly evictedBytes: number
}

/** Describes the images of a catalogue, those used last first, and counts what is held of each. */
export async function describeImages(
  catalogue: ImageCatalogue,
  held: Pick<ChunkStore, 'has'>,
  isInUse: (key: string) => boolean
): Promise<CachedImage[]> {
  const images: CachedImage[] = []
  for (const entry of catalogue.byUse()) {
    const manifest = await catalogue.manifest(rootOf(entry))
    if (manifest === undefined) continue
    const { dataBytes, missingBytes } = await countChunks(manifest, (id) => held.has(id))
    images.push({
      image: entry.key,
      names: entry.names.map(({ path, version }) => ({ path, version })),
      bytes: entry.bytes,
      dataBytes,
      heldBytes: dataBytes - missingBytes,
      isInUse: isInUse(entry.key),
      used: new Date(entry.usedMs).toISOString()
    })
  }
  return images
}
