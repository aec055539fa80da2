import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId, ZERO_CHUNK_ID } from '../../../src/chunks/chunk-id.ts'
import { StoreFullError } from '../../../src/chunks/errors.ts'
import type { AbortOptions } from '../../../src/lib/abort-options.ts'
import { KIB, MIB } from '../../../src/lib/bytes.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import {
  PeerChunkMismatchError,
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolViolationError
} from '../../../src/peer/errors.ts'
import {
  decodeStoreRequest,
  encodeStoreRequest,
  STORE_PROTOCOL
} from '../../../src/peer/protocols/store.ts'
import { encodeStoreAnswer } from '../../../src/peer/protocols/store-answers.ts'
import { type ServeStoreOptions, serveStore } from '../../../src/peer/protocols/store-serve.ts'
import { RemoteProvider, type RemoteProviderOptions } from '../../../src/peer/remote/provider.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'
import { gullible } from '../../support/plain-signing.ts'
import { TestProvider } from '../../support/provider-pool.ts'
import { sampleBytes } from '../../support/sample-bytes.ts'

const remotes: RemoteProvider[] = []

afterEach(async () => {
  await Promise.all(remotes.splice(0).map((remote) => remote.close()))
})

function sample(length: number, seed: number): { id: Uint8Array; bytes: Uint8Array } {
  const bytes = sampleBytes(length, seed)
  return { id: chunkId(bytes), bytes }
}

class StoreBackedProvider extends TestProvider {
  gate: Promise<void> | undefined
  putsRunning = 0
  peakBytes = 0

  constructor(quotaBytes?: number) {
    super('provider', quotaBytes)
  }

  override async put(id: Uint8Array, bytes: Uint8Array, options?: AbortOptions): Promise<void> {
    this.putsRunning += bytes.byteLength
    this.peakBytes = Math.max(this.peakBytes, this.putsRunning)
    await this.gate
    this.putsRunning -= bytes.byteLength
    await super.put(id, bytes, options)
  }
}

function remoteOf(node: MemoryNode, options: RemoteProviderOptions = {}): RemoteProvider {
  const remote = new RemoteProvider({ node, clock: systemClock, peerId: 'provider' }, options)
  remotes.push(remote)
  return remote
}

async function setUp(provider = new StoreBackedProvider(), options: ServeStoreOptions = {}) {
  const network = new MemoryNetwork()
  const server = network.node('provider')
  await provider.store.start()
  const components = { provider, verifier: gullible, clock: systemClock, logger: noLogger }
  await serveStore(server, components, options)
  return { network, server, client: network.node('client') }
}

