import { afterEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { LoggerFactory } from '../../src/lib/logger.ts'
import { MetadataStoreError } from '../../src/metadata/errors.ts'
import { signLocation } from '../../src/metadata/location.ts'
import type { NamedRecord, Page } from '../../src/metadata/store-types.ts'
import type { KeyedNode } from '../../src/metadata/tree-types.ts'
import type { HandOverOptions } from '../../src/peer/hand-over.ts'
import { TREE_PROTOCOL } from '../../src/peer/protocols/tree.ts'
import type { DistributedMetadataStore } from '../../src/peer/remote/metadata-store.ts'
import { allKeys, MetadataCluster } from '../support/metadata-cluster.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { sampleWrite } from '../support/tree-samples.ts'
import { WaitingLogger } from '../support/waiting-logger.ts'

const clusters: MetadataCluster[] = []

afterEach(async () => {
  await Promise.all(clusters.splice(0).map(async (cluster) => cluster.stop()))
})

const NEVER_BY_ITSELF: HandOverOptions = { debounceMs: 3_600_000, settleMs: 3_600_000 }

async function clusterOf(
  count: number,
  options: HandOverOptions = NEVER_BY_ITSELF,
  logger?: LoggerFactory
): Promise<MetadataCluster> {
  const cluster = new MetadataCluster(options, logger)
  clusters.push(cluster)
  await cluster.add(...Array.from({ length: count }, (_, at) => `metadata-${at}`))
  cluster.startHandOver()
  return cluster
}

function page(seed: number, length = 300): Page {
  const bytes = sampleBytes(length, seed)
  return { id: chunkId(bytes), bytes }
}

function location(cluster: MetadataCluster, seed: number, sequence = 1): NamedRecord {
  const { id } = page(seed)
  return signLocation(cluster.signer, { page: id, sequence, replicas: [['p1']] })
}

/** Nodes of a blob, pages and records, each kind in the given number or somewhat above. */
async function fill(
  cluster: MetadataCluster,
  writer: DistributedMetadataStore,
  { blob = 1, nodes = 60, pages = 40, records = 20 } = {}
): Promise<readonly KeyedNode[]> {
  const write = await sampleWrite(Math.ceil(nodes / 2), { fill: blob })
  const seeds = Array.from({ length: pages }, (_, at) => blob * 10_000 + at)
  await writer.putNodes(write.nodes, write.proof)
  await writer.putPages(seeds.map((seed) => page(seed)))
  await writer.putRecords(seeds.slice(0, records).map((seed) => location(cluster, seed)))
  await writer.idle()
  return write.nodes
}

describe('hand-over', () => {
  test('brings thousands of keys to a provider that joins, and drops them where they left', async () => {
    const cluster = await clusterOf(4, { ...NEVER_BY_ITSELF, dropAfterMs: 0 })
    for (const blob of [1, 2, 3]) {
      await fill(cluster, cluster.client(`writer ${blob}`), { blob, nodes: 600, pages: 150 })
    }
    const before = await cluster.copies()

    await cluster.start('joins')
    cluster.get('joins').handOver.start()
    cluster.setList([...cluster.list, 'joins'])
    await cluster.handOverAll()
    await cluster.handOverAll()

    const after = await cluster.copies()
    expect(before.size).toBeGreaterThan(2000)
    expect([...after.keys()].toSorted()).toEqual([...before.keys()].toSorted())
    expect(await cluster.underCopied()).toEqual([])
    expect(new Set([...after.values()].map(({ size }) => size))).toEqual(new Set([3]))
    expect((await allKeys(cluster.get('joins').store)).length).toBeGreaterThan(500)
  })

  test.each(['leaves', 'dies'])('makes three copies again when a provider %s', async (how) => {
    const cluster = await clusterOf(4)
    await fill(cluster, cluster.client(), { nodes: 600, pages: 200, records: 100 })
    const before = await cluster.copies()

    if (how === 'dies') await cluster.kill('metadata-1')
    cluster.setList(cluster.list.filter((name) => name !== 'metadata-1'))
    await cluster.handOverAll()

    const after = await cluster.copies()
    expect(after.size).toBe(before.size)
    expect(await cluster.underCopied()).toEqual([])
    for (const { handOver } of cluster.providers.values()) {
      expect(handOver.figures.underCopied).toBe(0)
    }
  })

  test('hands over without being asked when the list changes', async () => {
    const logger = new WaitingLogger()
    const cluster = await clusterOf(3, { debounceMs: 5, settleMs: 50 }, logger)
    await fill(cluster, cluster.client())

    await cluster.start('joins')
    cluster.setList(['metadata-0', 'metadata-1', 'joins'])

    for (;;) {
      const nextPass = logger.next(/handed over \d+ of \d+ keys/)
      if ((await cluster.underCopied()).length === 0) break
      await nextPass
    }
    expect((await allKeys(cluster.get('joins').store)).length).toBeGreaterThan(100)
  })

  test('those who have not heard of a new list read and write on as before, and nothing is lost', async () => {
    const cluster = await clusterOf(5)
    const old = cluster.list.slice(0, 4)
    cluster.setList(old)
    const nodes = await fill(cluster, cluster.client())
    cluster.setList(['metadata-4', ...old.slice(1)])
    await cluster.handOverAll()

    const late = cluster.client('late', { cacheBytes: 0 }, { list: () => old })
    const found = await late.getNodes(nodes.map(({ key }) => key))
    const written = await fill(cluster, late, { blob: 2 })
    await cluster.handOverAll()

    expect(found).toEqual(nodes.map(({ node }) => node))
    expect(await cluster.underCopied()).toEqual([])
    const reader = cluster.client('reader')
    expect(await reader.getNodes(written.map(({ key }) => key))).toEqual(
      written.map(({ node }) => node)
    )
  })

  test('does nothing for a list that differs in addresses only', async () => {
    const logger = new WaitingLogger()
    const cluster = await clusterOf(2, { debounceMs: 5, settleMs: 1 }, logger)
    const { handOver } = cluster.get('metadata-0')
    while (handOver.figures.passes < 1) await logger.next(/handed over/)
    const { passes } = handOver.figures

    cluster.setList([...cluster.list])
    await new Promise((resolve) => setImmediate(resolve))
    await handOver.passNow()

    expect(handOver.figures.passes).toBe(passes + 1)
  })

  test('readers find everything, and nothing is called absent, while the list changes under writers', async () => {
    const cluster = await clusterOf(5, { debounceMs: 1, settleMs: 20 })
    const names = [...cluster.list]
    const lists = [
      names.slice(0, 4),
      names,
      names.slice(1),
      ['metadata-4', 'metadata-0', 'metadata-2'],
      names.slice(0, 3),
      names
    ]
    const written: KeyedNode[] = []
    const writer = cluster.client('writer')
    const reader = cluster.client('reader', { cacheBytes: 0 })

    for (const [at, list] of lists.entries()) {
      const writing = fill(cluster, writer, { blob: at + 1, nodes: 100, pages: 10, records: 5 })
      cluster.setList(list)
      const found = await reader.getNodes(written.map(({ key }) => key))
      expect(found).toEqual(written.map(({ node }) => node))
      written.push(...(await writing))
    }
    await cluster.handOverAll()

    const found = await reader.getNodes(written.map(({ key }) => key))
    expect(found).toEqual(written.map(({ node }) => node))
    expect(await cluster.underCopied()).toEqual([])
  })

  test('comes again after a while when nothing changes, and then finds what was lost', async () => {
    const logger = new WaitingLogger()
    const cluster = await clusterOf(3, { debounceMs: 1, settleMs: 20, intervalMs: 50 }, logger)
    await fill(cluster, cluster.client())
    const { store } = cluster.get('metadata-1')
    const [id] = await store.scan({ kind: 'pages', limit: 1 })
    if (id === undefined) throw new Error('no page')

    const passes = (): number[] =>
      [...cluster.providers.values()].map(({ handOver }) => handOver.figures.passes)
    while (passes().some((count) => count < 2)) await logger.next(/handed over \d+ of \d+ keys/)
    await store.drop('pages', [id])
    while ((await store.lacking('pages', [id]))[0] === true) {
      await logger.next(/handed over \d+ of \d+ keys/)
    }

    expect(await cluster.underCopied()).toEqual([])
  })

  test('gives the newest record to an owner that has an older one', async () => {
    const cluster = await clusterOf(3)
    const [first, second, third] = [...cluster.providers.values()]
    await first?.store.putRecords([location(cluster, 1, 5)])
    await second?.store.putRecords([location(cluster, 1, 4)])

    await first?.handOver.passNow()

    for (const provider of [second, third]) {
      expect(await provider?.store.getRecords([location(cluster, 1).name])).toMatchObject([
        { sequence: 5 }
      ])
    }
  })

  test('goes on with the others when one says nothing, and comes back to it', async () => {
    const cluster = await clusterOf(4)
    await fill(cluster, cluster.client())
    await cluster.start('joins')
    cluster.network.remove('metadata-3')
    await cluster.network.node('metadata-3').serve(TREE_PROTOCOL, async ({ ended }) => {
      await new Promise((resolve) => ended.addEventListener('abort', resolve))
    })
    cluster.setList([...cluster.list, 'joins'])

    const reports = await Promise.all(
      ['metadata-0', 'metadata-1', 'metadata-2'].map((name) => cluster.get(name).handOver.passNow())
    )

    expect(reports.map(({ failed }) => [...failed.keys()])).toEqual([
      ['metadata-3'],
      ['metadata-3'],
      ['metadata-3']
    ])
    expect(reports[0]?.failed.get('metadata-3')).toMatchObject({ code: 'ERR_PEER_TIMEOUT' })
    const lacking = new Set(await cluster.underCopied())
    const atTheSilentOne = new Set(await allKeys(cluster.get('metadata-3').store))
    expect([...lacking].filter((key) => !atTheSilentOne.has(key))).toEqual([])
    expect(cluster.get('metadata-0').handOver.figures.underCopied).toBeGreaterThan(0)
  }, 20_000)

  test('goes on with the others when one answers nonsense', async () => {
    const cluster = await clusterOf(4)
    await fill(cluster, cluster.client())
    await cluster.start('joins')
    const { store } = cluster.get('metadata-3')
    store.lacking = async (_kind, keys) => [...keys.map(() => true), true, true]
    cluster.setList([...cluster.list, 'joins'])

    const { failed } = await cluster.get('metadata-0').handOver.passNow()

    expect(failed.get('metadata-3')).toMatchObject({
      code: 'ERR_PROTOCOL_VIOLATION',
      peer: 'metadata-3'
    })
    expect([...failed.keys()]).toEqual(['metadata-3'])
  })

  test('brings the rest of a batch when one node of it is refused', async () => {
    const cluster = await clusterOf(2)
    const [first, second] = [...cluster.providers.values()]
    const write = await sampleWrite(20)
    const other = await sampleWrite(20, { seed: 2 })
    await first?.store.putNodes(write.nodes, write.proof)
    await second?.store.putNodes(other.nodes.slice(0, 1), other.proof)
    const store = second?.store
    if (store === undefined) throw new Error('no store')
    store.lacking = async (_kind, keys) => keys.map(() => true)

    const report = await first?.handOver.passNow()

    expect(report).toMatchObject({ underCopied: 1, handedOver: write.nodes.length - 1 })
    expect(await store.getNodes([write.nodes[0]!.key])).toEqual([other.nodes[0]!.node])
  })

  test('fails and tries again when its own store cannot be read', async () => {
    const logger = new WaitingLogger()
    const cluster = await clusterOf(2, { ...NEVER_BY_ITSELF, retryMs: 5 }, logger)
    await fill(cluster, cluster.client())
    const { store, handOver } = cluster.get('metadata-0')
    const getPages = store.getPages.bind(store)
    store.getPages = async () => {
      throw new MetadataStoreError('the disk is broken')
    }
    const [id] = await store.scan({ kind: 'pages', limit: 1 })
    await cluster.get('metadata-1').store.drop('pages', id === undefined ? [] : [id])

    await expect(handOver.passNow()).rejects.toMatchObject({ code: 'ERR_METADATA_STORE' })

    const again = logger.next(/handed over 1 of \d+ keys/)
    store.getPages = getPages
    await again
    expect(await cluster.underCopied()).toEqual([])
    expect(logger.lines.join()).toContain('metadata not handed over: MetadataStoreError')
  })

  test('keeps what others own until all of them have it, and while the list is young', async () => {
    const cluster = await clusterOf(4, { ...NEVER_BY_ITSELF, dropAfterMs: 60_000 })
    await fill(cluster, cluster.client())
    cluster.setList(cluster.list.slice(1))

    await cluster.handOverAll()

    expect((await allKeys(cluster.get('metadata-0').store)).length).toBeGreaterThan(0)
    expect(await cluster.underCopied()).toEqual([])
  })

  test('sends no faster than it may', async () => {
    const cluster = await clusterOf(3, { ...NEVER_BY_ITSELF, bytesPerSecond: 50_000 })
    const pages = Array.from({ length: 40 }, (_, seed) => page(seed, 2000))
    await cluster.get('metadata-0').store.putPages(pages)
    const startedMs = performance.now()

    await cluster.get('metadata-0').handOver.passNow()

    // 160,000 bytes, of which the first second's worth goes at once.
    expect(performance.now() - startedMs).toBeGreaterThan(1500)
    expect(await cluster.underCopied()).toEqual([])
  }, 20_000)

  test('passes never overlap, and a stop ends the one that runs', async () => {
    const cluster = await clusterOf(2)
    await fill(cluster, cluster.client(), { pages: 200 })
    const { store, handOver } = cluster.get('metadata-0')
    const scan = store.scan.bind(store)
    let running = 0
    let most = 0
    const entered = Promise.withResolvers<void>()
    store.scan = async (request, options) => {
      most = Math.max(most, ++running)
      entered.resolve()
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
      return scan(request, options)
    }

    const passes = [1, 2, 3].map(async () => handOver.passNow().catch((error: unknown) => error))
    await entered.promise
    const later = handOver.passNow().catch((error: unknown) => error)
    await handOver.stop()

    expect(most).toBe(1)
    for (const outcome of await Promise.all([...passes, later])) {
      expect(outcome).toMatchObject({ message: 'hand-over has stopped' })
    }
  })

  test('from any list to any other, every key comes to its owners', async () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    const lists = fc.array(fc.subarray(names, { minLength: 1 }), { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(lists, async (changes) => {
        const cluster = new MetadataCluster({ ...NEVER_BY_ITSELF, dropAfterMs: 0 })
        await cluster.add(...names)
        cluster.startHandOver()
        const nodes = await fill(cluster, cluster.client(), { nodes: 20, pages: 12, records: 6 })
        const before = (await cluster.copies()).size
        for (const list of changes) {
          cluster.setList(list)
          await cluster.handOverAll()
          expect(await cluster.underCopied()).toEqual([])
        }
        const back = await cluster.client('reader').getNodes(nodes.map(({ key }) => key))
        expect(back).toEqual(nodes.map(({ node }) => node))
        expect((await cluster.copies()).size).toBe(before)
        await cluster.stop()
      }),
      { numRuns: 5 }
    )
  }, 30_000)
})
