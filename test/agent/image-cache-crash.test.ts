import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import {
  SMALL_CHUNK as CHUNK,
  heldOf,
  type SmallImage,
  smallImage,
  startCache,
  storeImage
} from '../support/cached-images.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()
// Room for two images and what is freed in advance.
const LIMIT = 9 * CHUNK

/** What a machine that is switched off leaves: files of the catalogue, and chunks. */
interface Remains {
  readonly moment: string
  readonly folder: string
  readonly chunks: readonly (readonly [id: ChunkId, bytes: Uint8Array])[]
}

/** A store that calls back before each change. */
class WatchedStore extends MemoryStore {
  onChange: (what: string) => Promise<void> = async () => {}

  override async put(id: ChunkId, bytes: Uint8Array): Promise<boolean> {
    await this.onChange('before a chunk is stored')
    return await super.put(id, bytes)
  }

  override async delete(id: ChunkId): Promise<boolean> {
    await this.onChange('before a chunk is deleted')
    return await super.delete(id)
  }

  async copy(): Promise<Remains['chunks']> {
    const ids = Array.from({ length: 256 }, (_, first) => Array.from(this.ids(first))).flat()
    return await Promise.all(
      ids.map(async (id) => [id, (await this.get(id)) ?? new Uint8Array()] as const)
    )
  }
}

async function started(store: MemoryStore, folder: string) {
  await store.start()
  return await startCache(store, folder, { limitBytes: () => LIMIT })
}

/** Has the last image evict the first one, and notes what each moment of that would leave. */
async function remainsOf(
  images: readonly [SmallImage, SmallImage, SmallImage]
): Promise<Remains[]> {
  const [old, kept, wanted] = images
  const store = new WatchedStore()
  const folder = join(await newFolder(), 'images')
  const { cache, swarm } = await started(store, folder)
  for (const image of [old, kept]) {
    const use = await cache.use(image.manifest, image.name)
    await storeImage(store, image)
    await use.release()
  }
  const remains: Remains[] = []
  const note = async (moment: string): Promise<void> => {
    const copy = join(await newFolder(), 'images')
    await cp(folder, copy, { recursive: true })
    remains.push({ moment, folder: copy, chunks: await store.copy() })
  }
  store.onChange = note
  const release = swarm.release.bind(swarm)
  swarm.release = async (root) => {
    await note('before an image is served no more')
    await release(root)
  }
  const use = await cache.use(wanted.manifest, wanted.name)
  await note('before the first chunk comes')
  await storeImage(store, wanted)
  await use.release()
  await note('after all')
  return remains
}

test('whenever an agent ends while one image makes room for another, nothing of half an image is served or kept', async () => {
  const images = [
    await smallImage('/old', [2, 3, 4, 5]),
    await smallImage('/kept', [6, 7, 8, 9]),
    await smallImage('/wanted', [1, 2, 3, 10])
  ] as const
  const [old, kept, wanted] = images

  const remains = await remainsOf(images)

  expect(new Set(remains.map(({ moment }) => moment)).size).toBe(5)
  for (const { moment, folder, chunks } of remains) {
    const store = new MemoryStore()
    await store.start()
    for (const [id, bytes] of chunks) await store.put(id, bytes)
    const { cache, served } = await started(store, folder)
    const listed = await cache.list()
    const known = new Set(listed.map(({ image }) => image))
    expect([moment, served]).toEqual([moment, known])
    expect([moment, known.has(old.key), heldOf(store, kept)]).toEqual([moment, false, 4])
    const ofKnown = known.has(wanted.key) ? heldOf(store, wanted) : 0
    expect([moment, store.storedBytes]).toEqual([moment, (4 + ofKnown) * CHUNK])

    const use = await cache.use(wanted.manifest, wanted.name)
    await storeImage(store, wanted)
    await use.release()

    expect([moment, heldOf(store, wanted), store.storedBytes]).toEqual([moment, 4, 8 * CHUNK])
  }
})
