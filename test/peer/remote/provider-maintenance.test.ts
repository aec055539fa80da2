import { afterEach, describe, expect, test } from '@jest/globals'
import { ChunkCopier } from '../../../src/chunks/chunk-copier.ts'
import { LeaseTable } from '../../../src/chunks/lease-table.ts'
import type { ChunkSource } from '../../../src/chunks/maintenance-types.ts'
import { abortable } from '../../../src/lib/abortable.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import type { Signer } from '../../../src/metadata/signature-types.ts'
import { PeerTimeoutError } from '../../../src/peer/errors.ts'
import { decodeStoreRequest, STORE_PROTOCOL } from '../../../src/peer/protocols/store.ts'
import { encodeStoreAnswer, type StoreAnswer } from '../../../src/peer/protocols/store-answers.ts'
import { type ServeStoreOptions, serveStore } from '../../../src/peer/protocols/store-serve.ts'
import { NetworkChunkSources } from '../../../src/peer/remote/chunk-sources.ts'
import { RemoteProvider, type RemoteProviderOptions } from '../../../src/peer/remote/provider.ts'
import { RemoteProviders } from '../../../src/peer/remote/remote-providers.ts'
import { SURPLUS_ORDER_MS } from '../../../src/peer/surplus-order.ts'
import type { Member } from '../../../src/peer/types.ts'
import { sampleChunk } from '../../contract/chunk-store.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { TestProvider } from '../../support/provider-pool.ts'
import { testSigner, trusting } from '../../support/signing.ts'

const closings: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of closings.splice(0)) await close()
})

const manager = testSigner(1)
const chunks = [1, 2, 3, 4].map((seed) => sampleChunk(seed))
const ids = chunks.map(({ id }) => id)

interface Caller extends Partial<Member> {
  readonly signer?: Signer
  readonly options?: RemoteProviderOptions
}

/** A provider `provider` with four chunks that nobody has a lease on; it copies from other nodes. */
async function setUp(options: ServeStoreOptions = {}) {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const leases = new LeaseTable({ clock }, { leaseMs: 1000 })
  const node = network.node('provider')
  const remotes = new RemoteProviders({ node, clock: systemClock })
  closings.push(() => remotes.stop())
  const self = { id: 'provider', get: async () => undefined, holds: async () => [false] }
  const sources = new NetworkChunkSources({ node, remotes, local: self })
  const copier = new ChunkCopier({ sources, clock: systemClock })
  const provider = new TestProvider('provider', undefined, leases, copier)
  await provider.store.start()
  for (const { id, bytes } of chunks) await provider.store.put(id, bytes)
  clock.advance(1000)
  const components = { provider, verifier: trusting(manager), logger: noLogger }
  await serveStore(node, { ...components, clock: systemClock }, options)
  const remoteAs = ({ signer, options: timing, ...about }: Caller = {}): RemoteProvider => {
    const caller = network.node('caller', about)
    const parts = { node: caller, clock: systemClock, peerId: 'provider', signer }
    const remote = new RemoteProvider(parts, timing)
    closings.push(() => remote.close())
    return remote
  }
  return { network, node, provider, sources, remoteAs }
}

const roles = (...names: ('providerManager' | 'versionManager' | 'provider' | 'deploy')[]) => ({
  roles: new Set(names)
})
const READER = { ...roles('deploy'), rights: new Set(['read'] as const) }

