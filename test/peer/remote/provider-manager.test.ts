import { afterEach, describe, expect, test } from '@jest/globals'
import {
  LocalProviderManager,
  type LocalProviderManagerOptions
} from '../../../src/chunks/provider-manager.ts'
import type { ProviderReport } from '../../../src/chunks/provider-manager-types.ts'
import { GIB } from '../../../src/lib/bytes.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { PeerTimeoutError } from '../../../src/peer/errors.ts'
import { MAX_PLACE_COUNT, PROVIDERS_PROTOCOL } from '../../../src/peer/protocols/providers.ts'
import { serveProviders } from '../../../src/peer/protocols/providers-serve.ts'
import { memberWithRole } from '../../../src/peer/remote/find-role.ts'
import type { PersistentCallerOptions } from '../../../src/peer/remote/persistent-caller.ts'
import { RemoteProviderManager } from '../../../src/peer/remote/provider-manager.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'

const remotes: RemoteProviderManager[] = []

afterEach(async () => {
  await Promise.all(remotes.splice(0).map((remote) => remote.stop()))
})

function report(id: string): ProviderReport {
  const space = { freeBytes: GIB, storedBytes: 10, chunkCount: 1 }
  const health = { load: 0, latencyMs: 3, lostCount: 0 }
  return { id, zone: 'rack 1', ...space, ...health, isDraining: false, version: '1.2.3' }
}

function remoteOf(node: MemoryNode, options: PersistentCallerOptions = {}): RemoteProviderManager {
  const remote = new RemoteProviderManager(
    { node, clock: systemClock, find: () => 'manager' },
    { retryForMs: 0, ...options }
  )
  remotes.push(remote)
  return remote
}

function newManager(options: LocalProviderManagerOptions = {}): LocalProviderManager {
  return new LocalProviderManager({ clock: systemClock, random: seededRandom(1) }, options)
}

async function setUp(providers = newManager()) {
  const network = new MemoryNetwork()
  const server = network.node('manager')
  const serve = (): Promise<void> =>
    serveProviders(server, { providers, clock: systemClock, logger: noLogger })
  await serve()
  return { network, providers, server }
}

