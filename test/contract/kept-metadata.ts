import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { signLocation } from '../../src/metadata/location.ts'
import { nodePrefix, recordKey } from '../../src/metadata/metadata-keys.ts'
import { encodeNodeKey } from '../../src/metadata/node-codec.ts'
import type { Verifier } from '../../src/metadata/signature-types.ts'
import type {
  CollectableMetadata,
  HandedOverStore,
  KeptMetadata,
  MetadataKind,
  NamedRecord,
  Page
} from '../../src/metadata/store-types.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { testSigner, trusting } from '../support/signing.ts'
import { sampleWrite } from '../support/tree-samples.ts'

/** How long leases of the stores under test last. */
export const LEASE_MS = 1000

const signer = testSigner(1)

/** A store under test, perhaps over the network, and what it really keeps. */
export interface StoreUnderTest {
  readonly store: Omit<HandedOverStore, 'scan'> & CollectableMetadata
  readonly kept: KeptMetadata
}

/** `open` gives an empty store that trusts what the verifier trusts, with leases of LEASE_MS. */
export type OpenStore = (verifier: Verifier, clock: Clock) => Promise<StoreUnderTest>

async function stage(open: OpenStore) {
  const clock = new ManualClock()
  const { store, kept } = await open(trusting(signer), clock)
  return { clock, store, kept }
}

/** A store in which nothing has a lease any more. */
async function oldStage(open: OpenStore, put: (store: KeptMetadata) => Promise<unknown>) {
  const staged = await stage(open)
  await put(staged.kept)
  staged.clock.advance(2 * LEASE_MS)
  return { ...staged, collection: await staged.store.beginCollection() }
}

function page(seed: number): Page {
  const bytes = new Uint8Array(Buffer.from(`page ${seed}`))
  return { id: chunkId(bytes), bytes }
}

function pages(count: number): Page[] {
  return Array.from({ length: count }, (_, seed) => page(seed))
}

function location(seed: number, sequence = 1): NamedRecord {
  return signLocation(signer, { page: page(seed).id, sequence, replicas: [['p1']] })
}

const inOrder = (keys: readonly Uint8Array[]): Uint8Array[] =>
  keys.toSorted((left, right) => Buffer.compare(left, right))

