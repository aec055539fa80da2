import { afterEach, expect, test } from '@jest/globals'
import { ChunkCopier } from '../../src/chunks/chunk-copier.ts'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { LeaseTable } from '../../src/chunks/lease-table.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { ReadOnlyProvider } from '../../src/chunks/read-only-provider.ts'
import { GIB, KIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes } from '../../src/lib/random.ts'
import { LocalSigner } from '../../src/metadata/signed.ts'
import { CertificateVerifier } from '../../src/peer/certificate-verifier.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import { serveStore } from '../../src/peer/protocols/store-serve.ts'
import { NetworkChunkSources } from '../../src/peer/remote/chunk-sources.ts'
import { RemoteProvider } from '../../src/peer/remote/provider.ts'
import { RemoteProviders } from '../../src/peer/remote/remote-providers.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { addressOf, DEPLOYER, PeerCluster } from '../support/peer-cluster.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

const MANAGER = { roles: ['providerManager' as const], rights: ['read' as const] }

/** A provider that copies from whomever it is told, with leases by a clock of its own. */
async function providerAt(node: Libp2pNode, clusterId: Uint8Array) {
  const store = new MemoryStore()
  await store.start()
  const remotes = new RemoteProviders({ node, clock: systemClock })
  stops.push(() => remotes.stop())
  const local = new ReadOnlyProvider(node.peerId, store)
  const sources = new NetworkChunkSources({ node, remotes, local })
  const copier = new ChunkCopier({ sources, clock: systemClock })
  const clock = new ManualClock()
  const leases = new LeaseTable({ clock }, { leaseMs: 1000 })
  const parts = { store, leases, copier, freeBytes: async () => GIB }
  const provider = new LocalProvider(node.peerId, parts)
  const verifier = new CertificateVerifier(clusterId)
  await serveStore(node, { provider, verifier, clock: systemClock, logger: noLogger })
  return { store, clock }
}

test('repair has last copies taken from a hypervisor to a provider, and trims there', async () => {
  const cluster = new PeerCluster()
  stops.push(() => cluster.stop())
  const { clusterId } = cluster.authority
  const [server, seed] = [await cluster.member(), secureBytes(32)]
  const hypervisor = await cluster.member({ grant: DEPLOYER })
  const manager = await cluster.member({ grant: MANAGER, seed })
  await manager.connect(addressOf(server))
  const { store, clock } = await providerAt(server, clusterId)
  const cache = new MemoryStore()
  await cache.start()
  const verifier = new CertificateVerifier(clusterId)
  const readOnly = new ReadOnlyProvider(hypervisor.peerId, cache)
  const serving = { provider: readOnly, verifier, clock: systemClock, logger: noLogger }
  await serveStore(hypervisor, serving)
  const chunks = Array.from({ length: 40 }, (_, at) => sampleBytes(100 * KIB, at))
  for (const bytes of chunks) await cache.put(chunkId(bytes), bytes)
  const { certificate } = manager.membership.credentials()
  const key = new Ed25519Key(seed)
  const signer = new LocalSigner({ peerId: manager.peerId, key, certificate: () => certificate })
  const parts = { node: manager, clock: systemClock, peerId: server.peerId, signer }
  const remote = new RemoteProvider(parts)
  stops.push(() => remote.close())
  const ids = chunks.map(chunkId)

  const source = { id: hypervisor.peerId, addresses: [addressOf(hypervisor)] }
  const held = await remote.copy(ids, [source])
  const conditions = await remote.check(ids)
  const early = await remote.trim(ids)
  clock.advance(3000)
  const late = await remote.trim(ids.slice(0, 30))

  expect(held).toEqual(ids.map(() => true))
  expect(conditions).toEqual(ids.map(() => 'intact'))
  expect([early.count, late.count, store.chunkCount]).toEqual([0, 30, 10])
})
