import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { type StoredWrite, VersionPublisher } from '../../src/metadata/publishing.ts'
import type { Signer } from '../../src/metadata/signature-types.ts'
import type { MetadataStore } from '../../src/metadata/store-types.ts'
import type { BlobDescription } from '../../src/metadata/types.ts'
import type { VersionManager } from '../../src/metadata/version-manager-types.ts'

/** What a writer publishes through. */
export interface WriterParts {
  readonly versions: VersionManager
  readonly metadata: MetadataStore
  readonly signer: Signer
}

export function publisherOf(parts: WriterParts): VersionPublisher {
  const logger = noLogger.forComponent('experiment')
  return new VersionPublisher({ ...parts, clock: systemClock, logger })
}

/**
 * A version that rewrites one whole chunk. The chunk's id is random and its bytes were never stored: nobody reads them,
 * so that the metadata alone is measured, and no two versions have the same leaf list.
 */
export function oneChunkWrite(
  description: BlobDescription,
  index: number,
  random: () => number
): StoredWrite {
  const { chunkBytes } = description
  const chunk = Uint8Array.from({ length: 32 }, () => Math.floor(random() * 256))
  const leaves = new LeafListBuilder({ expectedFragments: 1 })
  const replicas = ['12D3KooWExperimentProviderWithTheUsualLengthOfItsName']
  leaves.add(index, { at: 0, length: chunkBytes, chunk, chunkOffset: 0, replicas })
  return {
    description,
    leaves: leaves.build(),
    endBytes: (index + 1) * chunkBytes,
    truncates: false
  }
}