/** What hand-over and collection ask of a metadata provider, near or far. */
export function handedOverContract(name: string, open: OpenStore): void {
  describe(`${name}, as hand-over and collection see it`, () => {
    test('tells which keys it lacks', async () => {
      const { store, kept } = await stage(open)
      const { nodes, proof } = await sampleWrite(4)
      await kept.putNodes(nodes.slice(0, 2), proof)
      await kept.putPages([page(1)])
      await kept.putRecords([location(1)])

      const keys = nodes.map(({ key }) => encodeNodeKey(key))
      const names = [location(1), location(2)].map((record) => recordKey(record.name))

      expect(await store.lacking('nodes', keys)).toEqual(nodes.map((_, at) => at >= 2))
      expect(await store.lacking('pages', [page(1).id, page(2).id])).toEqual([false, true])
      expect(await store.lacking('records', names)).toEqual([false, true])
      expect(await store.behind([location(1, 1), location(1, 2), location(2, 1)])).toEqual([
        false,
        true,
        true
      ])
    })

    test('gives nodes with their proofs, good for any other store', async () => {
      const { store, kept } = await stage(open)
      const [one, other] = [await sampleWrite(5), await sampleWrite(3, { fill: 2 })]
      await kept.putNodes(one.nodes, one.proof)
      await kept.putNodes(other.nodes, other.proof)
      const nowhere = { ...one.nodes[0]!.key, version: 9 }
      const keys = [...one.nodes, ...other.nodes].map(({ key }) => key)

      const proven = await store.getProvenNodes([nowhere, ...keys])

      expect(proven[0]).toBeUndefined()
      const there = proven.slice(1).flatMap((node) => (node === undefined ? [] : [node]))
      expect(there.map(({ node }) => node)).toEqual(
        [...one.nodes, ...other.nodes].map(({ node }) => node)
      )
      expect(new Set(there.map(({ proof }) => proof)).size).toBe(2)
      const { kept: second } = await stage(open)
      for (const node of there) await second.putNodes([node], node.proof)
      expect(await second.getNodes(keys)).toEqual(there.map(({ node }) => node))
    })

    test('nothing is deleted while it may have a lease: right after the start, and after a put', async () => {
      const { store, kept, clock } = await stage(open)
      await kept.putPages(pages(3))
      await kept.putRecords([location(1)])
      const ids = pages(3).map(({ id }) => id)
      const early = await store.beginCollection()
      const asked = { kind: 'pages', keys: ids } as const
      expect(await store.unleased(early, { kind: 'pages' })).toEqual([])
      expect(await store.collect(early, asked)).toEqual({ count: 0, bytes: 0 })
      clock.advance(2 * LEASE_MS)
      await store.beginCollection()
      await kept.putPages([page(0)])
      const collection = await store.beginCollection()
      await kept.putPages([page(1)])

      const { count } = await store.collect(collection, asked)

      expect(count).toBe(1)
      expect((await kept.getPages(ids)).map((bytes) => bytes !== undefined)).toEqual([
        true,
        true,
        false
      ])
      expect(await store.unleased(collection, { kind: 'records' })).toEqual([
        recordKey(location(1).name)
      ])
    })

    test('lists what has no lease in order, page by page', async () => {
      const all = pages(40)
      const { store, collection } = await oldStage(open, (kept) => kept.putPages(all))
      const ids = inOrder(all.map(({ id }) => id))

      const listed: Uint8Array[] = []
      for (let after: Uint8Array | undefined; ; after = listed.at(-1)) {
        const some = await store.unleased(collection, { kind: 'pages', after, limit: 7 })
        if (some.length === 0) break
        expect(some.length).toBeLessThanOrEqual(7)
        listed.push(...some)
      }

      expect(listed).toEqual(ids)
    })

    test('finds what has no lease behind many that have one', async () => {
      const all = pages(60)
      const old = inOrder(all.map(({ id }) => id)).at(-1) as Uint8Array
      const { store, kept, clock } = await stage(open)
      await kept.putPages(all)
      clock.advance(2 * LEASE_MS)
      await kept.putPages(all.filter(({ id }) => Buffer.compare(id, old) !== 0))
      const collection = await store.beginCollection()

      expect(await store.unleased(collection, { kind: 'pages', limit: 4 })).toEqual([old])
    })

    test('lists versions of nodes and the nodes of one, and deletes those', async () => {
      const writes = [await sampleWrite(5), await sampleWrite(9, { fill: 2 })]
      const { store, kept, collection } = await oldStage(open, async (into) => {
        for (const { nodes, proof } of writes) await into.putNodes(nodes, proof)
      })
      const [one, two] = writes.map(({ nodes }) => nodes.map(({ key }) => key))
      const ref = { blob: '02'.repeat(32), version: 1 }
      const prefix = nodePrefix(ref)

      expect(await store.nodeVersions(collection, undefined)).toEqual([
        { blob: '01'.repeat(32), version: 1 },
        ref
      ])
      expect(await store.nodeVersions(collection, { ...ref, blob: '01'.repeat(32) })).toEqual([ref])
      const listed = await store.unleased(collection, { kind: 'nodes', prefix })
      expect(listed).toEqual(inOrder((two ?? []).map(encodeNodeKey)))
      const { count, bytes } = await store.collect(collection, { kind: 'nodes', keys: listed })

      expect(count).toBe(two?.length)
      expect(bytes).toBeGreaterThan(45 * count)
      expect(await store.nodeVersions(collection, undefined)).toHaveLength(1)
      expect(await kept.getNodes(one ?? [])).toEqual(writes[0]?.nodes.map(({ node }) => node))
      expect(await kept.getNodes(two ?? [])).toEqual((two ?? []).map(() => undefined))
    })

    test('deletes records and counts their bytes', async () => {
      const records = [location(1), location(2)]
      const { store, kept, collection } = await oldStage(open, (into) => into.putRecords(records))
      const keys = records.map((record) => recordKey(record.name))

      const collected = await store.collect(collection, { kind: 'records', keys })

      expect(collected.count).toBe(2)
      expect(collected.bytes).toBeGreaterThan(100)
      expect(await kept.getRecords(records.map((record) => record.name))).toEqual([
        undefined,
        undefined
      ])
      expect(await store.collect(collection, { kind: 'records', keys })).toEqual({
        count: 0,
        bytes: 0
      })
    })

    test('a put that comes after a deletion brings the page back; one before keeps it', async () => {
      const all = pages(30)
      const { store, kept, collection } = await oldStage(open, (into) => into.putPages(all))
      const keys = all.map(({ id }) => id)

      await Promise.all(
        all.flatMap(({ id, bytes }, at) => {
          const deletion = (): Promise<unknown> =>
            store.collect(collection, { kind: 'pages', keys: [id] })
          const put = (): Promise<unknown> => kept.putPages([{ id, bytes }])
          return at % 2 === 0 ? [put(), deletion()] : [deletion(), put()]
        })
      )

      expect(await kept.lacking('pages', keys)).toEqual(keys.map(() => false))
    })

    test('refuses a collection that has ended, and one that never was', async () => {
      const { store, kept, collection } = await oldStage(open, (into) => into.putPages(pages(1)))
      await store.beginCollection()
      const asked = { kind: 'pages', keys: [page(0).id] } as const
      const ended = { code: 'ERR_COLLECTION_ENDED' }

      for (const other of [collection, 'nonsense']) {
        await expect(store.unleased(other, { kind: 'nodes' })).rejects.toMatchObject(ended)
        await expect(store.nodeVersions(other, undefined)).rejects.toMatchObject(ended)
        await expect(store.collect(other, asked)).rejects.toMatchObject(ended)
      }
      expect(await kept.lacking('pages', [page(0).id])).toEqual([false])
    })

    test('refuses keys that nothing of the kind has', async () => {
      const { store, collection } = await oldStage(open, async () => {})
      const cases: readonly (readonly [MetadataKind, Uint8Array])[] = [
        ['nodes', new Uint8Array(45).fill(0xff)],
        ['nodes', new Uint8Array(44)],
        ['pages', new Uint8Array(31)],
        ['records', new Uint8Array([0xff, 0xfe])]
      ]

      for (const [kind, key] of cases) {
        const malformed = { code: 'ERR_MALFORMED' }
        await expect(store.lacking(kind, [key])).rejects.toMatchObject(malformed)
        await expect(store.collect(collection, { kind, keys: [key] })).rejects.toMatchObject(
          malformed
        )
      }
    })
  })
}

