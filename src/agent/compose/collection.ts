import type { ProviderManager } from '../../chunks/provider-manager-types.ts'
import type { CollectableProvider } from '../../chunks/provider-types.ts'
import { systemClock } from '../../lib/clock.ts'
import { Collector } from '../../metadata/collection.ts'
import type { CollectionMember } from '../../metadata/collection-participants.ts'
import type { CollectedVersions } from '../../metadata/collection-types.ts'
import type { AgentService } from '../agent.ts'
import { CollectionTimer } from '../collection-timer.ts'
import type { Foundation } from './foundation.ts'
import type { Storage } from './storage.ts'

/** What the collector reaches besides the metadata. */
export interface CollectedParts {
  readonly versions: CollectedVersions
  readonly providers: ProviderManager
  readonly directory: { open(id: string): CollectableProvider | undefined }
}

/** The collector, which runs beside the version manager. */
export function composeCollector(
  { logger, metrics }: Foundation,
  { metadata }: Storage,
  { versions, providers, directory }: CollectedParts
): Collector {
  return new Collector({
    versions,
    providers: async (options): Promise<CollectionMember<CollectableProvider>[]> => {
      const states = await providers.list(options)
      return states.map(({ id, condition }) => ({
        id,
        store: condition === 'dead' ? undefined : directory.open(id)
      }))
    },
    metadataProviders: () => metadata.owners(),
    pages: metadata,
    clock: systemClock,
    logger,
    metrics
  })
}

/** Collects again and again, unless that is left to those who ask for it. */
export function composeCollectionTimer(
  { config }: Foundation,
  collector: Collector | undefined
): AgentService[] {
  const { every } = config.collection
  if (collector === undefined || every === 0) return []
  return [new CollectionTimer({ collector, clock: systemClock }, every)]
}
