import { systemClock } from '../../../src/lib/clock.ts'
import { type LoggerFactory, noLogger } from '../../../src/lib/logger.ts'
import { Collector, type CollectorComponents } from '../../../src/metadata/collection.ts'
import type { TestRepository } from '../repository.ts'

/** Makes the collector of a test repository; the test may put others in the place of its parts. */
export function collectorOf(
  { versions, providers, kept }: TestRepository,
  others: Partial<CollectorComponents> & { readonly logger?: LoggerFactory } = {}
): Collector {
  return new Collector({
    versions: versions.collected,
    providers: async () => Array.from(providers, ([id, store]) => ({ id, store })),
    metadataProviders: () => [{ id: 'metadata', store: kept }],
    pages: kept,
    clock: systemClock,
    logger: noLogger,
    ...others
  })
}
