import { describe, expect, test } from '@jest/globals'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { equalBytes } from '../../src/lib/bytes.ts'
import type { NodeStore } from '../../src/metadata/store-types.ts'
import { type ReadExtentsOptions, readExtents } from '../../src/metadata/tree-read.ts'
import type { Extent, Fragment, NodeKey, TreeNode } from '../../src/metadata/tree-types.ts'
import type { ChunkRange } from '../../src/metadata/types.ts'

const BLOB = 'ab'.repeat(32)
const SOURCE = 'cd'.repeat(32)
const CHUNK_BYTES = 100

type Sealed = NonNullable<ReadExtentsOptions['sealed']>

const fragment = (chunk: string, at: number, length: number): Fragment => ({
  at,
  length,
  chunk: chunkId(Buffer.from(chunk)),
  chunkOffset: 0,
  replicas: ['p1']
})

/**
 * A blob of one chunk in three versions, each of which has written other ten bytes of it, and the
 * first of which stands on a clone's source.
 */
const LEAVES: Record<string, TreeNode> = {
  [`${BLOB}/3`]: {
    kind: 'leaf',
    fragments: [fragment('third', 0, 10)],
    previous: { blob: BLOB, version: 2 }
  },
  [`${BLOB}/2`]: {
    kind: 'leaf',
    fragments: [fragment('second', 10, 10)],
    previous: { blob: BLOB, version: 1 }
  },
  [`${BLOB}/1`]: {
    kind: 'leaf',
    fragments: [fragment('first', 20, 10)],
    previous: { blob: SOURCE, version: 7 }
  },
  [`${SOURCE}/7`]: { kind: 'leaf', fragments: [fragment('source', 0, 100)], previous: undefined }
}

/** Gives the leaves and remembers which were asked for. */
class Leaves implements NodeStore {
  readonly asked: string[] = []

  async getNodes(keys: readonly NodeKey[]): Promise<(TreeNode | undefined)[]> {
    return keys.map(({ blob, version }) => {
      this.asked.push(`${blob.slice(0, 2)}/${version}`)
      return LEAVES[`${blob}/${version}`]
    })
  }

  async putNodes(): Promise<void> {}
}

async function read(
  store: NodeStore,
  sealed: Sealed | undefined,
  { start, end }: ChunkRange = { start: 0, end: CHUNK_BYTES }
): Promise<Extent[]> {
  const snapshot = {
    root: { blob: BLOB, version: 3, span: 1 },
    bytes: CHUNK_BYTES,
    chunkBytes: CHUNK_BYTES
  }
  return await readExtents(store, snapshot, { offset: start, length: end - start }, { sealed })
}

/** What an extent shows: where it begins, of which chunk, from where. */
const show = ({ offset, chunk, chunkOffset }: Extent): unknown[] => {
  const names = ['third', 'second', 'first', 'source', 'sealed']
  const name = names.find((text) => chunk && equalBytes(chunkId(Buffer.from(text)), chunk))
  return [offset, name, chunkOffset]
}

/** Says that some versions have a manifest, in which the chunk is `sealed`. */
const manifestsOf =
  (
    versions: readonly string[],
    length = CHUNK_BYTES,
    chunk = chunkId(Buffer.from('sealed'))
  ): Sealed =>
  async (places) =>
    places.map(({ ref }) =>
      versions.includes(`${ref.blob.slice(0, 2)}/${ref.version}`)
        ? { chunk, length, replicas: ['p2'] }
        : undefined
    )

const failing: Sealed = async () => {
  throw new Error('no manifest now')
}

describe('a leaf that is not full', () => {
  test('is read through all leaves behind it where nothing is sealed', async () => {
    const store = new Leaves()

    const extents = await read(store, manifestsOf([]))

    expect(extents.map(show)).toEqual([
      [0, 'third', 0],
      [10, 'second', 0],
      [20, 'first', 0],
      [30, 'source', 30]
    ])
    expect(store.asked).toEqual(['ab/3', 'ab/2', 'ab/1', 'cd/7'])
    expect(await read(store, undefined)).toEqual(extents)
  })

  test("takes the rest from the version's own manifest and reads no older leaf", async () => {
    const store = new Leaves()

    const extents = await read(store, manifestsOf(['ab/3']))

    expect(extents.map(show)).toEqual([
      [0, 'third', 0],
      [10, 'sealed', 10]
    ])
    expect(extents.at(-1)?.replicas).toEqual(['p2'])
    expect(store.asked).toEqual(['ab/3'])
  })

  test('stops at the first sealed version that it links to', async () => {
    const store = new Leaves()

    const extents = await read(store, manifestsOf(['ab/1', 'cd/7']))

    expect(extents.map(show)).toEqual([
      [0, 'third', 0],
      [10, 'second', 0],
      [20, 'sealed', 20]
    ])
    expect(store.asked).toEqual(['ab/3', 'ab/2'])
  })

  test('stops at a sealed version of another blob', async () => {
    const store = new Leaves()

    const extents = await read(store, manifestsOf(['cd/7']), { start: 15, end: 50 })

    expect(extents.map(show)).toEqual([
      [15, 'second', 5],
      [20, 'first', 0],
      [30, 'sealed', 30]
    ])
    expect(store.asked).toEqual(['ab/3', 'ab/2', 'ab/1'])
  })

  test('reads as zeros past the end of a short sealed chunk', async () => {
    const extents = await read(new Leaves(), manifestsOf(['ab/2'], 40))

    expect(extents.map(show)).toEqual([
      [0, 'third', 0],
      [10, 'sealed', 10],
      [40, undefined, 0]
    ])
  })

  test('reads as zeros where the sealed chunk is zeros, or there is none', async () => {
    const zeros = await read(new Leaves(), manifestsOf(['ab/3'], CHUNK_BYTES, ZERO_CHUNK_ID))
    const none = await read(new Leaves(), manifestsOf(['ab/3'], 0))

    expect(zeros.map(show)).toEqual([
      [0, 'third', 0],
      [10, undefined, 0]
    ])
    expect(none).toEqual(zeros)
  })

  test('asks nobody where its own fragments are enough', async () => {
    expect(await read(new Leaves(), failing, { start: 2, end: 9 })).toHaveLength(1)
  })

  test('fails with what asking for manifests fails with', async () => {
    await expect(read(new Leaves(), failing)).rejects.toThrow('no manifest now')
  })
})