describe('the remote provider manager', () => {
  test('registers providers, lists them and places chunks on them', async () => {
    const { network } = await setUp()
    const names = Array.from({ length: 5 }, (_, at) => `provider-${at}`)
    for (const id of names) await remoteOf(network.node(id)).report(report(id))
    const writer = remoteOf(network.node('writer'))

    const states = await writer.list()
    const placed = await writer.place({ count: 40, chunkBytes: 1000, replicas: 3 })

    expect(states.map(({ id }) => id)).toEqual(names)
    expect(states[0]).toMatchObject({ ...report('provider-0'), condition: 'live' })
    expect(placed).toHaveLength(40)
    expect(placed.every((ids) => new Set(ids).size === 3)).toBe(true)
  })

  test('tells a writer where the providers that it was given can be dialled', async () => {
    const { network } = await setUp()
    await remoteOf(network.node('provider')).report(report('provider'))
    const node = network.node('writer')

    await remoteOf(node).place({ count: 1, chunkBytes: 1000, replicas: 1 })

    expect(node.learned.get('provider')).toEqual(['/memory/provider'])
  })

  test('takes a report only from the provider itself', async () => {
    const { network } = await setUp()
    const other = remoteOf(network.node('other'))
    const hypervisor = remoteOf(network.node('hypervisor', { roles: new Set(['deploy']) }))

    await expect(other.report(report('provider'))).rejects.toMatchObject({
      code: 'ERR_NOT_PERMITTED'
    })
    await expect(hypervisor.report(report('hypervisor'))).rejects.toMatchObject({
      code: 'ERR_NOT_PERMITTED'
    })
    expect(await other.list()).toEqual([])
  })

  test('places nothing for a member that may only read', async () => {
    const { network } = await setUp()
    const reader = remoteOf(network.node('reader', { rights: new Set(['read']) }))

    await expect(reader.place({ count: 1, chunkBytes: 1000, replicas: 1 })).rejects.toMatchObject({
      code: 'ERR_NOT_PERMITTED'
    })
  })

  test('does not place on a provider that a writer reported as failed', async () => {
    const { network } = await setUp()
    for (const id of ['good', 'bad']) await remoteOf(network.node(id)).report(report(id))
    const writer = remoteOf(network.node('writer'))

    await writer.reportFailure('bad')
    const placed = await writer.place({ count: 5, chunkBytes: 1000, replicas: 2 })

    expect(placed).toEqual(Array.from({ length: 5 }, () => ['good']))
  })

  test('places beside those who have the chunks, and within a stripe', async () => {
    const { network } = await setUp(newManager({ stripeWidth: 3 }))
    const names = Array.from({ length: 20 }, (_, at) => `provider-${at}`)
    for (const id of names) await remoteOf(network.node(id)).report(report(id))
    const writer = remoteOf(network.node('writer'))
    const wanted = { count: 200, chunkBytes: 1000, replicas: 1, stripe: 'image' }

    const striped = new Set((await writer.place(wanted)).flat())
    const [holder = ''] = striped
    const beside = new Set((await writer.place({ ...wanted, beside: [holder] })).flat())

    expect(striped.size).toBe(3)
    expect([...beside].toSorted()).toEqual([...striped].filter((id) => id !== holder).toSorted())
  })

  test('does not place on a provider that a writer reported as full', async () => {
    const { network } = await setUp()
    await remoteOf(network.node('full')).report(report('full'))
    const writer = remoteOf(network.node('writer'))

    await writer.reportFailure('full', { reason: 'full' })

    await expect(writer.place({ count: 1, chunkBytes: 1000, replicas: 1 })).rejects.toMatchObject({
      code: 'ERR_STORE_FULL'
    })
    expect(await writer.list()).toMatchObject([{ id: 'full', condition: 'live' }])
  })

  test('drains a provider for a member that may, and tells the provider', async () => {
    const { network } = await setUp()
    const provider = remoteOf(network.node('provider'))
    await provider.report(report('provider'))
    const rights = new Set(['read', 'write'] as const)
    const writer = remoteOf(network.node('writer', { rights }))
    const operator = remoteOf(network.node('operator'))

    await expect(writer.setDraining('provider', true)).rejects.toMatchObject({
      code: 'ERR_NOT_PERMITTED'
    })
    await expect(operator.setDraining('nobody', true)).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_PROVIDER'
    })
    const drained = await operator.setDraining('provider', true)
    const answer = await provider.report(report('provider'))

    expect(drained).toEqual({
      ...report('provider'),
      isDraining: true,
      condition: 'live',
      seenMs: expect.any(Number)
    })
    expect(answer).toEqual({ isDraining: true })
  })

  test('takes as many places as there can be in one message', async () => {
    const { network, providers } = await setUp(newManager({ zones: 'ignore' }))
    const names = Array.from({ length: 4000 }, (_, at) => `12D3KooW${String(at).padStart(44, 'x')}`)
    for (const id of names) await providers.report(report(id))
    const node = network.node('writer')
    const wanted = { count: MAX_PLACE_COUNT, chunkBytes: 1000, replicas: 4 }

    const placed = await remoteOf(node).place(wanted)

    expect(placed).toHaveLength(MAX_PLACE_COUNT)
    expect(new Set(placed.flat()).size).toBeGreaterThan(2000)
  })

  test('passes on why nothing could be placed', async () => {
    const { network } = await setUp()

    await expect(
      remoteOf(network.node('writer')).place({ count: 1, chunkBytes: 1000, replicas: 1 })
    ).rejects.toMatchObject({ code: 'ERR_NO_PROVIDER' })
  })

  test('lists and places more than fit into one message', async () => {
    const { network, providers } = await setUp()
    const names = Array.from({ length: 510 }, (_, at) => `p${String(at).padStart(4, '0')}`)
    for (const id of names) await providers.report(report(id))
    const writer = remoteOf(network.node('writer'))

    expect((await writer.list()).map(({ id }) => id)).toEqual(names)
    const many = { count: MAX_PLACE_COUNT + 1, chunkBytes: 1000, replicas: 1 }
    expect(await writer.place(many)).toHaveLength(MAX_PLACE_COUNT + 1)
  })

  test('is tried again while it restarts', async () => {
    const { network, providers } = await setUp()
    network.remove('manager')
    const provider = remoteOf(network.node('provider'), { retryForMs: 5000, retryPauseMs: 5 })

    const reporting = provider.report(report('provider'))
    const back = network.node('manager')
    await serveProviders(back, { providers, clock: systemClock, logger: noLogger })
    await reporting

    expect(await providers.list()).toMatchObject([{ id: 'provider' }])
  })

  test('that answers nothing ends every call in time', async () => {
    const network = new MemoryNetwork()
    await network.node('manager').serve(PROVIDERS_PROTOCOL, async ({ ended }) => {
      await new Promise((resolve) => ended.addEventListener('abort', resolve))
    })
    const remote = remoteOf(network.node('provider'), { timeoutMs: 20 })

    await expect(remote.report(report('provider'))).rejects.toBeInstanceOf(PeerTimeoutError)
    await expect(remote.list()).rejects.toBeInstanceOf(PeerTimeoutError)
  })
})

describe('a member with a role', () => {
  test('is found, and remembered while it is not connected', () => {
    const network = new MemoryNetwork()
    const node = network.node('client', { roles: new Set(['deploy']) })
    const find = memberWithRole(node, 'providerManager')

    const before = find()
    network.node('manager', { roles: new Set(['providerManager']) })
    const found = find()
    network.remove('manager')

    expect([before, found, find()]).toEqual([undefined, 'manager', 'manager'])
  })
})
