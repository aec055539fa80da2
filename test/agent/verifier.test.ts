import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { ImageVerifier } from '../../src/agent/verifier.ts'
import { ChunkCopier } from '../../src/chunks/chunk-copier.ts'
import { chunkId, chunkKey, isZeroChunk } from '../../src/chunks/chunk-id.ts'
import { ChunkUnavailableError } from '../../src/chunks/errors.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import type { MaintainedDirectory, MaintainedProvider } from '../../src/chunks/maintenance-types.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import type { ProviderState } from '../../src/chunks/provider-manager-types.ts'
import type { ChunkReader } from '../../src/chunks/replica-types.ts'
import type { ChunkStore } from '../../src/chunks/store-types.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { locationRecordName, signLocation } from '../../src/metadata/location.ts'
import { PeerUnreachableError } from '../../src/peer/errors.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536
const first = sampleBytes(CHUNK, 1)
const second = sampleBytes(100, 2)
const image = Buffer.concat([first, first, new Uint8Array(CHUNK), second])

let bench: TestRepository
beforeAll(async () => {
  bench = await startTestRepository({ chunkBytes: CHUNK, providerCount: 2, replicas: 2 })
  const writer = await bench.repository.openWrite('/a', { mode: 'replace' })
  await writer.write(0, image)
  await writer.publish()
})
afterAll(async () => bench.stop())

/** The image on the first two of three providers, seen from the first of them. */
async function start() {
  const { repository } = bench
  const kept = await emptyStore()
  const cache = { id: 'self', get: async (id: Uint8Array) => await kept.get(id) }
  const third = await emptyStore()
  const opened = new Map<string, MaintainedProvider>()
  const [store, other] = [await emptyStore(), await emptyStore()]
  for (const bytes of [first, second]) {
    await store.put(chunkId(bytes), bytes)
    await other.put(chunkId(bytes), bytes)
  }
  for (const [number, at] of [store, other, third].entries()) {
    const id = `provider-${number + 1}`
    const copier = new ChunkCopier({
      sources: { open: (of) => (of.id === 'self' ? cache : opened.get(of.id)) },
      clock: systemClock
    })
    opened.set(id, new LocalProvider(id, { store: at, freeBytes, copier }))
  }
  const directory: MaintainedDirectory = { open: (id) => opened.get(id) }
  const live = new Set(opened.keys())
  const providers = {
    list: async () => [...live].map((id) => ({ id, condition: 'live' }) as ProviderState),
    place: async ({ exclude = [] }: { readonly exclude?: readonly string[] | undefined }) => [
      [...live].filter((id) => !exclude.includes(id))
    ]
  }
  const { metadata, verifier: signatures } = bench
  const reader: ChunkReader = {
    read: async (id, hint) => {
      for (const name of hint) {
        const bytes = await opened.get(name)?.get(id)
        if (bytes !== undefined) return bytes
      }
      throw new ChunkUnavailableError('a chunk', hint)
    }
  }
  const sources = { directory, providers, metadata, verifier: signatures }
  const common = { repository, reader, ...sources, self: () => ({ id: 'self', addresses: [] }) }
  const verifier = new ImageVerifier({ ...common, store, localId: 'provider-1' }, { replicas: 2 })
  const elsewhere = (at: MemoryStore): ImageVerifier =>
    new ImageVerifier({ ...common, store: at }, { replicas: 2 })
  return { verifier, elsewhere, store, other, third, kept, opened, live }
}

const freeBytes = async (): Promise<number> => 1e9

async function emptyStore(): Promise<MemoryStore> {
  const store = new MemoryStore()
  await store.start()
  return store
}

/** Makes a store hold other bytes under the chunk's id. */
async function spoil(store: ChunkStore, bytes: Uint8Array): Promise<void> {
  await store.delete(chunkId(bytes))
  await store.put(chunkId(bytes), bytes.toReversed())
}

/** Moves a chunk of the image from the second provider to the third, as repair does. */
async function move(bytes: Uint8Array, from: MemoryStore, to: MemoryStore): Promise<void> {
  const id = chunkId(bytes)
  if (!from.has(id)) return
  await to.put(id, bytes)
  await from.delete(id)
  await writeDown(id, ['provider-1', 'provider-3'])
}

/** Puts it into the location record where a chunk is. */
async function writeDown(id: Uint8Array, holders: readonly string[]): Promise<void> {
  const { manifest } = await bench.repository.openRead('/a')
  const page = await manifest.leafPageId(0)
  const [named] = await bench.metadata.getRecords([locationRecordName(page)])
  const ids = await manifest.chunkIds(0)
  const usual = ['provider-1', 'provider-2']
  const replicas = Array.from(ids, (chunk) => {
    if (isZeroChunk(chunk)) return []
    return chunkKey(chunk) === chunkKey(id) ? holders : usual
  })
  const record = { page, sequence: (named?.sequence ?? 0) + 1, replicas }
  await bench.metadata.putRecords([signLocation(bench.signer, record)])
}

/** Makes a provider silent. */
function silence(opened: Map<string, MaintainedProvider>, id: string): void {
  const provider = opened.get(id)
  if (provider === undefined) throw new Error(`no ${id}`)
  const refuse = async (): Promise<never> => {
    throw new PeerUnreachableError(id, 'gone')
  }
  provider.check = refuse
  provider.copy = refuse
}

const CLEAN = {
  missing: 0,
  corrupt: 0,
  underReplicated: 0,
  unreachableProviders: 0,
  repaired: 0
}

