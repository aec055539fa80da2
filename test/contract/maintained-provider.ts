import { afterEach, describe, expect, test } from '@jest/globals'
import { ChunkCopier } from '../../src/chunks/chunk-copier.ts'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { LeaseTable } from '../../src/chunks/lease-table.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import type { ChunkSource, MaintainedProvider } from '../../src/chunks/maintenance-types.ts'
import type { ReservingStore } from '../../src/chunks/store-types.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { toHex } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { sampleChunk } from './chunk-store.ts'

const LEASE_MS = 1000
const QUOTA_BYTES = 600_000

/** What a suite runs against: a store, and a way to a provider over it. */
export interface MaintainedProviderKind {
  /** Makes a store that has not been started. */
  readonly openStore: (options: { readonly quotaBytes: number }) => Promise<ReservingStore>
  /** Name of the provider. @default provider */
  readonly id?: () => string
  /** Gives the provider as its users see it; may be called once a test. */
  readonly reach: (local: LocalProvider) => Promise<MaintainedProvider>
  /** Called after each test, before the store is stopped. */
  readonly close?: () => Promise<void>
}

type Sample = ReturnType<typeof sampleChunk>

/** Whom chunks are copied from: gives what it has, or what it is told to. */
class Source {
  readonly asked: string[] = []
  readonly #chunks: ReadonlyMap<string, Uint8Array>

  constructor(chunks: readonly Sample[]) {
    this.#chunks = new Map(chunks.map(({ id, bytes }) => [toHex(id), bytes]))
  }

  /** May lie, fail or wait. */
  give: (bytes: Uint8Array | undefined) => Promise<Uint8Array | undefined> = async (bytes) => bytes