describe('who may', () => {
  test('read may count and check copies, but not have any made', async () => {
    const { remoteAs } = await setUp()
    const remote = remoteAs(READER)

    expect(await remote.holds(ids)).toEqual([true, true, true, true])
    expect(await remote.check(ids.slice(0, 1))).toEqual(['intact'])
    await expect(remote.copy(ids, [])).rejects.toMatchObject({ code: 'ERR_NOT_PERMITTED' })
  })

  test.each([
    ['write', { ...roles('deploy'), rights: new Set(['read', 'write'] as const) }],
    ['manage providers', { ...READER, ...roles('providerManager') }],
    ['manage versions', { ...READER, ...roles('versionManager') }]
  ])('%s may have copies made', async (_, about) => {
    const { remoteAs } = await setUp()

    expect(await remoteAs(about).copy(ids, [])).toEqual([true, true, true, true])
  })

  test('manage versions may not trim, whatever they hold in hands', async () => {
    const { remoteAs, provider } = await setUp()
    const remote = remoteAs({ signer: manager, ...roles('versionManager', 'provider') })

    await expect(remote.trim(ids)).rejects.toMatchObject({ code: 'ERR_NOT_PERMITTED' })
    expect(provider.calls.trim).toBe(0)
  })

  test.each([
    ['of somebody who is no provider manager', testSigner(2)],
    [
      'for another provider',
      {
        ...manager,
        sign: (purpose, payload) =>
          manager.sign(
            purpose,
            Buffer.from(
              Buffer.from(payload).toString('latin1').replace('provider', 'Provider'),
              'latin1'
            )
          )
      } satisfies Signer
    ],
    [
      'signed for something else',
      {
        ...manager,
        sign: (_purpose, payload) => manager.sign('retirement', payload)
      } satisfies Signer
    ]
  ])('order a trim %s is refused', async (_, signer) => {
    const { remoteAs, provider } = await setUp()
    const remote = remoteAs({ signer, ...roles('providerManager') })

    await expect(remote.trim(ids)).rejects.toMatchObject({ code: 'ERR_UNTRUSTED_SIGNATURE' })
    expect(provider.store.chunkCount).toBe(4)
  })

  test('has an order of another time cannot use it', async () => {
    const { network, provider } = await setUp()
    const clock = { ...systemClock, now: () => systemClock.now() - SURPLUS_ORDER_MS - 60_000 }
    const parts = { node: network.node('late'), clock, peerId: 'provider', signer: manager }
    const remote = new RemoteProvider(parts)
    closings.push(() => remote.close())

    await expect(remote.trim(ids)).rejects.toMatchObject({ code: 'ERR_UNTRUSTED_SIGNATURE' })
    expect(provider.store.chunkCount).toBe(4)
  })

  test('has no signer orders nothing', async () => {
    const { remoteAs } = await setUp()

    await expect(remoteAs().trim(ids)).rejects.toThrow(TypeError)
  })
})

describe('copying over the network', () => {
  test('goes from one agent to the other, whose addresses the caller knows', async () => {
    const { network, node, provider, remoteAs } = await setUp()
    const [here, there] = [sampleChunk(1), sampleChunk(9)]
    const twin = new TestProvider('twin')
    await twin.store.start()
    await twin.store.put(there.id, there.bytes)
    await serveStore(network.node('twin'), {
      provider: twin,
      verifier: trusting(),
      clock: systemClock,
      logger: noLogger
    })

    const source: ChunkSource = { id: 'twin', addresses: ['/memory/twin'] }
    const held = await remoteAs().copy([here.id, there.id], [source])

    expect(held).toEqual([true, true])
    expect(node.learned.get('twin')).toEqual(['/memory/twin'])
    expect([twin.calls.get, provider.store.has(there.id)]).toEqual([1, true])
  })

  test('names no more sources and addresses than a message may have', async () => {
    const { remoteAs, provider } = await setUp()
    const named: (readonly ChunkSource[])[] = []
    const copy = provider.copy.bind(provider)
    provider.copy = async (some, sources, options) => {
      named.push(sources)
      return await copy(some, sources, options)
    }
    const addresses = Array.from({ length: 20 }, (_, at) => `/memory/${at}`)
    const sources = Array.from({ length: 20 }, (_, at) => ({ id: `p${at}`, addresses }))

    await remoteAs().copy(ids, sources)

    expect(named[0]).toEqual(
      sources.slice(0, 16).map(({ id }) => ({ id, addresses: addresses.slice(0, 16) }))
    )
  })

  test('opens this agent itself without the network', async () => {
    const { node, sources } = await setUp()

    const self = sources.open({ id: 'provider', addresses: [] })

    expect(await self.holds(ids)).toEqual([false])
    expect(node.opened).toEqual([])
  })

  test('opens nothing before it asks, and nothing at all after the end', async () => {
    const { node, sources } = await setUp()
    const source = sources.open({ id: 'somebody', addresses: ['/memory/somebody'] })
    const before = [...node.opened]
    for (const close of closings.splice(0)) await close()

    await expect(source.get(ids[0] ?? new Uint8Array())).rejects.toMatchObject({
      code: 'ERR_NOT_RUNNING'
    })

    expect([before, node.opened]).toEqual([[], []])
  })

  test('asks an agent that is no provider what it holds', async () => {
    const { network, sources } = await setUp()
    const cache = new TestProvider('cache')
    await cache.store.start()
    await cache.store.put(chunks[0]?.id ?? new Uint8Array(), chunks[0]?.bytes ?? new Uint8Array())
    const parts = { verifier: trusting(), clock: systemClock, logger: noLogger }
    await serveStore(network.node('cache', READER), { provider: cache, ...parts })

    const held = await sources.open({ id: 'cache', addresses: [] }).holds(ids)

    expect(held).toEqual([true, false, false, false])
  })
})

