import type { LocalProviderManager } from '../../chunks/provider-manager.ts'
import { systemClock } from '../../lib/clock.ts'
import { systemRandom } from '../../lib/random.ts'
import { Repairer } from '../../metadata/repair.ts'
import type { ChunkHoarder, RepairerComponents } from '../../metadata/repair-types.ts'
import { ScrubTimer } from '../scrub-timer.ts'
import type { Foundation } from './foundation.ts'
import type { Storage } from './storage.ts'

/** The scrubber of a provider, unless there shall be none. */
export function composeScrubber(
  { config, data, logger, metrics }: Foundation,
  { kept: store, provider }: Storage
): ScrubTimer | undefined {
  const { every: everyMs, rate: bytesPerSecond } = config.scrub
  if (provider === undefined || store === undefined || everyMs === 0) return undefined
  const log = logger.forComponent('blobswarm:agent:scrubber')
  const components = { store, data, clock: systemClock, log, metrics }
  return new ScrubTimer(components, { everyMs, bytesPerSecond })
}

/** Agents that are asked for what no provider has. */
const MAX_HOARDERS = 256

/** Repair of the whole cluster, which runs beside the provider manager. */
export function composeRepairer(
  { config, node, logger, metrics }: Foundation,
  { metadata, signer, verifier, sources }: Storage,
  managers: {
    readonly providers: LocalProviderManager
    readonly directory: RepairerComponents['directory']
  }
): Repairer {
  const addressesOf = (id: string): readonly string[] =>
    id === node.peerId ? node.addresses() : node.addressesOf(id)
  const hoarders = (): ChunkHoarder[] => {
    const agents = node
      .members()
      .filter(({ roles }) => roles.has('deploy') && !roles.has('provider'))
    return agents.slice(0, MAX_HOARDERS).flatMap(({ peerId }) => {
      const source = { id: peerId, addresses: addressesOf(peerId) }
      const opened = sources.open(source)
      return opened === undefined
        ? []
        : [{ source, holds: async (ids, options) => await opened.holds(ids, options) }]
    })
  }
  const { every, copies, deadAfter } = config.repair
  return new Repairer(
    {
      ...managers,
      metadataProviders: () => metadata.owners(),
      metadata,
      signer,
      verifier,
      clock: systemClock,
      random: systemRandom,
      hoarders,
      addressesOf,
      logger,
      metrics
    },
    {
      replicas: config.storage.replicas,
      everyMs: every,
      deadAfterMs: deadAfter,
      maxCopies: copies
    }
  )
}