  async get(id: ChunkId): Promise<Uint8Array | undefined> {
    this.asked.push(toHex(id))
    return await this.give(this.#chunks.get(toHex(id)))
  }
}

const naming = (id: string): ChunkSource => ({ id, addresses: [] })
const idsOf = (chunks: readonly Sample[]): ChunkId[] => chunks.map(({ id }) => id)
const samples = (count: number): Sample[] =>
  Array.from({ length: count }, (_, seed) => {
    const bytes = Uint8Array.of(seed, seed >> 8, 7, 7)
    return { id: chunkId(bytes), bytes }
  })

/** What every provider does for repair, verification and draining. */
export function testMaintainedProvider(name: string, kind: MaintainedProviderKind): void {
  const closings: (() => Promise<void>)[] = []

  afterEach(async () => {
    for (const close of closings.splice(0)) await close()
  })

  /** A provider with chunks that nobody has a lease on, and whom it may copy from. */
  async function open(chunks: readonly Sample[], sources: Readonly<Record<string, Source>> = {}) {
    const store = await kind.openStore({ quotaBytes: QUOTA_BYTES })
    await store.start()
    for (const { id, bytes } of chunks) await store.put(id, bytes)
    const clock = new ManualClock()
    const leases = new LeaseTable({ clock }, { leaseMs: LEASE_MS })
    const copier = new ChunkCopier({
      sources: {
        open: ({ id: from }) => {
          const source = sources[from]
          return source && { id: from, get: async (chunk) => source.get(chunk) }
        }
      },
      clock: systemClock
    })
    const freeBytes = async (): Promise<number> => QUOTA_BYTES - store.storedBytes
    const id = kind.id?.() ?? 'provider'
    const local = new LocalProvider(id, { store, freeBytes, leases, copier })
    clock.advance(LEASE_MS)
    const provider = await kind.reach(local)
    closings.push(async () => {
      await kind.close?.()
      await store.stop()
    })
    return { provider, store, clock }
  }

  describe(`${name}: counting copies`, () => {
    test('says what it holds, without a lease', async () => {
      const chunks = samples(1500)
      const { provider } = await open(chunks.slice(0, 3))

      const held = await provider.holds([...idsOf(chunks), ZERO_CHUNK_ID])
      const trimmed = await provider.trim(idsOf(chunks.slice(0, 3)))

      expect(held.flatMap((isHeld, at) => (isHeld ? [at] : []))).toEqual([0, 1, 2, 1500])
      expect(trimmed).toEqual({ count: 3, bytes: 12 })
    })

    test('reads again what it is asked about, and holds no longer what is not intact', async () => {
      const [good, bad, other] = samples(3) as [Sample, Sample, Sample]
      const { provider, store } = await open([good])
      await store.put(bad.id, Uint8Array.of(1, 2, 3, 4))

      const conditions = await provider.check([good.id, bad.id, other.id, ZERO_CHUNK_ID])

      expect(conditions).toEqual(['intact', 'corrupt', 'absent', 'intact'])
      expect(await provider.holds([good.id, bad.id])).toEqual([true, false])
    })

    test('checks more chunks than one message can name', async () => {
      const chunks = samples(300)
      const { provider } = await open(chunks)

      const conditions = await provider.check(idsOf(chunks))

      expect(conditions).toEqual(chunks.map(() => 'intact'))
    })
  })

  describe(`${name}: copying`, () => {
    test('fetches what it lacks, and only that', async () => {
      const chunks = samples(300)
      const source = new Source(chunks)
      const { provider, store } = await open(chunks.slice(0, 10), { a: source })

      const held = await provider.copy([...idsOf(chunks), ZERO_CHUNK_ID], [naming('a')])

      expect(held).toEqual(Array.from({ length: 301 }, () => true))
      expect(new Set(source.asked)).toEqual(new Set(idsOf(chunks.slice(10)).map(toHex)))
      expect(await store.get((chunks[200] as Sample).id)).toEqual((chunks[200] as Sample).bytes)
    })

    test('passes over sources that lie, fail, have nothing or are unknown', async () => {
      const chunks = samples(20)
      const [liar, broken, empty] = [new Source(chunks), new Source(chunks), new Source([])]
      liar.give = async () => Uint8Array.of(6, 6, 6)
      broken.give = async () => Promise.reject(new Error('broken'))
      const sources = { liar, broken, empty, honest: new Source(chunks) }
      const { provider, store } = await open([], sources)

      const names = ['liar', 'broken', 'empty', 'nobody', 'honest'].map(naming)
      const held = await provider.copy(idsOf(chunks), names)

      expect(held).toEqual(chunks.map(() => true))
      for (const { id } of chunks) expect(await store.check(id)).toBe('intact')
    })

    test('says what nobody gave', async () => {
      const [here, there, nowhere] = samples(3) as [Sample, Sample, Sample]
      const { provider } = await open([here], { a: new Source([there]) })
      const ids = idsOf([here, there, nowhere])

      const withSource = await provider.copy(ids, [naming('a')])
      const without = await provider.copy(ids, [])

      expect([withSource, without]).toEqual([
        [true, true, false],
        [true, true, false]
      ])
    })

    test('gives a lease, as a put does', async () => {
      const [first, second] = samples(2) as [Sample, Sample]
      const { provider, clock } = await open([first], { a: new Source([second]) })
      const ids = idsOf([first, second])

      await provider.copy(ids, [naming('a')])
      const early = await provider.trim(ids)
      clock.advance(2 * LEASE_MS)
      const late = await provider.trim(ids)

      expect([early.count, late.count]).toEqual([0, 2])
    })

    test('fails when it has no room for any of them', async () => {
      const large = sampleChunk(1, QUOTA_BYTES + 1)
      const { provider, store } = await open([], { a: new Source([large]) })

      const code = { code: 'ERR_STORE_FULL' }
      await expect(provider.copy([large.id], [naming('a')])).rejects.toMatchObject(code)
      expect(store.chunkCount).toBe(0)
    })

    test('ends when its caller gives up', async () => {
      const chunks = samples(4)
      const source = new Source(chunks)
      const asked = Promise.withResolvers<void>()
      source.give = async () => {
        asked.resolve()
        return await new Promise(() => {})
      }
      const { provider, store } = await open([], { a: source })
      const controller = new AbortController()

      const copying = provider.copy(idsOf(chunks), [naming('a')], { signal: controller.signal })
      await asked.promise
      controller.abort(new Error('changed my mind'))

      await expect(copying).rejects.toThrow('changed my mind')
      expect(store.chunkCount).toBe(0)
    })
  })

  describe(`${name}: trimming`, () => {
    test('deletes what has no lease, and says how much that was', async () => {
      const chunks = samples(4)
      const [leased, put, ...others] = chunks as [Sample, Sample, ...Sample[]]
      const { provider, store } = await open(chunks)
      await provider.has([leased.id])
      await provider.put(put.id, put.bytes)

      const trimmed = await provider.trim([...idsOf(chunks), sampleChunk(9).id, ZERO_CHUNK_ID])

      expect(trimmed).toEqual({ count: others.length, bytes: 8 })
      expect(new Set(Array.from(store.ids(), toHex))).toEqual(
        new Set([toHex(leased.id), toHex(put.id)])
      )
    })

    test('waits for no collection, and disturbs none', async () => {
      const [first, second] = samples(2) as [Sample, Sample]
      const { provider } = await open([first, second])
      const collection = await provider.beginCollection()

      const trimmed = await provider.trim([first.id])
      const collected = await provider.collect(collection, idsOf([first, second]))

      expect([trimmed.count, collected.count]).toEqual([1, 1])
    })

    test('refuses more than 1,024 chunks at once, and takes none for nothing', async () => {
      const chunks = samples(1025)
      const { provider, store } = await open(chunks)

      await expect(provider.trim(idsOf(chunks))).rejects.toThrow(RangeError)
      expect(await provider.trim([])).toEqual({ count: 0, bytes: 0 })
      expect(store.chunkCount).toBe(1025)
    })
  })
}
