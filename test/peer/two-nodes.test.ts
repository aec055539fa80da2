import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { LeaseTable } from '../../src/chunks/lease-table.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { LocalProviderManager } from '../../src/chunks/provider-manager.ts'
import { GIB, KIB, MIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes, seededRandom } from '../../src/lib/random.ts'
import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import { LocalSigner } from '../../src/metadata/signed.ts'
import { CertificateVerifier } from '../../src/peer/certificate-verifier.ts'
import { serveProviders } from '../../src/peer/protocols/providers-serve.ts'
import { serveStore } from '../../src/peer/protocols/store-serve.ts'
import { serveTree } from '../../src/peer/protocols/tree-serve.ts'
import { memberWithRole } from '../../src/peer/remote/find-role.ts'
import { DistributedMetadataStore } from '../../src/peer/remote/metadata-store.ts'
import { RemoteProvider } from '../../src/peer/remote/provider.ts'
import { RemoteProviderManager } from '../../src/peer/remote/provider-manager.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { addressOf, DEPLOYER, PeerCluster } from '../support/peer-cluster.ts'
import { gullible } from '../support/plain-signing.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { testSigner, trusting } from '../support/signing.ts'
import { sampleWrite } from '../support/tree-samples.ts'

const parts = { clock: systemClock, logger: noLogger, verifier: gullible }
const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

async function twoNodes(grant?: typeof DEPLOYER) {
  const cluster = new PeerCluster()
  stops.push(() => cluster.stop())
  const server = await cluster.member()
  const client = await cluster.member(grant === undefined ? {} : { grant })
  await client.connect(addressOf(server))
  return { server, client }
}

async function storeOf(id: string, leases?: LeaseTable): Promise<LocalProvider> {
  const store = new MemoryStore()
  await store.start()
  return new LocalProvider(id, { store, leases, freeBytes: async () => GIB })
}

