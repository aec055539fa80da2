import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { signLocation } from '../../../src/metadata/location.ts'
import type { Verifier } from '../../../src/metadata/signature-types.ts'
import type { KeptMetadata, ProvenNode } from '../../../src/metadata/store-types.ts'
import { proveNodes } from '../../../src/metadata/tickets.ts'
import type { KeyedNode } from '../../../src/metadata/tree-types.ts'
import { TREE_PROTOCOL } from '../../../src/peer/protocols/tree.ts'
import { MetadataCluster } from '../../support/metadata-cluster.ts'
import { sampleBytes } from '../../support/sample-bytes.ts'
import { testSigner } from '../../support/signing.ts'
import { sampleWrite } from '../../support/tree-samples.ts'

const clusters: MetadataCluster[] = []

afterEach(async () => {
  await Promise.all(clusters.splice(0).map(async (cluster) => cluster.stop()))
})

const page = { bytes: sampleBytes(500), id: chunkId(sampleBytes(500)) }

/** Three providers that have a tree, a page and a record. */
async function filledCluster() {
  const cluster = new MetadataCluster()
  clusters.push(cluster)
  await cluster.add('a', 'b', 'c')
  const { nodes, proof, signed } = await sampleWrite(10)
  const record = signLocation(cluster.signer, { page: page.id, sequence: 3, replicas: [['p']] })
  for (const { store } of cluster.providers.values()) {
    await store.putNodes(nodes, proof)
    await store.putPages([page])
    await store.putRecords([record])
  }
  const keys = nodes.map(({ key }) => key)
  return { cluster, nodes, proof, signed, record, keys }
}

/** A proven node with something else in it. */
function changed(proven: ProvenNode, changes: Partial<ProvenNode>): ProvenNode {
  return { ...proven, ...changes }
}

type Lie = (
  store: KeptMetadata,
  truth: { readonly nodes: readonly KeyedNode[]; readonly other: readonly ProvenNode[] }
) => void

const NODE_LIES: readonly (readonly [string, Lie])[] = [
  [
    'gives other nodes of the same ticket in their places',
    (store) => {
      const get = store.getProvenNodes.bind(store)
      store.getProvenNodes = async (keys, options) => {
        const found = await get(keys, options)
        const leaf = found.find((proven) => proven?.node.kind === 'leaf')
        return found.map((proven) =>
          proven?.node.kind === 'leaf' && leaf !== undefined
            ? changed(proven, { node: leaf.node })
            : proven
        )
      }
    }
  ],
  [
    "gives another write's nodes with the proof of that",
    (store, { other }) => {
      store.getProvenNodes = async (keys) => keys.map((_, at) => other[at % other.length])
    }
  ],
  [
    'gives nodes that a stranger has signed',
    (store, { nodes }) => {
      const stranger = testSigner(9)
      const get = store.getProvenNodes.bind(store)
      store.getProvenNodes = async (keys, options) => {
        const found = await get(keys, options)
        return found.map(
          (proven) =>
            proven && changed(proven, { proof: proveNodes(stranger, proven.proof.ticket, nodes) })
        )
      }
    }
  ],
  [
    'gives a leaf where an inner node stands',
    (store) => {
      const get = store.getProvenNodes.bind(store)
      store.getProvenNodes = async (keys, options) => {
        const found = await get(keys, options)
        const leaf = found.find((proven) => proven?.node.kind === 'leaf')
        return found.map((proven) => proven && leaf && changed(proven, leaf))
      }
    }
  ]
]

describe('a metadata provider that gives wrong nodes', () => {
  test.each(NODE_LIES)('%s: is not believed, named and avoided', async (_name, lie) => {
    const { cluster, nodes, keys } = await filledCluster()
    const write = await sampleWrite(10, { fill: 2 })
    const other = write.nodes.map(({ key, node }) => ({ key, node, proof: write.proof }))
    for (const name of ['a', 'b']) lie(cluster.get(name).store, { nodes, other })
    const reader = cluster.client('reader', { cacheBytes: 0 })

    expect(await reader.getNodes(keys)).toEqual(nodes.map(({ node }) => node))

    const { store } = cluster.get('c')
    let askedHonest = 0
    const get = store.getProvenNodes.bind(store)
    store.getProvenNodes = async (some, options) => {
      askedHonest += 1
      return get(some, options)
    }
    await reader.getNodes(keys.slice(0, 1))
    expect(askedHonest).toBe(1)
    lie(store, { nodes, other })
    await expect(reader.getNodes(keys)).rejects.toMatchObject({
      code: 'ERR_PROTOCOL_VIOLATION',
      peer: expect.stringMatching(/^[abc]$/)
    })
  })

  test('an honest one is believed without asking twice for the same proof', async () => {
    const { cluster, nodes, keys } = await filledCluster()
    let verified = 0
    const verifier: Verifier = {
      verify: (purpose, envelope) => {
        verified += 1
        return cluster.verifier.verify(purpose, envelope)
      }
    }
    const client = cluster.client('reader', { cacheBytes: 0 }, { verifier })

    for (let round = 0; round < 3; round++) {
      expect(await client.getNodes(keys)).toEqual(nodes.map(({ node }) => node))
    }

    expect(verified).toBe(2)
  })
})

