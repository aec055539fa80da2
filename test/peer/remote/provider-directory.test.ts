import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { LocalProvider } from '../../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../../src/chunks/memory-store.ts'
import { LocalProviderManager } from '../../../src/chunks/provider-manager.ts'
import { GIB } from '../../../src/lib/bytes.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { STORE_PROTOCOL } from '../../../src/peer/protocols/store.ts'
import { serveStore } from '../../../src/peer/protocols/store-serve.ts'
import {
  NetworkProviderDirectory,
  type NetworkProviderDirectoryOptions
} from '../../../src/peer/remote/provider-directory.ts'
import {
  RemoteProviders,
  type RemoteProvidersOptions
} from '../../../src/peer/remote/remote-providers.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'
import { gullible, plainSigner } from '../../support/plain-signing.ts'
import { sampleBytes } from '../../support/sample-bytes.ts'

const started: { stop(): Promise<void> }[] = []

afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.stop()))
})

const bytes = sampleBytes(1000)
const id = chunkId(bytes)

async function newProvider(name: string): Promise<LocalProvider> {
  const store = new MemoryStore()
  await store.start()
  return new LocalProvider(name, { store, freeBytes: async () => GIB })
}

async function setUp() {
  const network = new MemoryNetwork()
  const providers = new LocalProviderManager({ clock: systemClock, random: seededRandom(1) })
  const addProvider = async (name: string): Promise<LocalProvider> => {
    const provider = await newProvider(name)
    await providers.report(await provider.report('zone'))
    // Not a member with the role to the directory: only the list names it.
    const node = network.node(name, { roles: new Set(['deploy']) })
    await serveStore(node, { provider, verifier: gullible, clock: systemClock, logger: noLogger })
    return provider
  }
  const open = (
    node: MemoryNode,
    local?: LocalProvider,
    options: NetworkProviderDirectoryOptions & RemoteProvidersOptions = {}
  ): NetworkProviderDirectory => {
    const signer = plainSigner(node.peerId)
    const remotes = new RemoteProviders({ node, clock: systemClock, signer }, options)
    const components = { node, clock: systemClock, providers, local, remotes }
    const directory = new NetworkProviderDirectory(components, options)
    started.push(directory, remotes)
    return directory
  }
  return { network, providers, addProvider, open }
}

describe('the provider directory', () => {
  test('opens the local store without the network', async () => {
    const { network, open } = await setUp()
    const local = await newProvider('me')
    const node = network.node('me')

    const provider = open(node, local).open('me')
    await provider?.put(id, bytes)

    expect(provider).toBe(local)
    expect(node.opened).toEqual([])
  })

  test('opens providers of the list over the network, each once', async () => {
    const { network, addProvider, open } = await setUp()
    await addProvider('a')
    const directory = open(network.node('client'))
    await directory.refresh()

    await directory.open('a')?.put(id, bytes)

    expect(await directory.open('a')?.get(id)).toEqual(new Uint8Array(bytes))
    expect(directory.open('a')).toBe(directory.open('a'))
  })

  test('signs orders to delete', async () => {
    const { network, addProvider, open } = await setUp()
    const provider = await addProvider('a')
    await provider.put(id, bytes)
    const directory = open(network.node('client'))
    const remote = directory.open('a')
    const collection = (await remote?.beginCollection()) ?? ''

    const collected = await remote?.collect(collection, [id])

    expect(collected).toEqual({ count: 0, bytes: 0 }) // taken, and the chunk has a lease
    expect(await provider.has([id])).toEqual([true])
  })

  test('does not know a name that is neither on the list nor a member, until it is', async () => {
    const { network, providers, addProvider, open } = await setUp()
    await addProvider('a')
    const directory = open(network.node('client'), undefined, { refreshMs: 0 })
    await directory.refresh()
    const before = directory.open('b')
    await directory.refresh()
    const member = directory.open('c')
    network.node('c', { roles: new Set(['provider']) })
    await addProvider('b')
    await directory.refresh()

    expect([before, member]).toEqual([undefined, undefined])
    expect(directory.open('b')?.id).toBe('b')
    expect(directory.open('c')?.id).toBe('c')
    expect(await providers.list()).toHaveLength(2)
  })

  test('remembers whom a provider manager that has restarted has not heard of yet', async () => {
    const { network, providers, addProvider, open } = await setUp()
    await addProvider('a')
    const directory = open(network.node('client'), undefined, { refreshMs: 0 })
    await directory.refresh()
    providers.list = async () => []

    await directory.refresh()

    expect(directory.open('a')?.id).toBe('a')
  })

  test('gives any name a try as long as the list could not be read', async () => {
    const { network, providers, open } = await setUp()
    providers.list = async () => {
      throw new Error('not there')
    }
    const directory = open(network.node('client'))
    await directory.refresh()

    await expect(directory.open('somebody')?.has([id])).rejects.toMatchObject({
      code: 'ERR_PEER_UNREACHABLE'
    })
  })

  test('keeps streams open to a bounded number of providers', async () => {
    const { network, addProvider, open } = await setUp()
    const names = ['a', 'b', 'c', 'd']
    for (const name of names) await addProvider(name)
    const node = network.node('client')
    const directory = open(node, undefined, { maxOpen: 2 })

    for (const name of [...names, ...names]) await directory.open(name)?.has([id])

    const opened = names.map((name) => `${name} ${STORE_PROTOCOL.id}`)
    expect(node.opened).toEqual([...opened, ...opened])
  })

  test('opens nothing after it was stopped', async () => {
    const { network, addProvider, open } = await setUp()
    await addProvider('a')
    const directory = open(network.node('client'))
    const provider = directory.open('a')
    await provider?.has([id])

    await Promise.all(started.map((one) => one.stop()))

    expect(directory.open('a')).toBeUndefined()
    await expect(provider?.has([id])).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
  })
})
