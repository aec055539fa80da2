import { once } from 'node:events'
import net from 'node:net'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import { ReadBuffers } from '../../src/chunks/read-buffers.ts'
import type { ChunkStore } from '../../src/chunks/store-types.ts'
import { fromHex, MIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes, systemRandom } from '../../src/lib/random.ts'
import { Authority } from '../../src/peer/authority.ts'
import { Libp2pNode } from '../../src/peer/node.ts'
import { SwarmService } from '../../src/peer/swarm/swarm-service.ts'
import type { ImageDirectory } from '../../src/peer/types.ts'
import type { End, EndSettings } from './ends.ts'
import { manifestOf, storeRandomImage } from './image.ts'

/** Everybody is told whom to ask. */
const noDirectory: ImageDirectory = {
  announce: () => {},
  withdraw: () => {},
  find: async function* () {}
}

/** An agent's swarm, node and store without the rest of an agent. */
export async function swarmEnd(settings: EndSettings): Promise<End> {
  const { kind, isSource, bytes, folder, uploadRate, announcePort } = settings
  const shared = { clock: systemClock, random: systemRandom, logger: noLogger }
  const announce = announcePort === undefined ? [] : [`/ip4/127.0.0.1/tcp/${announcePort}`]
  const ownPort = announcePort === undefined ? 0 : await freePort()
  const listen = [`/ip4/127.0.0.1/tcp/${ownPort}`]
  const node = await Libp2pNode.create(shared, secureBytes(32), { announce, listen })
  const authority = new Authority(fromHex(settings.authoritySeed), systemClock)
  const role = isSource ? 'provider' : 'deploy'
  const certificate = authority.issue(node.peerId, { roles: [role], rights: ['read'] })
  node.membership.enter({ clusterId: authority.clusterId, certificate })
  await node.start()

  const readBuffers = new ReadBuffers(8 * MIB)
  const disk = new DiskStore(
    { ...shared, readBuffers },
    { directory: folder, durability: 'memory' }
  )
  await disk.start()
  const ids = isSource ? await storeRandomImage(disk, bytes) : undefined
  const store = kind === 'dropped' && !isSource ? droppingStore(disk) : disk
  const service = new SwarmService(
    { ...shared, node, store, readBuffers, directory: noDirectory },
    { uploads: { bytesPerSecond: uploadRate }, session: { maxNeighbours: 20 } }
  )
  await service.start()
  if (ids !== undefined) await service.hold(manifestOf(ids))
  return {
    address: `${node.addresses()[0]}`,
    ownPort,
    ...(ids === undefined ? {} : { ids }),
    fetch: async (addresses, image) => fetchAll({ node, service }, addresses, image),
    forget: async (image) => service.release(manifestOf(image).root),
    stop: async () => {
      await service.stop()
      await node.stop()
      await disk.stop()
    }
  }
}

async function fetchAll(
  { node, service }: { node: Libp2pNode; service: SwarmService },
  addresses: readonly string[],
  image: string
): Promise<number> {
  const sources: string[] = []
  for (const address of addresses) sources.push((await node.connect(address)).peerId)
  const began = performance.now()
  await service.download(manifestOf(image), { sources })
  return performance.now() - began
}

/** Has nothing and takes everything. */
function droppingStore(disk: DiskStore): ChunkStore {
  return new Proxy(disk, {
    get: (target, key) => {
      if (key === 'put') return async () => true
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const closed = once(server, 'close')
  server.close()
  await closed
  return port
}
