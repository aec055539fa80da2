import { afterEach, expect, test } from '@jest/globals'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { KadImageDirectory } from '../../src/peer/discovery.ts'
import { ManagerFinder } from '../../src/peer/manager-finder.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import { PROVIDERS_PROTOCOL } from '../../src/peer/protocols/providers.ts'
import { TREE_PROTOCOL } from '../../src/peer/protocols/tree.ts'
import { memberWithRole } from '../../src/peer/remote/find-role.ts'
import type { Role } from '../../src/peer/types.ts'
import { addressOf, PeerCluster } from '../support/peer-cluster.ts'

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

/** An agent that knows nobody but the metadata provider, and is not connected to it. */
async function agent(cluster: PeerCluster, server: Libp2pNode, role: Role): Promise<Libp2pNode> {
  const node = await cluster.member({ grant: { roles: [role], rights: ['read'] } })
  await node.learnAddresses(server.peerId, [addressOf(server)])
  return node
}

async function startFinder(node: Libp2pNode, role: Role, server: Libp2pNode): Promise<void> {
  const [clock, logger, random] = [systemClock, noLogger, seededRandom(1)]
  const directory = new KadImageDirectory({ node, dht: node.dht, clock, random, logger })
  const metadataProviders = (): string[] => [server.peerId]
  const components = { node, directory, metadataProviders, clock, logger }
  const finder = new ManagerFinder(components, { roles: [role] })
  await finder.start()
  stops.push(
    () => directory.stop(),
    () => finder.stop()
  )
}

async function untilFound(node: Libp2pNode, role: Role): Promise<string> {
  const find = memberWithRole(node, role)
  const { promise, resolve } = Promise.withResolvers<string>()
  const look = (): void => {
    const found = find()
    if (found !== undefined) resolve(found)
  }
  const stop = node.onMembersChanged(look)
  look()
  return promise.finally(stop)
}

test('a manager that is neither the first agent nor a metadata provider is found, whoever comes first', async () => {
  const cluster = new PeerCluster()
  stops.push(() => cluster.stop())
  const server = await cluster.member({ grant: { roles: ['metadata'], rights: ['read'] } })
  await server.serve(TREE_PROTOCOL, async (channel) => channel.close())
  const early = await agent(cluster, server, 'provider')
  await startFinder(early, 'provider', server)
  const manager = await agent(cluster, server, 'providerManager')
  await manager.serve(PROVIDERS_PROTOCOL, async (channel) => channel.close())

  await startFinder(manager, 'providerManager', server)
  const late = await agent(cluster, server, 'deploy')
  await startFinder(late, 'deploy', server)

  expect(await untilFound(early, 'providerManager')).toBe(manager.peerId)
  expect(await untilFound(late, 'providerManager')).toBe(manager.peerId)
})
