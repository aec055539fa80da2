import { afterEach, expect, test } from '@jest/globals'
import { LocalProviderManager } from '../../../src/chunks/provider-manager.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { nextTurn } from '../../../src/lib/turn.ts'
import { serveProviders } from '../../../src/peer/protocols/providers-serve.ts'
import { RemoteProviderManager } from '../../../src/peer/remote/provider-manager.ts'
import type { ProtocolSpec } from '../../../src/peer/types.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'
import { addressOf, PeerCluster } from '../../support/peer-cluster.ts'

const UNKNOWN: ProtocolSpec = { id: '/blobswarm/unknown/1', maxMessageBytes: 4000 }
const REFUSED: ProtocolSpec = { id: '/blobswarm/refused/1', maxMessageBytes: 4000 }

const remotes: RemoteProviderManager[] = []

afterEach(async () => {
  await Promise.all(remotes.splice(0).map((remote) => remote.stop()))
})

function remoteOf(node: MemoryNode): RemoteProviderManager {
  const remote = new RemoteProviderManager(
    { node, clock: systemClock, find: () => 'manager' },
    { retryForMs: 5000, retryPauseMs: 5 }
  )
  remotes.push(remote)
  return remote
}

async function serve(node: MemoryNode): Promise<void> {
  const common = { clock: systemClock, logger: noLogger }
  const providers = new LocalProviderManager({ clock: systemClock, random: seededRandom(1) })
  await serveProviders(node, { ...common, providers })
}

test('waits for a peer that can be connected to and does not serve yet, as after a start', async () => {
  const network = new MemoryNetwork()
  const manager = network.node('manager')
  const client = network.node('client')

  const listing = remoteOf(client).list()
  while (client.opened.length < 2) await nextTurn()
  await serve(manager)

  expect(await listing).toEqual([])
})

test('a protocol that a node does not serve is told from one that it refuses', async () => {
  const cluster = new PeerCluster()
  const [server, client] = [await cluster.member(), await cluster.member()]
  await server.serve(
    REFUSED,
    async () => {},
    () => false
  )
  await client.connect(addressOf(server))

  const unknown = client.open(server.peerId, UNKNOWN)
  const refused = client.open(server.peerId, REFUSED)

  await expect(unknown).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED', isUnknown: true })
  await expect(refused).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED', isUnknown: false })
  await cluster.stop()
})

test('does not ask again where it may not', async () => {
  const network = new MemoryNetwork()
  await serve(network.node('manager'))
  const client = network.node('client', { rights: new Set() })

  await expect(remoteOf(client).list()).rejects.toMatchObject({
    code: 'ERR_PROTOCOL_REFUSED',
    isUnknown: false
  })
  expect(client.opened).toHaveLength(1)
})