/** What only an agent's own store does. */
export function keptMetadataContract(name: string, open: OpenStore): void {
  handedOverContract(name, open)

  describe(`${name}, to its own agent`, () => {
    test('walks through the keys of each kind in order', async () => {
      const { kept } = await stage(open)
      const { nodes, proof } = await sampleWrite(9)
      await kept.putNodes(nodes.toReversed(), proof)
      await kept.putPages(pages(20))
      await kept.putRecords([location(2), location(1)])

      const walk = async (kind: MetadataKind): Promise<Uint8Array[]> => {
        const found: Uint8Array[] = []
        for (;;) {
          const some = await kept.scan({ kind, after: found.at(-1), limit: 6 })
          found.push(...some)
          if (some.length < 6) return found
        }
      }

      expect(await walk('nodes')).toEqual(inOrder(nodes.map(({ key }) => encodeNodeKey(key))))
      expect(await walk('pages')).toEqual(inOrder(pages(20).map(({ id }) => id)))
      expect(await walk('records')).toEqual(
        inOrder([location(1), location(2)].map((record) => recordKey(record.name)))
      )
    })

    test('any scan gives what a list of the keys would', async () => {
      const { kept } = await stage(open)
      await kept.putPages(pages(50))
      const sorted = inOrder(pages(50).map(({ id }) => id))
      const bytes = fc.uint8Array({ maxLength: 3 })

      await fc.assert(
        fc.asyncProperty(
          fc.option(bytes, { nil: undefined }),
          fc.option(fc.uint8Array({ maxLength: 1 }), { nil: undefined }),
          fc.integer({ min: 1, max: 60 }),
          async (after, prefix, limit) => {
            const expected = sorted
              .filter((key) => after === undefined || Buffer.compare(key, after) > 0)
              .filter((key) => prefix === undefined || prefix.every((byte, at) => key[at] === byte))

            const found = await kept.scan({ kind: 'pages', after, prefix, limit })

            expect(found).toEqual(expected.slice(0, limit))
          }
        ),
        { numRuns: 30 }
      )
    })

    test('drops what others keep, lease or not', async () => {
      const { kept } = await stage(open)
      await kept.putPages(pages(2))

      const { count } = await kept.drop('pages', [page(0).id, page(7).id])

      expect(count).toBe(1)
      expect(await kept.lacking('pages', [page(0).id, page(1).id])).toEqual([true, false])
    })
  })
}
