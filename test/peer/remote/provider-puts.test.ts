import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import type { ServedProvider } from '../../../src/chunks/maintenance-types.ts'
import { MemoryStore } from '../../../src/chunks/memory-store.ts'
import { ReadOnlyProvider } from '../../../src/chunks/read-only-provider.ts'
import { abortable } from '../../../src/lib/abortable.ts'
import { KIB, MIB } from '../../../src/lib/bytes.ts'
import { type Clock, systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { MemoryMetrics } from '../../../src/lib/metrics.ts'
import { nextTurn } from '../../../src/lib/turn.ts'
import { PeerTimeoutError } from '../../../src/peer/errors.ts'
import {
  decodeStoreRequest,
  encodeStoreRequest,
  STORE_PROTOCOL,
  type StoreRequest
} from '../../../src/peer/protocols/store.ts'
import { decodeStoreAnswer, encodeStoreAnswer } from '../../../src/peer/protocols/store-answers.ts'
import { type ServeStoreOptions, serveStore } from '../../../src/peer/protocols/store-serve.ts'
import { RemoteProvider, type RemoteProviderOptions } from '../../../src/peer/remote/provider.ts'
import type { Channel } from '../../../src/peer/types.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'
import { gullible } from '../../support/plain-signing.ts'
import { TestProvider } from '../../support/provider-pool.ts'
import { sampleBytes } from '../../support/sample-bytes.ts'

const remotes: RemoteProvider[] = []

afterEach(async () => {
  await Promise.all(remotes.splice(0).map(async (remote) => remote.close()))
})

function sample(length: number, seed: number): { id: Uint8Array; bytes: Uint8Array } {
  const bytes = sampleBytes(length, seed)
  return { id: chunkId(bytes), bytes }
}

function remoteOf(node: MemoryNode, options: RemoteProviderOptions = {}): RemoteProvider {
  const remote = new RemoteProvider({ node, clock: systemClock, peerId: 'provider' }, options)
  remotes.push(remote)
  return remote
}

async function providerOf(quotaBytes?: number): Promise<TestProvider> {
  const provider = new TestProvider('provider', quotaBytes)
  await provider.store.start()
  return provider
}

async function serve(
  provider: ServedProvider,
  options: ServeStoreOptions & { readonly clock?: Clock } = {}
) {
  const { clock = systemClock, ...limits } = options
  const network = new MemoryNetwork()
  const metrics = new MemoryMetrics()
  const server = network.node('provider')
  const components = { provider, verifier: gullible, clock, logger: noLogger, metrics }
  await serveStore(server, components, limits)
  return { network, server, metrics, client: network.node('client') }
}

/** A server that does with each message what a test says. */
async function scripted(onMessage: (message: StoreRequest, channel: Channel) => Promise<void>) {
  const network = new MemoryNetwork()
  await network.node('provider').serve(STORE_PROTOCOL, async (channel) => {
    for await (const message of channel.messages()) {
      await onMessage(decodeStoreRequest(message), channel)
    }
  })
  return network.node('client')
}

const FULL = { code: 'ERR_STORE_FULL' }

describe('a put that cannot succeed', () => {
  test('is refused before its bytes are there', async () => {
    const provider = await providerOf(MIB)
    const { client, metrics } = await serve(provider)
    const remote = remoteOf(client)
    const [large, small] = [sample(8 * MIB, 1), sample(300 * KIB, 2)]

    await expect(remote.put(large.id, large.bytes)).rejects.toMatchObject(FULL)
    await remote.put(small.id, small.bytes)

    expect(provider.calls.put).toBe(1)
    expect(client.opened).toHaveLength(1)
    expect(metrics.values.get('blobswarm_peer_store_refused_puts_total{code=ERR_STORE_FULL}')).toBe(
      1
    )
  })

  test('is not sent to its end', async () => {
    const { id, bytes } = sample(16 * MIB, 1)
    let received = 0
    const client = await scripted(async ({ kind, request }, channel) => {
      if (kind === 'put') {
        const failure = { kind: 'failure', request, code: FULL.code, message: 'full' } as const
        await channel.send(encodeStoreAnswer(failure))
      } else if (kind === 'part') received++
    })

    const remote = remoteOf(client)
    await expect(remote.put(id, bytes)).rejects.toMatchObject(FULL)
    await expect(remote.put(id, bytes)).rejects.toMatchObject(FULL)

    expect(received).toBeLessThan(60)
  })

  test('counts what other puts are about to take', async () => {
    const provider = await providerOf(MIB)
    const gate = Promise.withResolvers<void>()
    provider.onCall = async (call) => {
      if (call === 'put') await gate.promise
    }
    const { client } = await serve(provider)
    const remote = remoteOf(client)
    const chunks = [1, 2, 3].map((seed) => sample(400 * KIB, seed))

    const puts = Promise.allSettled(chunks.map(async ({ id, bytes }) => remote.put(id, bytes)))
    while (provider.calls.put < 2) await nextTurn()
    gate.resolve()
    const outcomes = await puts

    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected'])
    expect(outcomes[2]).toMatchObject({ reason: FULL })
  })

  test('gives its room back when it fails later', async () => {
    const provider = await providerOf(MIB)
    const { client } = await serve(provider)
    const remote = remoteOf(client)
    const [wrong, right] = [sample(700 * KIB, 1), sample(700 * KIB, 2)]

    const mismatch = { code: 'ERR_CHUNK_MISMATCH' }
    for (let time = 0; time < 3; time++) {
      await expect(remote.put(wrong.id, right.bytes)).rejects.toMatchObject(mismatch)
    }
    await remote.put(right.id, right.bytes)

    expect(await remote.has([right.id])).toEqual([true])
  })

  test('of a chunk that is there already needs no room', async () => {
    const provider = await providerOf(MIB)
    const { client } = await serve(provider)
    const remote = remoteOf(client)
    const { id, bytes } = sample(700 * KIB, 1)

    await remote.put(id, bytes)
    await remote.put(id, bytes)

    expect(provider.store.storedBytes).toBe(bytes.byteLength)
  })
})

describe('a put that its caller gives up', () => {
  test('ends amid its parts, and the stream goes on', async () => {
    const provider = await providerOf()
    const { client } = await serve(provider)
    const channel = await client.open('provider', STORE_PROTOCOL)
    const { id, bytes } = sample(1000, 1)
    const send = async (message: StoreRequest): Promise<void> =>
      channel.send(encodeStoreRequest(message))

    await send({ kind: 'put', request: 1, id, length: 1000, part: bytes.subarray(0, 10) })
    await send({ kind: 'cancel', request: 1 })
    await send({ kind: 'put', request: 2, id, length: 1000, part: bytes })
    const answer = await Array.fromAsync(firstOf(channel))
    await channel.close()

    expect(answer).toMatchObject([{ kind: 'stored', request: 2 }])
  })

  test('is not sent to its end', async () => {
    const { id, bytes } = sample(16 * MIB, 1)
    const kinds: string[] = []
    const begun = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    const client = await scripted(async ({ kind, request }, channel) => {
      kinds.push(kind)
      if (kind === 'put') {
        begun.resolve()
        await goOn.promise
      } else if (kind === 'has') {
        await channel.send(encodeStoreAnswer({ kind: 'held', request, held: [false] }))
      }
    })
    const controller = new AbortController()

    const put = remoteOf(client).put(id, bytes, { signal: controller.signal })
    await begun.promise
    controller.abort(new Error('changed my mind'))
    await expect(put).rejects.toThrow('changed my mind')
    goOn.resolve()
    while (!kinds.includes('cancel')) await nextTurn()

    expect(kinds.length).toBeLessThan(60)
    expect(kinds.at(-1)).toBe('cancel')
  })
})

/** @yields the first answer that comes. */
async function* firstOf(channel: Channel) {
  for await (const message of channel.messages()) {
    yield decodeStoreAnswer(message)
    return
  }
}

describe('a provider that stalls', () => {
  test('is noticed amid the parts of a put, and all puts to it fail at once', async () => {
    const chunks = [1, 2, 3].map((seed) => sample(MIB, seed))
    let received = 0
    const client = await scripted(async () => {
      if (++received === 3) await new Promise(() => {})
    })
    const remote = remoteOf(client, { putTimeoutMs: 40 })

    const outcomes = await Promise.allSettled(
      chunks.map(async ({ id, bytes }) => remote.put(id, bytes))
    )

    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected' })
      expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(PeerTimeoutError)
    }
    expect(remote.isIdle).toBe(true)
  })

  test('is not the one that answers other puts meanwhile, for some time', async () => {
    const slow = sample(1000, 1)
    let slowRequest = 0
    const client = await scripted(async (message, channel) => {
      if (message.kind !== 'put') return
      if (Buffer.compare(message.id, slow.id) === 0) slowRequest = message.request
      else await channel.send(encodeStoreAnswer({ kind: 'stored', request: message.request }))
      if (Buffer.compare(message.id, last.id) === 0) {
        await channel.send(encodeStoreAnswer({ kind: 'stored', request: slowRequest }))
      }
    })
    const others = Array.from({ length: 12 }, (_, seed) => sample(1000, seed + 2))
    const last = others.at(-1) ?? slow
    const remote = remoteOf(client, { putTimeoutMs: 60, timeoutMs: 5000 })

    const waiting = remote.put(slow.id, slow.bytes)
    for (const { id, bytes } of others) {
      await remote.put(id, bytes)
      await systemClock.sleep(10)
    }

    await expect(waiting).resolves.toBeUndefined()
  })

  test('is not the one whose disk is slow and that says so', async () => {
    const provider = await providerOf()
    provider.onCall = async (call) => {
      if (call === 'put') await systemClock.sleep(120)
    }
    const { client } = await serve(provider, { workingMs: 10 })
    const { id, bytes } = sample(1000, 1)

    await remoteOf(client, { putTimeoutMs: 60, timeoutMs: 5000 }).put(id, bytes)

    expect(provider.store.has(id)).toBe(true)
  })

  test('says so for ever is noticed all the same', async () => {
    const provider = await providerOf()
    provider.onCall = async (call, { signal }) => {
      if (call === 'put') await abortable(new Promise(() => {}), signal)
    }
    const { client } = await serve(provider, { workingMs: 10 })
    const { id, bytes } = sample(1000, 1)
    const remote = remoteOf(client, { putTimeoutMs: 40, timeoutMs: 100 })

    await expect(remote.put(id, bytes)).rejects.toBeInstanceOf(PeerTimeoutError)
  })

  test('forgets one put for ever is noticed all the same', async () => {
    const lost = sample(1000, 1)
    const client = await scripted(async (message, channel) => {
      if (message.kind !== 'put' || Buffer.compare(message.id, lost.id) === 0) return
      await channel.send(encodeStoreAnswer({ kind: 'stored', request: message.request }))
    })
    const remote = remoteOf(client, { putTimeoutMs: 40, timeoutMs: 80 })
    const state = { isOver: false }

    const forgotten = remote.put(lost.id, lost.bytes).finally(() => {
      state.isOver = true
    })
    const outcome = expect(forgotten).rejects.toBeInstanceOf(PeerTimeoutError)
    for (let seed = 2; !state.isOver; seed++) {
      const { id, bytes } = sample(1000, seed)
      await remote.put(id, bytes)
      await systemClock.sleep(5)
    }
    await outcome

    expect(remote.isIdle).toBe(true)
  })
})