describe('a remote provider', () => {
  test.each([
    ['1 byte', 1],
    ['one part', 256 * KIB],
    ['one part and a byte', 256 * KIB + 1],
    ['5 MiB', 5 * MIB],
    ['16 MiB', 16 * MIB]
  ])('stores a chunk of %s and gives it back', async (_, length) => {
    const { client } = await setUp()
    const remote = remoteOf(client)
    const { id, bytes } = sample(length, 1)

    await remote.put(id, bytes)
    const back = await remote.get(id)

    expect(Buffer.compare(back ?? new Uint8Array(), bytes)).toBe(0)
  })

  test('says what it has, and always has zeros', async () => {
    const { client } = await setUp()
    const remote = remoteOf(client)
    const there = sample(1000, 1)
    await remote.put(there.id, there.bytes)

    const missing = Array.from({ length: 1500 }, (_, seed) => sample(64, seed + 2).id)
    const held = await remote.has([there.id, ...missing, ZERO_CHUNK_ID])

    expect(held.filter(Boolean)).toHaveLength(2)
    expect([held[0], held.at(-1)]).toEqual([true, true])
    expect(await remote.get(sample(10, 9).id)).toBeUndefined()
  })

  test('keeps many requests in flight over two streams', async () => {
    const { client } = await setUp()
    const remote = remoteOf(client)
    const chunks = Array.from({ length: 60 }, (_, seed) => sample(100 * KIB, seed))

    await Promise.all(chunks.map(({ id, bytes }) => remote.put(id, bytes)))
    const back = await Promise.all(chunks.map(({ id }) => remote.get(id)))

    expect(
      back.every(
        (bytes, at) => Buffer.compare(bytes as Uint8Array, chunks[at]?.bytes as Uint8Array) === 0
      )
    ).toBe(true)
    expect(client.opened).toHaveLength(2)
  })

  test('has no more bytes of puts outstanding than it may', async () => {
    const provider = new StoreBackedProvider()
    const gate = Promise.withResolvers<void>()
    provider.gate = gate.promise
    const { client } = await setUp(provider)
    const remote = remoteOf(client, { inFlightBytes: MIB })
    const chunks = Array.from({ length: 20 }, (_, seed) => sample(256 * KIB, seed))

    const puts = chunks.map(({ id, bytes }) => remote.put(id, bytes))
    await remote.has([sample(1, 1).id])
    gate.resolve()
    await Promise.all(puts)

    expect(provider.store.chunkCount).toBe(20)
    expect(provider.peakBytes).toBeLessThanOrEqual(MIB)
  })

  test('fails with the code of the provider', async () => {
    const full = new StoreBackedProvider()
    full.put = async () => {
      throw new StoreFullError('/data', 10)
    }
    const { client } = await setUp(full)

    const { id, bytes } = sample(10, 1)
    await expect(remoteOf(client).put(id, bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
  })

  test('refuses to store bytes that are not the chunk', async () => {
    const provider = new StoreBackedProvider()
    const { client } = await setUp(provider)

    await expect(remoteOf(client).put(sample(10, 1).id, sample(10, 2).bytes)).rejects.toMatchObject(
      { code: 'ERR_CHUNK_MISMATCH' }
    )
    expect(provider.store.chunkCount).toBe(0)
  })

  test('that gives other bytes is named as the culprit', async () => {
    const lying = new StoreBackedProvider()
    lying.get = async () => sample(10, 2).bytes
    const { client } = await setUp(lying)

    const failure = await remoteOf(client)
      .get(sample(10, 1).id)
      .catch((error: unknown) => error)

    expect(failure).toBeInstanceOf(PeerChunkMismatchError)
    expect(failure).toMatchObject({ code: 'ERR_CHUNK_MISMATCH', peer: 'provider' })
  })

  test('takes puts only from members that may write', async () => {
    const { network } = await setUp()
    const remote = remoteOf(network.node('reader', { rights: new Set(['read']) }))

    const { id, bytes } = sample(600 * KIB, 1)
    await expect(remote.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_NOT_PERMITTED' })
    expect(await remote.has([id])).toEqual([false])
  })

  test('that answers nothing fails every request in time', async () => {
    const network = new MemoryNetwork()
    await network.node('provider').serve(STORE_PROTOCOL, async ({ ended }) => {
      await new Promise((resolve) => ended.addEventListener('abort', resolve))
    })
    const remote = remoteOf(network.node('client'), { timeoutMs: 30 })
    const { id, bytes } = sample(3 * MIB, 1)

    const outcomes = await Promise.allSettled([
      remote.put(id, bytes),
      remote.get(id),
      remote.has([id])
    ])

    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected' })
      expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(PeerTimeoutError)
    }
    expect(remote.isIdle).toBe(true)
  })

  test('that goes away rejects what is in flight and is used again when back', async () => {
    const provider = new StoreBackedProvider()
    provider.gate = new Promise(() => {})
    const { client, server } = await setUp(provider)
    const remote = remoteOf(client)
    const { id, bytes } = sample(1000, 1)
    const has = await remote.has([id])

    const lost = remote.put(id, bytes)
    while (provider.putsRunning === 0) await remote.has([id])
    server.cut()

    await expect(lost).rejects.toBeInstanceOf(PeerUnreachableError)
    provider.gate = undefined
    await remote.put(id, bytes)
    expect([has, await remote.has([id])]).toEqual([[false], [true]])
  })

  test('gives up a put when its caller does', async () => {
    const provider = new StoreBackedProvider()
    provider.gate = new Promise(() => {})
    const { client } = await setUp(provider)
    const remote = remoteOf(client, { inFlightBytes: 1000 })
    const controller = new AbortController()
    const { id, bytes } = sample(1000, 1)

    const put = remote.put(id, bytes, { signal: controller.signal })
    while (provider.putsRunning === 0) await remote.has([id])
    controller.abort(new Error('changed my mind'))

    await expect(put).rejects.toThrow('changed my mind')
    expect(remote.isIdle).toBe(true)
  })
})

const SOME_ID = new Uint8Array(32).fill(1)

describe('a store server', () => {
  test.each([
    ['a part of nothing', [{ kind: 'part', request: 1, part: new Uint8Array(4) }]],
    [
      'something amid the parts of a put',
      [
        {
          kind: 'put',
          request: 1,
          id: SOME_ID,
          length: 100,
          part: new Uint8Array(4)
        },
        { kind: 'get', request: 2, id: SOME_ID }
      ]
    ],
    [
      'more parts than the chunk has',
      [
        { kind: 'put', request: 1, id: SOME_ID, length: 100, part: new Uint8Array(60) },
        { kind: 'part', request: 1, part: new Uint8Array(60) }
      ]
    ]
  ] as const)('ends a stream that sends %s', async (_, messages) => {
    const provider = new StoreBackedProvider()
    const { client, server } = await setUp(provider)
    const channel = await client.open('provider', STORE_PROTOCOL)

    for (const message of messages) await channel.send(encodeStoreRequest(message))
    await server.idle()

    expect(channel.ended.reason).toBeInstanceOf(ProtocolViolationError)
  })

  test('ends a stream whose peer stops amid the parts of a put', async () => {
    const { client, server } = await setUp(new StoreBackedProvider(), { partTimeoutMs: 20 })
    const channel = await client.open('provider', STORE_PROTOCOL)

    const part = new Uint8Array(4)
    await channel.send(
      encodeStoreRequest({ kind: 'put', request: 1, id: SOME_ID, length: 100, part })
    )
    await server.idle()

    expect(channel.ended.reason).toBeInstanceOf(PeerTimeoutError)
  })

  test('ends a stream whose peer does not read its answers', async () => {
    const provider = new StoreBackedProvider()
    const { client, server } = await setUp(provider, { partTimeoutMs: 20 })
    const { id, bytes } = sample(4 * MIB, 1)
    await provider.store.put(id, bytes)
    const channel = await client.open('provider', STORE_PROTOCOL)

    await channel.send(encodeStoreRequest({ kind: 'get', request: 1, id }))
    await server.idle()

    expect(channel.ended.reason).toBeInstanceOf(PeerTimeoutError)
  })
})

describe('a client of a server that breaks the rules', () => {
  test.each([
    ['bytes that are no message', () => [Uint8Array.of(99)]],
    [
      'an answer to another question',
      (request: number) => encodeStoreAnswer({ kind: 'stored', request })
    ],
    [
      'more of a chunk that did not begin',
      (request: number) => encodeStoreAnswer({ kind: 'more', request, part: new Uint8Array(3) })
    ]
  ])('that sends %s blames it', async (_, answer) => {
    const network = new MemoryNetwork()
    await network.node('provider').serve(STORE_PROTOCOL, async (channel) => {
      for await (const message of channel.messages()) {
        await channel.send(answer(decodeStoreRequest(message).request))
      }
    })

    await expect(remoteOf(network.node('client')).get(sample(10, 1).id)).rejects.toBeInstanceOf(
      ProtocolViolationError
    )
  })
})
