import { afterEach } from '@jest/globals'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { MemoryMetadataStore } from '../../../src/metadata/memory-node-store.ts'
import type { Verifier } from '../../../src/metadata/signature-types.ts'
import { serveTree } from '../../../src/peer/protocols/tree-serve.ts'
import { RemoteMetadataProvider } from '../../../src/peer/remote/metadata-provider.ts'
import { DistributedMetadataStore } from '../../../src/peer/remote/metadata-store.ts'
import { handedOverContract, LEASE_MS } from '../../contract/kept-metadata.ts'
import { metadataStoreContract } from '../../contract/metadata-store.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { testSigner } from '../../support/signing.ts'

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()))
})

async function networkOf(names: readonly string[], verifier: Verifier): Promise<MemoryNetwork> {
  const network = new MemoryNetwork()
  for (const name of names) {
    const store = new MemoryMetadataStore({ verifier })
    await serveTree(network.node(name), { store, verifier, clock: systemClock, logger: noLogger })
  }
  return network
}

metadataStoreContract('one metadata provider over the network', async (verifier) => {
  const network = await networkOf(['provider'], verifier)
  const node = network.node('client')
  const store = new RemoteMetadataProvider({ node, clock: systemClock, peerId: 'provider' })
  stops.push(() => store.close())
  return store
})

metadataStoreContract('the metadata providers of a cluster', async (verifier) => {
  const providers = ['a', 'b', 'c', 'd']
  const network = await networkOf(providers, verifier)
  const store = new DistributedMetadataStore({
    node: network.node('client'),
    clock: systemClock,
    providers: () => providers,
    verifier
  })
  stops.push(() => store.stop())
  return store
})

handedOverContract('one metadata provider over the network', async (verifier, clock) => {
  const network = new MemoryNetwork()
  const kept = new MemoryMetadataStore({ verifier, clock }, { leaseMs: LEASE_MS })
  const common = { verifier, clock: systemClock, logger: noLogger }
  await serveTree(network.node('provider'), { store: kept, ...common })
  const node = network.node('manager', { roles: new Set(['versionManager']) })
  const signer = testSigner()
  const store = new RemoteMetadataProvider({
    node,
    clock: systemClock,
    peerId: 'provider',
    signer
  })
  stops.push(() => store.close())
  return { store, kept }
})