describe('verifying', () => {
  test('has every copy of every chunk read again', async () => {
    const { verifier } = await start()

    const result = await verifier.verify('/a', false)

    const chunks = { chunks: 4, zeroChunks: 1, copies: 4, intact: 4, checked: 2, confirmed: 0 }
    expect(result).toEqual({ ref: '/a', ...chunks, ...CLEAN })
  })

  test('of an agent that keeps nothing relies on the providers', async () => {
    const { elsewhere } = await start()

    const result = await elsewhere(await emptyStore()).verify('/a', false)

    expect(result).toMatchObject({ copies: 4, intact: 4, checked: 0, confirmed: 2, ...CLEAN })
  })

  test('tells how far it is', async () => {
    const { verifier } = await start()
    const done: number[] = []

    await verifier.verify('/a', false, { onProgress: ({ doneBytes }) => done.push(doneBytes) })

    expect(done).toEqual(done.toSorted((left, right) => left - right))
    expect(done.at(-1)).toBe(image.byteLength)
  })

  test('finds a chunk that one of its providers has lost', async () => {
    const { verifier, other } = await start()
    await other.delete(chunkId(second))

    expect(await verifier.verify('/a', false)).toMatchObject({
      copies: 4,
      intact: 3,
      checked: 1,
      missing: 1,
      underReplicated: 1,
      repaired: 0
    })
  })

  test('finds a chunk that is wrong at a provider, though it is right here', async () => {
    const { verifier, other } = await start()
    await spoil(other, first)

    expect(await verifier.verify('/a', false)).toMatchObject({ checked: 1, corrupt: 1, missing: 0 })
    expect(other.has(chunkId(first))).toBe(false)
  })

  test('counts what a provider that does not answer should have as missing', async () => {
    const { verifier, opened } = await start()
    silence(opened, 'provider-2')

    expect(await verifier.verify('/a', false)).toMatchObject({
      missing: 2,
      corrupt: 0,
      unreachableProviders: 1
    })
  })

  test('finds what is wrong in this agent’s own cache', async () => {
    const { elsewhere } = await start()
    const cache = await emptyStore()
    await spoil(cache, second)

    expect(await elsewhere(cache).verify('/a', false)).toMatchObject({
      copies: 5,
      intact: 4,
      corrupt: 1,
      confirmed: 1,
      underReplicated: 0
    })
  })

  test('does not take a provider that drains for a place of a copy', async () => {
    const { verifier, live } = await start()
    live.delete('provider-2')

    expect(await verifier.verify('/a', false)).toMatchObject({
      checked: 2,
      missing: 0,
      underReplicated: 2
    })
  })

  test('does not miss a copy that has moved meanwhile', async () => {
    const { verifier, other, third, opened } = await start()
    const provider = opened.get('provider-2')
    const check = provider?.check.bind(provider)
    if (provider === undefined || check === undefined) throw new Error('no provider')
    provider.check = async (ids) => {
      await move(second, other, third)
      return await check(ids)
    }

    const result = await verifier.verify('/a', false)
    await writeDown(chunkId(second), ['provider-1', 'provider-2'])

    expect(result).toMatchObject({ checked: 2, ...CLEAN })
  })

  test('stops when it is aborted', async () => {
    const { verifier } = await start()
    const signal = AbortSignal.abort(new Error('the client went away'))

    await expect(verifier.verify('/a', false, { signal })).rejects.toThrow('the client went away')
  })
})

describe('repair', () => {
  test('gives a chunk back to the provider that has lost it', async () => {
    const { verifier, other, third } = await start()
    await other.delete(chunkId(second))

    expect(await verifier.verify('/a', true)).toMatchObject({ missing: 1, repaired: 1 })

    expect(await verifier.verify('/a', false)).toMatchObject({ checked: 2, ...CLEAN })
    expect(third.chunkCount).toBe(0)
  })

  test('gives a chunk back to this agent', async () => {
    const { verifier, store } = await start()
    await spoil(store, first)

    expect(await verifier.verify('/a', true)).toMatchObject({ corrupt: 1, repaired: 1 })

    expect(await verifier.verify('/a', false)).toMatchObject({ checked: 2, ...CLEAN })
  })

  test('copies to another provider what one that is gone should have', async () => {
    const { verifier, opened, live, third } = await start()
    silence(opened, 'provider-2')
    live.delete('provider-2')

    expect(await verifier.verify('/a', true)).toMatchObject({ missing: 2, repaired: 2 })

    expect([third.has(chunkId(first)), third.has(chunkId(second))]).toEqual([true, true])
  })

  test('fetches anew what this agent keeps for itself', async () => {
    const { elsewhere } = await start()
    const cache = await emptyStore()
    await spoil(cache, second)

    expect(await elsewhere(cache).verify('/a', true)).toMatchObject({ corrupt: 1, repaired: 1 })

    expect(await cache.get(chunkId(second))).toEqual(second)
  })

  test('adds copies where there are too few, which is no damage', async () => {
    const { verifier, live, third } = await start()
    live.delete('provider-2')

    const result = await verifier.verify('/a', true)

    expect(result).toMatchObject({ missing: 0, corrupt: 0, underReplicated: 2, repaired: 0 })
    expect(third.chunkCount).toBe(2)
  })

  test('gives providers what only this agent has left', async () => {
    const { elsewhere, kept, store, other } = await start()
    await kept.put(chunkId(second), second)
    await store.delete(chunkId(second))
    await other.delete(chunkId(second))

    expect(await elsewhere(kept).verify('/a', true)).toMatchObject({ missing: 1, repaired: 1 })

    expect([store.has(chunkId(second)), other.has(chunkId(second))]).toEqual([true, true])
  })

  test('does not claim to have mended what is nowhere', async () => {
    const { verifier, store, other } = await start()
    await store.delete(chunkId(second))
    await other.delete(chunkId(second))

    expect(await verifier.verify('/a', true)).toMatchObject({ missing: 1, repaired: 0 })
  })
})
