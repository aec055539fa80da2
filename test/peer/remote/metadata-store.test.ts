import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { signLocation } from '../../../src/metadata/location.ts'
import { MemoryMetadataStore } from '../../../src/metadata/memory-node-store.ts'
import type { KeptMetadata, NamedRecord, Page } from '../../../src/metadata/store-types.ts'
import {
  NotEnoughOwnersError,
  PeerTimeoutError,
  PeerUnreachableError
} from '../../../src/peer/errors.ts'
import { OwnerMap } from '../../../src/peer/owners.ts'
import { TREE_PROTOCOL } from '../../../src/peer/protocols/tree.ts'
import { serveTree } from '../../../src/peer/protocols/tree-serve.ts'
import {
  DistributedMetadataStore,
  type DistributedMetadataStoreOptions
} from '../../../src/peer/remote/metadata-store.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'
import { sampleBytes } from '../../support/sample-bytes.ts'
import { testSigner, trusting } from '../../support/signing.ts'
import { sampleWrite } from '../../support/tree-samples.ts'

const signer = testSigner()
const verifier = trusting(signer)

const stores: DistributedMetadataStore[] = []

afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.stop()))
})

function page(seed: number, length = 2000): Page {
  const bytes = sampleBytes(length, seed)
  return { id: chunkId(bytes), bytes }
}

function location(seed: number, sequence: number): NamedRecord {
  return signLocation(signer, { page: page(seed).id, sequence, replicas: [['provider']] })
}

class MetadataCluster {
  readonly network = new MemoryNetwork()
  readonly nodes: MemoryNode[] = []
  readonly kept: MemoryMetadataStore[] = []
  list: string[] = []

  static async of(count: number): Promise<MetadataCluster> {
    const cluster = new MetadataCluster()
    for (let at = 0; at < count; at++) await cluster.add()
    return cluster
  }

  async add(): Promise<void> {
    const node = this.network.node(`metadata-${this.nodes.length}`)
    const store = new MemoryMetadataStore({ verifier })
    await serveTree(node, { store, verifier, clock: systemClock, logger: noLogger })
    this.nodes.push(node)
    this.kept.push(store)
    this.list = [...this.list, node.peerId]
  }

  /** Loses a provider: it does not answer any more, but stays on the list. */
  lose(index: number): void {
    this.network.remove(`metadata-${index}`)
  }

  client(
    name = 'client',
    options: DistributedMetadataStoreOptions = {},
    local?: KeptMetadata
  ): DistributedMetadataStore {
    const node = this.nodes.find(({ peerId }) => peerId === name) ?? this.network.node(name)
    const store = new DistributedMetadataStore(
      { node, clock: systemClock, providers: () => this.list, local, verifier },
      { readTimeoutMs: 100, writeTimeoutMs: 100, ...options }
    )
    stores.push(store)
    return store
  }

  /** How many of the providers have a page. */
  async copies(id: Uint8Array): Promise<number> {
    const found = await Promise.all(this.kept.map((store) => store.getPages([id])))
    return found.flat().filter((bytes) => bytes !== undefined).length
  }

  async sequences(name: string): Promise<(number | undefined)[]> {
    const found = await Promise.all(this.kept.map((store) => store.getRecords([name])))
    return found.flat().map((record) => record?.sequence)
  }
}

