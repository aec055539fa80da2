import { afterAll, beforeAll } from '@jest/globals'
import { MemoryStore } from '../../../src/chunks/memory-store.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import type { Libp2pNode } from '../../../src/peer/node.ts'
import { STORE_PROTOCOL } from '../../../src/peer/protocols/store.ts'
import { StoreServer, serveStore } from '../../../src/peer/protocols/store-serve.ts'
import { RemoteProvider } from '../../../src/peer/remote/provider.ts'
import type { PeerNode } from '../../../src/peer/types.ts'
import { testMaintainedProvider } from '../../contract/maintained-provider.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { addressOf, PeerCluster } from '../../support/peer-cluster.ts'
import { testSigner, trusting } from '../../support/signing.ts'

const manager = testSigner(1)
const parts = { verifier: trusting(manager), clock: systemClock, logger: noLogger }
const remotes: RemoteProvider[] = []

/** The provider of the running test as others see it. */
function remoteOver(node: PeerNode, peerId: string): RemoteProvider {
  const remote = new RemoteProvider({ node, clock: systemClock, peerId, signer: manager })
  remotes.push(remote)
  return remote
}

const close = async (): Promise<void> => {
  await Promise.all(remotes.splice(0).map(async (remote) => remote.close()))
}

testMaintainedProvider('a provider over streams in memory', {
  openStore: async (options) => new MemoryStore(options),
  reach: async (local) => {
    const network = new MemoryNetwork()
    await serveStore(network.node('provider'), { provider: local, ...parts })
    return remoteOver(network.node('manager'), 'provider')
  },
  close
})

const cluster = new PeerCluster()
let nodes: { readonly server: Libp2pNode; readonly client: Libp2pNode }
let current: StoreServer

beforeAll(async () => {
  const server = await cluster.member()
  const client = await cluster.member()
  await server.serve(STORE_PROTOCOL, async (channel) => current.serve(channel))
  await client.connect(addressOf(server))
  nodes = { server, client }
})

afterAll(async () => cluster.stop())

testMaintainedProvider('a provider over two libp2p nodes', {
  openStore: async (options) => new MemoryStore(options),
  id: () => nodes.server.peerId,
  reach: async (local) => {
    current = new StoreServer({ provider: local, ...parts })
    return remoteOver(nodes.client, local.id)
  },
  close
})
