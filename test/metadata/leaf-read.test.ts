import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId, chunkKey, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import type { ChunkReader } from '../../src/chunks/replica-types.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { readLeaves } from '../../src/metadata/leaf-read.ts'

const CHUNK_BYTES = 16

/** Chunks that were stored, by their ids. */
class Chunks implements ChunkReader {
  readonly #chunks = new Map<string, Uint8Array>()
  underway = 0

  put(bytes: Uint8Array): Uint8Array {
    const id = chunkId(bytes)
    this.#chunks.set(chunkKey(id), bytes)
    return id
  }

  async read(id: Uint8Array): Promise<Uint8Array> {
    this.underway += 1
    await Promise.resolve()
    this.underway -= 1
    const bytes = this.#chunks.get(chunkKey(id))
    if (bytes === undefined) throw new Error('no such chunk')
    return bytes.slice()
  }
}

const fragment = fc.record({
  index: fc.nat({ max: 6 }),
  at: fc.nat({ max: CHUNK_BYTES - 1 }),
  longest: fc.integer({ min: 1, max: CHUNK_BYTES }),
  fill: fc.nat({ max: 255 }),
  skipped: fc.nat({ max: 3 })
})

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const piece of pieces) parts.push(piece)
  return Buffer.concat(parts)
}

test('reads what an array of bytes would hold, from anywhere', async () => {
  const fragments = fc.array(fragment, { maxLength: 12 })
  const where = fc.record({ offset: fc.nat({ max: 130 }), more: fc.nat({ max: 20 }) })

  await fc.assert(
    fc.asyncProperty(fragments, where, async (written, { offset, more }) => {
      const chunks = new Chunks()
      const builder = new LeafListBuilder()
      const model = Buffer.alloc(8 * CHUNK_BYTES)
      for (const { index, at, longest, fill, skipped } of written) {
        const length = Math.min(longest, CHUNK_BYTES - at)
        const isZero = fill === 0
        const stored = Buffer.alloc(skipped + length, fill)
        const chunk = isZero ? ZERO_CHUNK_ID : chunks.put(stored)
        const chunkOffset = isZero ? 0 : skipped
        builder.add(index, { at, length, chunk, chunkOffset, replicas: ['p'] })
        model.fill(fill, index * CHUNK_BYTES + at, index * CHUNK_BYTES + at + length)
      }
      const leaves = builder.build()
      const endBytes = leaves.endBytes(CHUNK_BYTES) + more
      const options = { offset, endBytes, chunkBytes: CHUNK_BYTES, readAheadBytes: 48 }

      const read = await collect(readLeaves(chunks, leaves, options))

      expect(read).toEqual(Buffer.concat([model], endBytes).subarray(offset))
    })
  )
})

test('leaves nothing running when its taker stops early', async () => {
  const chunks = new Chunks()
  const builder = new LeafListBuilder()
  for (let index = 0; index < 20; index += 1) {
    const chunk = chunks.put(Buffer.alloc(CHUNK_BYTES, index + 1))
    builder.add(index, { at: 0, length: CHUNK_BYTES, chunk, chunkOffset: 0, replicas: ['p'] })
  }
  const endBytes = 20 * CHUNK_BYTES
  const options = { offset: 0, endBytes, chunkBytes: CHUNK_BYTES, readAheadBytes: 80 }

  for await (const _piece of readLeaves(chunks, builder.build(), options)) break

  expect(chunks.underway).toBe(0)
})

test('fails where a chunk is nowhere', async () => {
  const builder = new LeafListBuilder()
  const chunk = chunkId(Buffer.from('lost'))
  builder.add(0, { at: 0, length: 4, chunk, chunkOffset: 0, replicas: ['p'] })
  const options = { offset: 0, endBytes: 4, chunkBytes: CHUNK_BYTES }

  await expect(collect(readLeaves(new Chunks(), builder.build(), options))).rejects.toThrow(
    'no such chunk'
  )
})