describe('the distributed metadata store', () => {
  test.each([1, 2, 3, 5])('gives back what was put, with %i providers', async (count) => {
    const cluster = await MetadataCluster.of(count)
    const { nodes, proof } = await sampleWrite(40)
    const pages = [page(1), page(2), page(3)]
    const writer = cluster.client('writer')

    await writer.putNodes(nodes, proof)
    await writer.putPages(pages)
    await writer.putRecords([location(1, 1)])
    const reader = cluster.client('reader')
    const back = await reader.getNodes(nodes.map(({ key }) => key))

    expect(back).toEqual(nodes.map(({ node }) => node))
    expect(await reader.getPages(pages.map(({ id }) => id))).toEqual(
      pages.map(({ bytes }) => Buffer.from(bytes)).map((bytes) => new Uint8Array(bytes))
    )
    expect(await reader.getRecords([location(1, 1).name])).toEqual([location(1, 1)])
    await writer.idle()
    expect(await cluster.copies(pages[0]?.id as Uint8Array)).toBe(Math.min(3, count))
  })

  test('says undefined for what is nowhere, and does not remember that', async () => {
    const cluster = await MetadataCluster.of(4)
    const { nodes, proof } = await sampleWrite(4)
    const [first, second] = [cluster.client('first'), cluster.client('second')]
    const keys = nodes.map(({ key }) => key)

    expect(await first.getNodes(keys)).toEqual(keys.map(() => undefined))
    expect(await first.getPages([page(1).id])).toEqual([undefined])
    expect(await first.getRecords(['location/00'])).toEqual([undefined])
    await second.putNodes(nodes, proof)

    expect(await first.getNodes(keys)).toEqual(nodes.map(({ node }) => node))
  })

  test('asks each owner once for many keys', async () => {
    const cluster = await MetadataCluster.of(3)
    const { nodes, proof } = await sampleWrite(150)
    await cluster.client('writer').putNodes(nodes, proof)
    const calls: number[] = []
    for (const kept of cluster.kept) {
      const get = kept.getProvenNodes.bind(kept)
      kept.getProvenNodes = async (keys) => {
        calls.push(keys.length)
        return get(keys)
      }
    }

    await cluster.client('reader').getNodes(nodes.slice(0, 280).map(({ key }) => key))

    expect(calls.length).toBeLessThanOrEqual(3 + Math.ceil(280 / 64)) // the server reads 64 at a time
    expect(calls.reduce((sum, count) => sum + count, 0)).toBe(280)
  })

  test('remembers nodes and pages', async () => {
    const cluster = await MetadataCluster.of(3)
    const { nodes, proof } = await sampleWrite(4)
    const store = cluster.client()
    await store.putNodes(nodes, proof)
    await store.putPages([page(1)])
    await store.idle()

    for (const index of cluster.kept.keys()) cluster.lose(index)

    expect(await store.getNodes(nodes.map(({ key }) => key))).toHaveLength(nodes.length)
    expect(await store.getPages([page(1).id])).toEqual([page(1).bytes])
  })

  test('works with one of three owners lost, and tops it up when it is back', async () => {
    const cluster = await MetadataCluster.of(3)
    cluster.lose(2)
    const store = cluster.client('writer')
    const { nodes, proof } = await sampleWrite(10)

    await store.putNodes(nodes, proof)
    await store.putPages([page(1)])
    const reader = cluster.client('reader')

    expect(await reader.getNodes(nodes.map(({ key }) => key))).toEqual(
      nodes.map(({ node }) => node)
    )
    expect(await cluster.copies(page(1).id)).toBe(2)
    const back = cluster.network.node('metadata-2')
    await serveTree(back, {
      store: cluster.kept[2] as MemoryMetadataStore,
      verifier,
      clock: systemClock,
      logger: noLogger
    })
    await store.idle()
    expect(await cluster.copies(page(1).id)).toBe(3)
  })

  test('refuses a put when two of three owners are lost', async () => {
    const cluster = await MetadataCluster.of(3)
    cluster.lose(1)
    cluster.lose(2)

    await expect(cluster.client().putPages([page(1)])).rejects.toBeInstanceOf(NotEnoughOwnersError)
  })

  test('reads what a single owner has, but does not take silence for an answer', async () => {
    const cluster = await MetadataCluster.of(3)
    const writer = cluster.client('writer')
    await writer.putPages([page(1)])
    await writer.putRecords([location(1, 4)])
    await writer.idle()
    cluster.lose(0)
    cluster.lose(1)
    const reader = cluster.client('reader')

    expect(await reader.getPages([page(1).id])).toEqual([page(1).bytes])
    expect(await reader.getRecords([location(1, 4).name])).toMatchObject([{ sequence: 4 }])
    await expect(reader.getPages([page(2).id])).rejects.toBeInstanceOf(PeerUnreachableError)
    await expect(reader.getRecords([location(2, 1).name])).rejects.toBeInstanceOf(
      PeerUnreachableError
    )
  })

  test('brings a page to the owners that lack it when it is read', async () => {
    const cluster = await MetadataCluster.of(3)
    const pages = Array.from({ length: 8 }, (_, seed) => page(seed))
    const owners = new OwnerMap(cluster.list)
    for (const { id, bytes } of pages) {
      const last = cluster.list.indexOf(owners.owners(id)[2] as string)
      await cluster.kept[last]?.putPages([{ id, bytes }])
    }
    const reader = cluster.client('reader')

    await reader.getPages(pages.map(({ id }) => id))
    await reader.idle()

    const copies = await Promise.all(pages.map(({ id }) => cluster.copies(id)))
    expect(copies).toEqual(pages.map(() => 3))
  })

  test('does not repair when it is told not to', async () => {
    const cluster = await MetadataCluster.of(3)
    await cluster.kept[1]?.putPages([page(1)])
    const reader = cluster.client('reader', { repairs: false })

    await reader.getPages([page(1).id])
    await reader.idle()

    expect(await cluster.copies(page(1).id)).toBe(1)
  })

  test('takes the newest record that a majority knows and brings the others up to it', async () => {
    const cluster = await MetadataCluster.of(3)
    const { name } = location(1, 1)
    for (const kept of cluster.kept) await kept.putRecords([location(1, 1)])
    for (const kept of cluster.kept.slice(0, 2)) await kept.putRecords([location(1, 2)])
    const reader = cluster.client('reader')

    expect(await reader.getRecords([name])).toMatchObject([{ sequence: 2 }])
    await reader.idle()
    await cluster.client('other').getRecords([name])

    expect(
      (await cluster.sequences(name)).filter((sequence) => sequence === 2).length
    ).toBeGreaterThanOrEqual(2)
  })

  test('does not believe a record that nobody signed', async () => {
    const cluster = await MetadataCluster.of(3)
    const forged = { ...location(1, 9), envelope: location(2, 9).envelope }
    for (const kept of cluster.kept) await kept.putRecords([location(1, 1)])
    const liar = cluster.kept[0] as MemoryMetadataStore
    liar.getRecords = async (names) => names.map(() => forged)

    expect(await cluster.client().getRecords([forged.name])).toMatchObject([{ sequence: 1 }])
  })

  test('does not believe a page that is another one', async () => {
    const cluster = await MetadataCluster.of(3)
    for (const kept of cluster.kept) await kept.putPages([page(1)])
    for (const liar of cluster.kept.slice(0, 2)) {
      liar.getPages = async (ids) => ids.map(() => page(2).bytes)
    }

    expect(await cluster.client().getPages([page(1).id])).toEqual([page(1).bytes])
  })

  test('passes on that a node is refused because it is another one', async () => {
    const cluster = await MetadataCluster.of(3)
    const [one, other] = [await sampleWrite(4), await sampleWrite(4, { seed: 2 })]
    await cluster.client('one').putNodes(one.nodes, one.proof)

    await expect(cluster.client('other').putNodes(other.nodes, other.proof)).rejects.toMatchObject({
      code: 'ERR_NODE_CONFLICT'
    })
  })

  test('refuses to put a page under a wrong id', async () => {
    const cluster = await MetadataCluster.of(1)

    await expect(
      cluster.client().putPages([{ id: page(1).id, bytes: page(2).bytes }])
    ).rejects.toMatchObject({ code: 'ERR_CHUNK_MISMATCH' })
  })

  test('uses the local store of an owner without the network', async () => {
    const cluster = await MetadataCluster.of(1)
    const store = cluster.client('metadata-0', {}, cluster.kept[0])

    await store.putPages([page(1)])

    expect(await store.getPages([page(1).id])).toEqual([page(1).bytes])
    expect(cluster.nodes[0]?.opened).toEqual([])
  })

  test('gives every provider to the collector, its own without the network', async () => {
    const cluster = await MetadataCluster.of(3)
    const store = cluster.client('metadata-1', {}, cluster.kept[1])

    const owners = store.owners()

    expect(owners.map(({ id }) => id)).toEqual(['metadata-0', 'metadata-1', 'metadata-2'])
    expect(owners[1]?.store).toBe(cluster.kept[1])
    expect(await owners[1]?.store.beginCollection()).toMatch(/^[0-9a-f]+$/)
    expect(cluster.nodes[1]?.opened).toEqual([])
  })

  test('cuts large puts and gets into messages that fit', async () => {
    const cluster = await MetadataCluster.of(2)
    const pages = Array.from({ length: 9 }, (_, seed) => page(seed, 500_000))
    const { nodes, proof } = await sampleWrite(600)
    const store = cluster.client('writer', { writeTimeoutMs: 5000 })

    await store.putPages(pages)
    await store.putNodes(nodes, proof)
    const reader = cluster.client('reader', { cacheBytes: 0, readTimeoutMs: 5000 })

    const back = await reader.getPages(pages.map(({ id }) => id))
    expect(
      back.every(
        (bytes, at) => Buffer.compare(bytes as Uint8Array, pages[at]?.bytes as Uint8Array) === 0
      )
    ).toBe(true)
    expect(await reader.getNodes(nodes.map(({ key }) => key))).toEqual(
      nodes.map(({ node }) => node)
    )
  })

  test('ends in time when no owner answers anything', async () => {
    const network = new MemoryNetwork()
    for (const name of ['a', 'b', 'c']) {
      await network.node(name).serve(TREE_PROTOCOL, async ({ ended }) => {
        await new Promise((resolve) => ended.addEventListener('abort', resolve))
      })
    }
    const store = new DistributedMetadataStore(
      {
        node: network.node('client'),
        clock: systemClock,
        providers: () => ['a', 'b', 'c'],
        verifier
      },
      { readTimeoutMs: 20, writeTimeoutMs: 20 }
    )
    stores.push(store)

    await expect(store.getPages([page(1).id])).rejects.toBeInstanceOf(PeerTimeoutError)
    await expect(store.getRecords(['location/00'])).rejects.toBeInstanceOf(PeerTimeoutError)
    await expect(store.putPages([page(1)])).rejects.toMatchObject({
      code: 'ERR_NOT_ENOUGH_OWNERS',
      cause: expect.any(PeerTimeoutError)
    })
  })

  test('asks an owner that failed last', async () => {
    const cluster = await MetadataCluster.of(3)
    await cluster.client('writer').putPages([page(1), page(2), page(3)])
    cluster.lose(0)
    const reader = cluster.client('reader', { cacheBytes: 0 })
    for (const seed of [1, 2, 3]) await reader.getPages([page(seed).id])
    const node = cluster.network.find('reader') as MemoryNode
    const openedBefore = node.opened.length

    for (const seed of [1, 2, 3]) await reader.getPages([page(seed).id])

    expect(node.opened.length).toBe(openedBefore)
  })

  test('fails clearly while the metadata list is empty', async () => {
    const cluster = await MetadataCluster.of(0)

    await expect(cluster.client().getPages([page(1).id])).rejects.toThrow('metadata list is empty')
  })

  test('gives up when its caller does', async () => {
    const cluster = await MetadataCluster.of(3)
    const signal = AbortSignal.abort(new Error('changed my mind'))
    const store = cluster.client()

    await expect(store.getPages([page(1).id], { signal })).rejects.toThrow('changed my mind')
    await expect(store.putPages([page(1)], { signal })).rejects.toThrow('changed my mind')
    await expect(store.getRecords(['location/00'], { signal })).rejects.toThrow('changed my mind')
  })
})
