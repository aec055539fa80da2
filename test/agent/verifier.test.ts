import { afterEach, describe, expect, test } from '@jest/globals'
import { ImageVerifier } from '../../src/agent/verifier.ts'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import type { ChunkStore, ProviderDirectory } from '../../src/chunks/types.ts'
import { PeerUnreachableError } from '../../src/peer/errors.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536
const first = sampleBytes(CHUNK, 1)
const second = sampleBytes(100, 2)
const image = Buffer.concat([first, first, new Uint8Array(CHUNK), second])

let bench: TestRepository
afterEach(async () => bench.stop())

/** An image on two providers, seen from the first of them. */
async function start() {
  bench = await startTestRepository({ chunkBytes: CHUNK, providerCount: 2, replicas: 2 })
  const { repository, pool: reader, stores } = bench
  const opened = new Map(
    [...stores].map(([id, of]) => [
      id,
      new LocalProvider(id, { store: of, freeBytes: async () => 1e9 })
    ])
  )
  const directory: ProviderDirectory = { open: (id) => opened.get(id) }
  const [store, other] = [...stores.values()]
  if (store === undefined || other === undefined) throw new Error('wanted two providers')
  const writer = await repository.openWrite('/a', { mode: 'replace' })
  await writer.write(0, image)
  await writer.publish()
  const verifier = (at: ChunkStore = store): ImageVerifier =>
    new ImageVerifier({ repository, store: at, reader, directory })
  return { verifier, store, other, opened }
}

/** Makes a store lose a chunk, until it is put again. */
function lose(store: ChunkStore, bytes: Uint8Array): void {
  const [has, get, put] = [store.has.bind(store), store.get.bind(store), store.put.bind(store)]
  const lost = Buffer.from(chunkId(bytes))
  const state = { isLost: true }
  const isIt = (id: Uint8Array): boolean => state.isLost && lost.equals(id)
  store.has = (id) => !isIt(id) && has(id)
  store.get = async (id, options) => (isIt(id) ? undefined : get(id, options))
  store.put = async (id, given, options) => {
    if (lost.equals(id)) state.isLost = false
    return put(id, given, options)
  }
}

const CLEAN = { missing: 0, corrupt: 0, repaired: 0 }

describe('verifying', () => {
  test('counts different chunks that are whole here and where they should be', async () => {
    const { verifier } = await start()

    const result = await verifier().verify('/a', false)

    expect(result).toEqual({
      ref: '/a',
      chunks: 4,
      zeroChunks: 1,
      checked: 2,
      confirmed: 0,
      ...CLEAN
    })
  })

  test('asks the providers for what this agent does not keep', async () => {
    const { verifier } = await start()

    const result = await verifier(new MemoryStore()).verify('/a', false)

    expect(result).toMatchObject({ checked: 0, confirmed: 2, ...CLEAN })
  })

  test('tells how far it is', async () => {
    const { verifier } = await start()
    const seen: unknown[] = []

    await verifier().verify('/a', false, { onProgress: (progress) => seen.push(progress) })

    const totalBytes = image.byteLength
    expect(seen).toEqual([{ phase: 'verify', doneBytes: totalBytes, totalBytes }])
  })

  test('finds a chunk that one of its providers has lost', async () => {
    const { verifier, other } = await start()
    lose(other, second)

    expect(await verifier().verify('/a', false)).toMatchObject({
      checked: 1,
      missing: 1,
      repaired: 0
    })
  })

  test('counts what a provider that cannot be reached should have as missing', async () => {
    const { verifier, opened } = await start()
    const provider = opened.get('provider-2')
    if (provider === undefined) throw new Error('no provider')
    provider.has = async () => {
      throw new PeerUnreachableError('provider-2', 'gone')
    }

    expect(await verifier().verify('/a', true)).toMatchObject({ missing: 2 })
  })

  test('finds a chunk whose bytes are wrong here', async () => {
    const { verifier, store } = await start()
    const get = store.get.bind(store)
    store.get = async (id, options) => (await get(id, options))?.toReversed()

    expect(await verifier().verify('/a', false)).toMatchObject({ checked: 0, corrupt: 2 })
  })

  test('stops when it is aborted', async () => {
    const { verifier } = await start()
    const signal = AbortSignal.abort(new Error('the client went away'))

    await expect(verifier().verify('/a', false, { signal })).rejects.toThrow('the client went away')
  })
})

describe('repair', () => {
  test('copies a chunk back to the provider that has lost it', async () => {
    const { verifier, other } = await start()
    lose(other, second)

    expect(await verifier().verify('/a', true)).toMatchObject({ missing: 1, repaired: 1 })

    expect(await verifier().verify('/a', false)).toMatchObject({ checked: 2, ...CLEAN })
  })

  test('copies a chunk back to this agent', async () => {
    const { verifier, store } = await start()
    lose(store, second)

    expect(await verifier().verify('/a', true)).toMatchObject({ missing: 1, repaired: 1 })

    expect(await verifier().verify('/a', false)).toMatchObject({ checked: 2, ...CLEAN })
  })

  test('does not claim to have mended what is nowhere', async () => {
    const { verifier, store, other } = await start()
    lose(store, second)
    lose(other, second)

    expect(await verifier().verify('/a', true)).toMatchObject({ missing: 1, repaired: 0 })
  })
})
