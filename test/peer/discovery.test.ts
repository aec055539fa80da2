import { afterEach, expect, test } from '@jest/globals'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes, systemRandom } from '../../src/lib/random.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { type ImageDirectoryOptions, KadImageDirectory } from '../../src/peer/discovery.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import { addressOf, DEPLOYER, PeerCluster } from '../support/peer-cluster.ts'

const ROOT = new Uint8Array(32).fill(7)
const OTHER_ROOT = new Uint8Array(32).fill(8)

let cluster = new PeerCluster()
const directories: KadImageDirectory[] = []
afterEach(async () => {
  await Promise.all(directories.splice(0).map(async (directory) => directory.stop()))
  await cluster.stop()
  cluster = new PeerCluster()
})

function directoryOf(node: Libp2pNode, options?: ImageDirectoryOptions): KadImageDirectory {
  const components = { clock: systemClock, random: systemRandom, logger: noLogger }
  const directory = new KadImageDirectory({ ...components, node, dht: node.dht }, options)
  directories.push(directory)
  return directory
}

async function collect(directory: KadImageDirectory, root = ROOT): Promise<string[]> {
  const found: string[] = []
  for await (const peerId of directory.find(root)) found.push(peerId)
  return found
}

async function untilFound(directory: KadImageDirectory, root = ROOT): Promise<string[]> {
  for (;;) {
    const found = await collect(directory, root)
    if (found.length > 0) return found
    await nextTurn()
  }
}

async function deployer(server: Libp2pNode): Promise<Libp2pNode> {
  const node = await cluster.member({ grant: DEPLOYER })
  await node.connect(addressOf(server))
  return node
}

test('finds who has announced an image, and nobody for another image', async () => {
  const server = await cluster.member()
  const [holder, seeker] = [await deployer(server), await deployer(server)]
  directoryOf(holder).announce(ROOT)

  const found = await untilFound(directoryOf(seeker))
  const others = await collect(directoryOf(seeker), OTHER_ROOT)

  expect(found).toEqual([holder.peerId])
  expect(others).toEqual([])
})

test('finds the server itself, and lets the server find others', async () => {
  const server = await cluster.member()
  const client = await deployer(server)
  const [ofServer, ofClient] = [directoryOf(server), directoryOf(client)]

  ofServer.announce(ROOT)
  ofClient.announce(OTHER_ROOT)

  expect(await untilFound(ofClient)).toEqual([server.peerId])
  expect(await untilFound(ofServer, OTHER_ROOT)).toEqual([client.peerId])
})

test('does not find itself', async () => {
  const server = await cluster.member()
  const [holder, seeker] = [await deployer(server), await deployer(server)]
  const directory = directoryOf(holder)
  directory.announce(ROOT)
  await untilFound(directoryOf(seeker))

  expect(await collect(directory)).toEqual([])
})

test('can be dialled by what was found', async () => {
  const server = await cluster.member()
  const [holder, seeker] = [await deployer(server), await deployer(server)]
  const spec = { id: '/blobswarm/test/1', maxMessageBytes: 1000 }
  await holder.serve(spec, async () => {})
  directoryOf(holder).announce(ROOT)
  const [found = ''] = await untilFound(directoryOf(seeker))

  const channel = await seeker.open(found, spec)

  expect(channel.remote.peerId).toBe(holder.peerId)
  await channel.close()
})

test('announces again when the server has lost its memory', async () => {
  const seed = secureBytes(32)
  const server = await cluster.member({ seed })
  const address = addressOf(server)
  const [listen = ''] = address.split('/p2p/')
  const [holder, seeker] = [await cluster.member({ grant: DEPLOYER }), await cluster.member()]
  for (const node of [holder, seeker]) node.keepConnected([address])
  directoryOf(holder).announce(ROOT)
  await untilFound(directoryOf(seeker))

  await server.stop()
  await cluster.member({ seed, listen: [listen] })
  const found = await untilFound(directoryOf(await deployer(seeker)))

  expect(found).toEqual([holder.peerId])
})

test('ends at once when nobody could know', async () => {
  const alone = await cluster.member()

  expect(await collect(directoryOf(alone))).toEqual([])
})

test('can be given up', async () => {
  const server = await cluster.member()
  const directory = directoryOf(await deployer(server))
  const controller = new AbortController()
  controller.abort(new Error('enough'))

  const finding = directory.find(ROOT, { signal: controller.signal }).next()

  await expect(finding).rejects.toThrow('enough')
})

test('has a limit of announcements, and room again after a withdrawal', async () => {
  const alone = await cluster.member()
  const directory = directoryOf(alone, { maxImages: 1 })

  directory.announce(ROOT)
  directory.announce(ROOT)
  expect(() => directory.announce(OTHER_ROOT)).toThrow('exceeds the limit')
  directory.withdraw(ROOT)
  directory.withdraw(ROOT)

  expect(() => directory.announce(OTHER_ROOT)).not.toThrow()
})
