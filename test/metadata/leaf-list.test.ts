import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { toHex } from '../../src/lib/bytes.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { MetadataLimitError } from '../../src/metadata/errors.ts'
import { LeafList, LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { encodeLeafList, loadLeafList } from '../../src/metadata/leaf-list-codec.ts'
import type { Fragment } from '../../src/metadata/tree-types.ts'

const CHUNK_BYTES = 16

const chunk = (number: number): ChunkId => {
  const id = new Uint8Array(32)
  new DataView(id.buffer).setUint32(0, number + 1)
  return id
}

const fragment = (part: Partial<Fragment> = {}): Fragment => ({
  at: 0,
  length: CHUNK_BYTES,
  chunk: chunk(0),
  chunkOffset: 0,
  replicas: ['provider-a'],
  ...part
})

function storePages(list: LeafList) {
  const pages = Array.from(encodeLeafList(list))
  const byId = new Map(pages.map(({ id, bytes }) => [toHex(id), bytes]))
  const root = pages.at(-1)?.id ?? ZERO_CHUNK_ID
  const fetchPages = async (ids: readonly ChunkId[]) =>
    ids.map((id) => byId.get(toHex(id)) ?? new Uint8Array())
  return { pages, byId, root, fetchPages }
}

const anyReplicas = fc.subarray(['provider-a', 'provider-b', 'provider-c'])
const anyFragment = fc.tuple(
  fc.nat(12),
  fc.nat(CHUNK_BYTES - 1),
  fc.integer({ min: 1, max: CHUNK_BYTES }),
  fc.nat(5),
  anyReplicas
)
type AnyFragment = typeof anyFragment extends fc.Arbitrary<infer T> ? T : never

function build(parts: readonly AnyFragment[]): LeafList {
  const builder = new LeafListBuilder()
  for (const [index, at, length, number, replicas] of parts) {
    const id = number === 0 ? ZERO_CHUNK_ID : chunk(number)
    const fits = Math.min(length, CHUNK_BYTES - at)
    builder.add(index, fragment({ at, length: fits, chunk: id, chunkOffset: at, replicas }))
  }
  return builder.build()
}

/** What each byte of the blob is read from. */
function bytesOf(list: LeafList, origin = 0): Map<number, string> {
  const bytes = new Map<number, string>()
  for (const { index, fragments } of list) {
    for (const { at, length, chunk: id, chunkOffset, replicas } of fragments) {
      const isZero = id.every((byte) => byte === 0)
      for (let i = 0; i < length; i++) {
        const place = isZero ? 'zero' : `${toHex(id)}+${chunkOffset + i} ${replicas.join()}`
        bytes.set(index * CHUNK_BYTES + at + i + origin, place)
      }
    }
  }
  return bytes
}

describe('a leaf list', () => {
  test('gives leaves in order of index whatever the order of adding', () => {
    const builder = new LeafListBuilder()
    for (const index of [7, 2, 9, 0]) builder.add(index, fragment({ chunk: chunk(index) }))

    const list = builder.build()

    expect(Array.from(list, ({ index }) => index)).toEqual([0, 2, 7, 9])
    expect(list.leafCount).toBe(4)
    expect(list.endBytes(CHUNK_BYTES)).toBe(10 * CHUNK_BYTES)
  })

  test('shows the later of two fragments that overlap', () => {
    const builder = new LeafListBuilder()
    builder.add(3, fragment({ chunk: chunk(1) }))
    builder.add(3, fragment({ chunk: chunk(2), at: 4, length: 6, chunkOffset: 1 }))

    const [leaf] = Array.from(builder.build())

    expect(leaf?.fragments).toEqual([
      fragment({ chunk: chunk(1), at: 0, length: 4, chunkOffset: 0 }),
      fragment({ chunk: chunk(2), at: 4, length: 6, chunkOffset: 1 }),
      fragment({ chunk: chunk(1), at: 10, length: 6, chunkOffset: 10 })
    ])
  })

  test('takes replicas that become known after the fragment was added', () => {
    const builder = new LeafListBuilder()
    const added = builder.add(0, fragment({ replicas: [] }))
    builder.setReplicas(added, ['provider-b', 'provider-a', 'provider-b'])

    const [leaf] = Array.from(builder.build())

    expect(leaf?.fragments[0]?.replicas).toEqual(['provider-a', 'provider-b'])
  })

  test('is the later writes over the earlier ones, byte for byte', () => {
    fc.assert(
      fc.property(fc.array(anyFragment, { maxLength: 40 }), (parts) => {
        const model = new Map<number, string>()
        for (const part of parts)
          for (const [at, byte] of bytesOf(build([part]))) model.set(at, byte)

        expect(bytesOf(build(parts))).toEqual(model)
      })
    )
  })

  test('joins its ranges to what a ticket may list', () => {
    const builder = new LeafListBuilder()
    for (let i = 0; i < 10_000; i++) builder.add(i * 2, fragment())

    const ranges = builder.build().ranges()

    expect(ranges.length).toBeLessThanOrEqual(4096)
    expect(ranges[0]?.start).toBe(0)
    expect(ranges.at(-1)?.end).toBe(19_999)
  })

  test('has no ranges when it is empty', () => {
    expect(new LeafListBuilder().build().ranges()).toEqual([])
  })

  test('moves every byte by the same distance when it is cut again', () => {
    const parts = fc.array(anyFragment, { maxLength: 20 })
    fc.assert(
      fc.property(parts, fc.nat(70), (some, delta) => {
        const list = build(some)

        expect(bytesOf(list.shifted(delta, CHUNK_BYTES))).toEqual(bytesOf(list, delta))
      })
    )
  })

  test('refuses a leaf of more fragments than a node can have', () => {
    const builder = new LeafListBuilder()
    for (let i = 0; i < 4097; i++) {
      builder.add(0, fragment({ at: i * 2, length: 1, chunk: chunk(i) }))
    }

    expect(() => builder.build()).toThrow(MetadataLimitError)
  })

  test('refuses fragments that cannot be', () => {
    const builder = new LeafListBuilder()

    expect(() => builder.add(2 ** 32, fragment())).toThrow(RangeError)
    expect(() => builder.add(0, fragment({ length: 0 }))).toThrow(RangeError)
    expect(() => builder.add(0, fragment({ at: -1 }))).toThrow(RangeError)
  })

  test('keeps 100,000 leaves in less than 10 MB', () => {
    const builder = new LeafListBuilder()
    for (let i = 99_999; i >= 0; i--) builder.add(i, fragment({ chunk: chunk(i) }))

    expect(builder.build().memoryBytes).toBeLessThan(10_000_000)
  })
})

describe('the pages of a leaf list', () => {
  test('give the same list back', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyFragment, { maxLength: 60 }), async (parts) => {
        const list = build(parts)
        const { root, fetchPages } = storePages(list)

        const loaded = await loadLeafList(root, fetchPages)

        expect(Array.from(loaded)).toEqual(Array.from(list))
        expect(loaded.leafCount).toBe(list.leafCount)
      })
    )
  })

  test('have the same root for the same content built in another order', () => {
    const parts = fc.uniqueArray(anyFragment, { selector: ([index]) => index, maxLength: 12 })
    fc.assert(
      fc.property(parts, (some) => {
        expect(storePages(build(some)).root).toEqual(storePages(build(some.toReversed())).root)
      })
    )
  })

  test('hold 1,024 fragments each', async () => {
    const builder = new LeafListBuilder()
    for (let i = 0; i < 2500; i++) builder.add(i, fragment({ chunk: chunk(i) }))
    const list = builder.build()
    const { pages, root, fetchPages } = storePages(list)

    const loaded = await loadLeafList(root, fetchPages)

    expect(pages).toHaveLength(4)
    expect(Array.from(loaded)).toEqual(Array.from(list))
  })

  test('are refused when one is not what its id names', async () => {
    const { root, byId, fetchPages } = storePages(build([[0, 0, 4, 1, []]]))
    for (const bytes of byId.values()) bytes[bytes.byteLength - 1] = 77

    await expect(loadLeafList(root, fetchPages)).rejects.toMatchObject({
      code: 'ERR_CHUNK_MISMATCH'
    })
  })

  test('are either refused or the only form of their content, whatever is in them', async () => {
    const list = build([
      [0, 0, 4, 1, ['provider-a']],
      [0, 6, 4, 2, ['provider-a', 'provider-b']],
      [3, 0, 16, 0, []],
      [5, 0, 16, 3, ['provider-b']]
    ])
    const [page, root] = Array.from(encodeLeafList(list), ({ bytes }) => bytes)
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 255 }), async (place, flip) => {
        const forged = new Uint8Array(page ?? [])
        forged[place % forged.byteLength]! ^= flip
        const forgedRoot = new Uint8Array(root ?? [])
        forgedRoot.set(chunkId(forged), 14)
        const rootId = chunkId(forgedRoot)
        const fetchPages = async (ids: readonly ChunkId[]) =>
          ids.map((id) => (toHex(id) === toHex(rootId) ? forgedRoot : forged))

        const loaded = await loadLeafList(rootId, fetchPages).catch((error: unknown) => error)

        if (loaded instanceof LeafList) expect(storePages(loaded).root).toEqual(rootId)
        else expect(loaded).toBeInstanceOf(MalformedError)
      }),
      { numRuns: 1000 }
    )
  })

  test('are refused for any bytes that are no root', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        const load = loadLeafList(chunkId(bytes), async () => [bytes])

        await expect(load).rejects.toBeInstanceOf(MalformedError)
      })
    )
  })
})
