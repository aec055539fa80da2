import { noLogger } from '../../../src/lib/logger.ts'
import { BlobReader, type Snapshot } from '../../../src/metadata/blob-reader.ts'
import type { VersionRef } from '../../../src/metadata/types.ts'
import type { TestRepository } from '../repository.ts'

/** Opens a version with a reader that remembers nothing of earlier ones. */
export async function openVersion(bench: TestRepository, ref: VersionRef): Promise<Snapshot> {
  const { versions, metadata, pool: reader, verifier } = bench
  const blobs = new BlobReader({ metadata, reader, verifier, logger: noLogger })
  return await blobs.open(await versions.collected.recordOf(ref))
}