describe('a metadata provider that says things are absent', () => {
  test('is not believed while another has them, and is given them again', async () => {
    const { cluster, nodes, keys, record } = await filledCluster()
    for (const name of ['a', 'b']) {
      const { store } = cluster.get(name)
      store.getProvenNodes = async (some) => some.map(() => undefined)
      store.getPages = async (some) => some.map(() => undefined)
      store.getRecords = async (some) => some.map(() => undefined)
    }
    const reader = cluster.client('reader')

    expect(await reader.getNodes(keys)).toEqual(nodes.map(({ node }) => node))
    expect(await reader.getPages([page.id])).toEqual([new Uint8Array(page.bytes)])
    expect(await reader.getRecords([record.name])).toEqual([record])
  })
})

describe('a metadata provider that says nothing', () => {
  test('holds a reader up once, and the error names it when nobody else is left', async () => {
    const { cluster, nodes, keys } = await filledCluster()
    for (const name of ['a', 'b']) {
      cluster.network.remove(name)
      await cluster.network.node(name).serve(TREE_PROTOCOL, async ({ ended }) => {
        await new Promise((resolve) => ended.addEventListener('abort', resolve))
      })
    }
    const reader = cluster.client('reader', { cacheBytes: 0, readTimeoutMs: 50 })
    expect(await reader.getNodes(keys)).toEqual(nodes.map(({ node }) => node))
    const startedMs = performance.now()

    for (let round = 0; round < 5; round++) await reader.getNodes(keys)

    expect(performance.now() - startedMs).toBeLessThan(5 * 50)
    cluster.network.remove('c')
    await expect(reader.getNodes(keys)).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_PEER_(TIMEOUT|UNREACHABLE)$/),
      peer: expect.stringMatching(/^[abc]$/)
    })
  })
})

describe('read repair', () => {
  test('brings nodes with their proofs to the owners that lack them', async () => {
    const cluster = new MetadataCluster()
    clusters.push(cluster)
    await cluster.add('a', 'b', 'c')
    const { nodes, proof } = await sampleWrite(300)
    const keys = nodes.map(({ key }) => key)
    await cluster.get('c').store.putNodes(nodes, proof)
    const reader = cluster.client('reader')

    await reader.getNodes(keys)
    await reader.idle()

    // Who was asked before the one that has them was found to lack them.
    const have = await Promise.all(
      ['a', 'b'].map(async (name) => {
        const found = await cluster.get(name).store.getNodes(keys)
        return found.filter((node) => node !== undefined).length
      })
    )
    expect(have[0]! + have[1]!).toBeGreaterThan(nodes.length / 2)
    const [proven] = await cluster.get('c').store.getProvenNodes(keys.slice(0, 1))
    for (const name of ['a', 'b']) {
      const [there] = await cluster.get(name).store.getProvenNodes(keys.slice(0, 1))
      if (there !== undefined) expect(there.proof).toEqual(proven?.proof)
    }
  })

  test('is not done by those who may not write', async () => {
    const cluster = new MetadataCluster()
    clusters.push(cluster)
    await cluster.add('a', 'b', 'c')
    const { nodes, proof } = await sampleWrite(30)
    await cluster.get('c').store.putNodes(nodes, proof)
    const reader = cluster.client('reader', { repairs: false })

    await reader.getNodes(nodes.map(({ key }) => key))
    await reader.idle()

    expect((await cluster.copies()).size).toBe(nodes.length)
    expect([...(await cluster.copies()).values()].every(({ size }) => size === 1)).toBe(true)
  })
})