async function advance(clock: ManualClock, seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second++) {
    for (let turn = 0; turn < 20; turn++) await nextTurn()
    clock.advance(1000)
  }
  for (let turn = 0; turn < 20; turn++) await nextTurn()
}

describe('a rate', () => {
  const chunks = Array.from({ length: 6 }, (_, seed) => sample(100 * KIB, seed))

  test('limits what is received, and the writer is told that it goes on', async () => {
    const provider = await providerOf()
    const clock = new ManualClock()
    const { client } = await serve(provider, { clock, receiveBytesPerSecond: 100 * KIB })
    const channel = await client.open('provider', STORE_PROTOCOL)
    const answers: string[] = []
    const reading = (async () => {
      for await (const message of channel.messages()) answers.push(decodeStoreAnswer(message).kind)
    })()

    for (const [request, { id, bytes }] of chunks.entries()) {
      const put = { kind: 'put', request, id, length: bytes.byteLength, part: bytes } as const
      await channel.send(encodeStoreRequest(put))
    }
    await advance(clock, 2)
    const early = provider.store.chunkCount
    await advance(clock, 8)
    await channel.close()
    await reading

    expect([early <= 3, provider.store.chunkCount]).toEqual([true, 6])
    expect(answers.filter((kind) => kind === 'stored')).toHaveLength(6)
    expect(answers).not.toContain('failure')
  })

  test('of puts that wait long is bridged by signs of life', async () => {
    const provider = await providerOf()
    const clock = new ManualClock()
    const limits = { receiveBytesPerSecond: 10 * KIB, workingMs: 3000 }
    const { client } = await serve(provider, { clock, ...limits })
    const channel = await client.open('provider', STORE_PROTOCOL)
    const answers: string[] = []
    const reading = (async () => {
      for await (const message of channel.messages()) answers.push(decodeStoreAnswer(message).kind)
    })()

    for (const [request, { id, bytes }] of chunks.slice(0, 2).entries()) {
      const put = { kind: 'put', request, id, length: bytes.byteLength, part: bytes } as const
      await channel.send(encodeStoreRequest(put))
    }
    await advance(clock, 20)
    await channel.close()
    await reading

    expect(answers).toEqual(['stored', 'working', 'working', 'working', 'stored'])
  })

  test('limits what is sent, before it is read', async () => {
    const provider = await providerOf()
    for (const { id, bytes } of chunks) await provider.store.put(id, bytes)
    const clock = new ManualClock()
    const { client, metrics } = await serve(provider, { clock, sendBytesPerSecond: 100 * KIB })
    const remote = remoteOf(client)

    const gets = Promise.all(chunks.map(async ({ id }) => remote.get(id)))
    await advance(clock, 2)
    const early = provider.calls.get
    await advance(clock, 8)
    const got = await gets

    expect(early).toBeLessThanOrEqual(3)
    expect(got.map((bytes) => bytes && chunkId(bytes))).toEqual(chunks.map(({ id }) => id))
    expect(metrics.values.get('blobswarm_peer_store_bytes_total{direction=sent}')).toBe(600 * KIB)
  })

  test('keeps nobody from asking what is there', async () => {
    const provider = await providerOf()
    for (const { id, bytes } of chunks) await provider.store.put(id, bytes)
    const { network, client, server } = await serve(provider, {
      clock: new ManualClock(),
      sendBytesPerSecond: 1
    })
    const controller = new AbortController()
    const { signal } = controller
    const greedy = remoteOf(client)
    const gets = chunks.map(async ({ id }) => greedy.get(id, { signal }))

    const held = await remoteOf(network.node('other')).has(chunks.map(({ id }) => id))
    controller.abort(new Error('enough'))
    server.cut()

    expect(held).toEqual(chunks.map(() => true))
    expect((await Promise.allSettled(gets)).map(({ status }) => status)).toContain('rejected')
  })
})