describe('over two libp2p nodes', () => {
  test('chunks of every size go to a provider and come back', async () => {
    const { server, client } = await twoNodes()
    await serveStore(server, { ...parts, provider: await storeOf(server.peerId) })
    const remote = new RemoteProvider({ node: client, clock: systemClock, peerId: server.peerId })
    stops.push(() => remote.close())
    const sizes = [1, 64 * KIB, 256 * KIB, 256 * KIB + 1, MIB, 5 * MIB]
    const chunks = [...sizes, ...sizes].map((length, seed) => sampleBytes(length, seed))

    await Promise.all(chunks.map((bytes) => remote.put(chunkId(bytes), bytes)))
    const back = await Promise.all(chunks.map((bytes) => remote.get(chunkId(bytes))))

    expect(await remote.has(chunks.map(chunkId))).toEqual(chunks.map(() => true))
    const isEqual = back.map((bytes, at) =>
      Buffer.compare(bytes ?? Buffer.of(), chunks[at] ?? Buffer.of())
    )
    expect(isEqual).toEqual(chunks.map(() => 0))
  })

  test('a version manager deletes at a provider what has no lease, and nobody else does', async () => {
    const cluster = new PeerCluster()
    stops.push(() => cluster.stop())
    const [server, seed] = [await cluster.member(), secureBytes(32)]
    const client = await cluster.member({ seed })
    await client.connect(addressOf(server))
    const clock = new ManualClock()
    const provider = await storeOf(server.peerId, new LeaseTable({ clock }, { leaseMs: 1000 }))
    const verifier = new CertificateVerifier(cluster.authority.clusterId)
    await serveStore(server, { ...parts, verifier, provider })
    const { certificate } = client.membership.credentials()
    const signing = { peerId: client.peerId, certificate: () => certificate }
    const [signer, forger] = [seed, secureBytes(32)].map(
      (bytes) => new LocalSigner({ ...signing, key: new Ed25519Key(bytes) })
    )
    const common = { node: client, clock: systemClock, peerId: server.peerId }
    const remote = new RemoteProvider({ ...common, signer })
    const forging = new RemoteProvider({ ...common, signer: forger })
    stops.push(async () => void (await Promise.all([remote.close(), forging.close()])))
    const chunks = [1, 2, 3].map((seedOfChunk) => sampleBytes(1000, seedOfChunk))
    for (const bytes of chunks) await remote.put(chunkId(bytes), bytes)
    clock.advance(1000)

    const collection = await remote.beginCollection()
    await remote.has(chunks.slice(0, 1).map(chunkId))
    const listed = await remote.unleased(collection, undefined)
    const forged = forging.collect(collection, listed)
    await expect(forged).rejects.toMatchObject({ code: 'ERR_UNTRUSTED_SIGNATURE' })
    const collected = await remote.collect(collection, chunks.map(chunkId))

    expect(listed).toHaveLength(2)
    expect(collected).toEqual({ count: 2, bytes: 2000 })
    expect(await remote.has(chunks.map(chunkId))).toEqual([true, false, false])
  })

  test('a member that may only read cannot put', async () => {
    const { server, client } = await twoNodes(DEPLOYER)
    await serveStore(server, { ...parts, provider: await storeOf(server.peerId) })
    const remote = new RemoteProvider({ node: client, clock: systemClock, peerId: server.peerId })
    stops.push(() => remote.close())
    const bytes = sampleBytes(1000)

    await expect(remote.put(chunkId(bytes), bytes)).rejects.toMatchObject({
      code: 'ERR_NOT_PERMITTED'
    })
    expect(await remote.has([chunkId(bytes)])).toEqual([false])
  })

  test('nodes and pages go to a metadata provider and come back', async () => {
    const { server, client } = await twoNodes()
    const signer = testSigner()
    const verifier = trusting(signer)
    await serveTree(server, { ...parts, verifier, store: new MemoryMetadataStore({ verifier }) })
    const store = new DistributedMetadataStore(
      { node: client, clock: systemClock, providers: () => [server.peerId], verifier },
      { cacheBytes: 0 }
    )
    stops.push(() => store.stop())
    const { nodes, proof } = await sampleWrite(300, { signer })
    const pages = Array.from({ length: 6 }, (_, seed) => sampleBytes(300 * KIB, seed))

    await store.putNodes(nodes, proof)
    await store.putPages(pages.map((bytes) => ({ id: chunkId(bytes), bytes })))
    const back = await store.getPages(pages.map(chunkId))

    expect(back.map((bytes) => bytes && chunkId(bytes))).toEqual(pages.map(chunkId))
    expect(await store.getNodes(nodes.map(({ key }) => key))).toEqual(nodes.map(({ node }) => node))
  })

  test('a provider registers and is found where it said', async () => {
    const { server, client } = await twoNodes()
    const providers = new LocalProviderManager({ clock: systemClock, random: seededRandom(1) })
    await serveProviders(server, { ...parts, providers })
    const find = memberWithRole(client, 'providerManager')
    const remote = new RemoteProviderManager({ node: client, clock: systemClock, find })
    stops.push(() => remote.stop())
    const provider = await storeOf(client.peerId)

    await remote.report(await provider.report('rack 1'))

    expect(await remote.list()).toMatchObject([{ id: client.peerId, zone: 'rack 1' }])
    expect(await remote.place({ count: 1, chunkBytes: KIB, replicas: 1 })).toEqual([
      [client.peerId]
    ])
  })

  test('a provider that stopped is unreachable, and used again when it is back', async () => {
    const cluster = new PeerCluster()
    stops.push(() => cluster.stop())
    const seed = new Uint8Array(32).fill(7)
    const first = await cluster.member({ seed })
    const provider = await storeOf(first.peerId)
    await serveStore(first, { ...parts, provider })
    const client = await cluster.member()
    await client.connect(addressOf(first))
    const remote = new RemoteProvider({ node: client, clock: systemClock, peerId: first.peerId })
    stops.push(() => remote.close())
    const bytes = sampleBytes(1000)
    await remote.put(chunkId(bytes), bytes)

    await first.stop()
    await expect(remote.get(chunkId(bytes))).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
    const again = await cluster.member({ seed })
    await serveStore(again, { ...parts, provider })
    await client.connect(addressOf(again))

    expect(await remote.get(chunkId(bytes))).toEqual(new Uint8Array(bytes))
  })
})