describe('work that takes long', () => {
  test('is waited for as long as it gets on', async () => {
    const { provider, remoteAs } = await setUp({ workingMs: 5 })
    const told: number[] = []
    const goOn = Promise.withResolvers<void>()
    provider.check = async (some, options) => {
      options?.onProgress?.(3)
      await goOn.promise
      return some.map(() => 'intact')
    }
    const remote = remoteAs({ options: { timeoutMs: 60 } })

    const startedMs = systemClock.monotonic()
    const checking = remote.check(ids, {
      onProgress: (count) => {
        told.push(count)
        systemClock.schedule(() => goOn.resolve(), 150)
      }
    })

    expect(await checking).toEqual(ids.map(() => 'intact'))
    expect(systemClock.monotonic() - startedMs).toBeGreaterThan(100)
    expect(told).toEqual([3])
  })

  test('is given up when it does not get on for too long', async () => {
    const { provider, remoteAs } = await setUp({ workingMs: 5 })
    provider.copy = async (_ids, _sources, options) => {
      await abortable(new Promise(() => {}), options?.signal)
      return []
    }
    const remote = remoteAs({ options: { timeoutMs: 20, workTimeoutMs: 60 } })

    await expect(remote.copy(ids, [])).rejects.toBeInstanceOf(PeerTimeoutError)

    expect(remote.isIdle).toBe(true)
  })

  test('is given up when nothing is heard', async () => {
    const { network, remoteAs } = await setUp()
    await network.node('provider').serve(STORE_PROTOCOL, async ({ ended }) => {
      await new Promise((resolve) => ended.addEventListener('abort', resolve))
    })
    const remote = remoteAs({ options: { timeoutMs: 20 }, signer: manager })

    for (const working of [remote.copy(ids, []), remote.check(ids), remote.trim(ids)]) {
      await expect(working).rejects.toBeInstanceOf(PeerTimeoutError)
    }
    expect(remote.isIdle).toBe(true)
  })

  test('stands in nobody else’s way', async () => {
    const { provider, remoteAs } = await setUp()
    const gate = Promise.withResolvers<void>()
    provider.copy = async (some) => {
      await gate.promise
      return some.map(() => true)
    }
    const remote = remoteAs()

    const copying = Array.from({ length: 10 }, () => remote.copy(ids, []))
    const held = await remote.holds(ids)
    await remote.put(ids[0] ?? new Uint8Array(), chunks[0]?.bytes ?? new Uint8Array())
    gate.resolve()

    expect(held).toEqual([true, true, true, true])
    expect(await Promise.all(copying)).toHaveLength(10)
  })

  test.each<[string, (request: number) => StoreAnswer]>([
    ['a count that does not fit', (request) => ({ kind: 'held', request, held: [true] })],
    ['another kind of answer', (request) => ({ kind: 'stored', request })]
  ])('answered by %s is a violation', async (_, answer) => {
    const network = new MemoryNetwork()
    await network.node('provider').serve(STORE_PROTOCOL, async (channel) => {
      for await (const message of channel.messages()) {
        await channel.send(encodeStoreAnswer(answer(decodeStoreRequest(message).request)))
      }
    })
    const parts = { node: network.node('caller'), clock: systemClock, peerId: 'provider' }
    const remote = new RemoteProvider(parts)
    closings.push(() => remote.close())

    const code = { code: 'ERR_PROTOCOL_VIOLATION' }
    await expect(remote.copy(ids, [])).rejects.toMatchObject(code)
    await expect(remote.check(ids)).rejects.toMatchObject(code)
  })
})
