import { systemClock } from '../../lib/clock.ts'
import type { SwarmService } from '../../peer/swarm/swarm-service.ts'
import { ImageCache } from '../image-cache.ts'
import type { Foundation } from './foundation.ts'
import type { Storage } from './storage.ts'

/** The images that this agent pulled, which make room for others, and for what it keeps as a provider. */
export function composeImageCache(
  { config, logger, metrics }: Foundation,
  { store, cacheStore, cacheLimitBytes, cacheFreeBytes, catalogue, eviction }: Storage,
  swarm: SwarmService
): ImageCache {
  const components = {
    store: cacheStore,
    held: store,
    catalogue,
    swarm,
    clock: systemClock,
    log: logger.forComponent('blobswarm:agent:image-cache'),
    metrics,
    limitBytes: cacheLimitBytes,
    freeBytes: cacheFreeBytes
  }
  const cache = new ImageCache(components, { waitMs: config.storage.cacheWait })
  eviction.trim = async (bytes) => await cache.trim(bytes)
  return cache
}
