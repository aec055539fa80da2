import { loadManifest } from '../../chunks/manifest-load.ts'
import { systemClock } from '../../lib/clock.ts'
import { systemRandom } from '../../lib/random.ts'
import { pageFetcher } from '../../metadata/page-fetch.ts'
import { KadImageDirectory } from '../../peer/discovery.ts'
import { ManagerFinder } from '../../peer/manager-finder.ts'
import { SwarmService } from '../../peer/swarm/swarm-service.ts'
import type { Foundation } from './foundation.ts'
import { serviceOf } from './service.ts'
import type { Storage } from './storage.ts'

/** This agent's part in the swarms of all images, and what else it finds through the DHT. */
export function composeSwarm(
  foundation: Foundation,
  { store, readBuffers, metadata, provider, catalogue }: Storage
) {
  const { config, node, logger, metrics, events } = foundation
  const { maxNeighbours, uploadRate, downloadRate } = config.swarm
  const { stallTimeout: silenceMs, giveUpAfter: stallMs } = config.swarm
  const images = new KadImageDirectory({
    node,
    dht: node.dht,
    clock: systemClock,
    random: systemRandom,
    logger
  })
  const fetchPages = pageFetcher(metadata)
  const service = new SwarmService(
    {
      node,
      zone: config.cluster.zone,
      directory: images,
      store,
      readBuffers,
      clock: systemClock,
      random: systemRandom,
      logger,
      metrics,
      events,
      loadManifest: async (root, options) => {
        const cached = await catalogue.manifest(root)
        // A provider keeps chunks of images that nobody has told it about.
        if (cached !== undefined || provider === undefined) return cached
        return await loadManifest(root, fetchPages, options)
      }
    },
    {
      downloadBytesPerSecond: rateOf(downloadRate),
      uploads: { bytesPerSecond: rateOf(uploadRate) },
      session: { maxNeighbours, download: { silenceMs, stallMs } }
    }
  )
  const metadataProviders = (): string[] =>
    node.membership.metadataList?.providers.map(({ peerId }) => peerId) ?? []
  const finder = new ManagerFinder(
    { node, directory: images, metadataProviders, clock: systemClock, logger },
    { roles: config.agent.roles }
  )
  return {
    service,
    directory: images,
    services: [
      serviceOf('image directory', images),
      serviceOf('swarm', service),
      serviceOf('manager finder', finder)
    ]
  }
}

function rateOf(bytesPerSecond: number): number | undefined {
  return bytesPerSecond === 0 ? undefined : bytesPerSecond
}