/** An agent that keeps a chunk for itself. */
async function cache() {
  const store = new MemoryStore()
  await store.start()
  const { id, bytes } = sample(600 * KIB, 1)
  await store.put(id, bytes)
  const { client } = await serve(new ReadOnlyProvider('provider', store))
  return { store, id, bytes, remote: remoteOf(client) }
}

describe('an agent that is no provider', () => {
  test('says what it has, and gives it', async () => {
    const { remote, id, bytes } = await cache()
    const other = sample(10, 2).id

    expect(await remote.has([id, other])).toEqual([true, false])
    expect(await remote.holds([other, id])).toEqual([false, true])
    expect(Buffer.compare((await remote.get(id)) ?? new Uint8Array(), bytes)).toBe(0)
    expect(await remote.get(other)).toBeUndefined()
  })

  test('takes nothing and deletes nothing', async () => {
    const { remote, id, store } = await cache()
    const { id: other, bytes } = sample(3 * MIB, 2)

    const code = { code: 'ERR_STORE_READ_ONLY' }
    await expect(remote.put(other, bytes)).rejects.toMatchObject(code)
    await expect(remote.copy([other], [])).rejects.toMatchObject(code)
    await expect(remote.check([id])).rejects.toMatchObject(code)
    await expect(remote.beginCollection()).rejects.toMatchObject(code)
    await expect(remote.unleased('any', undefined)).rejects.toMatchObject(code)
    expect(store.chunkCount).toBe(1)
  })
})

test('what went both ways is counted', async () => {
  const provider = await providerOf()
  const { client, metrics } = await serve(provider)
  const remote = remoteOf(client)
  const { id, bytes } = sample(1000, 1)

  await remote.put(id, bytes)
  await remote.get(id)
  await remote.get(id)

  const counted = ['chunks', 'bytes'].flatMap((what) =>
    ['received', 'sent'].map((direction) =>
      metrics.values.get(`blobswarm_peer_store_${what}_total{direction=${direction}}`)
    )
  )
  expect(counted).toEqual([1, 2, 1000, 2000])
})
