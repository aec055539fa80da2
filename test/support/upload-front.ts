import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { type LoggerFactory, noLogger } from '../../src/lib/logger.ts'
import type { Metrics } from '../../src/lib/metrics.ts'
import { KeptUploads, type KeptUploadsOptions } from '../../src/metadata/kept-uploads.ts'
import { Repository } from '../../src/metadata/repository.ts'
import { UploadJournal } from '../../src/metadata/upload-journal.ts'
import type { TestRepository } from './repository.ts'

/** A front that keeps broken uploads, over the providers and managers of a test repository. */
export interface UploadFront {
  readonly repository: Repository
  readonly kept: KeptUploads
  stop(): Promise<void>
}

export interface UploadFrontOptions extends KeptUploadsOptions {
  /** Where the journal is. @default the folder of the repository */
  readonly folder?: string
  /** @default 65536 */
  readonly chunkBytes?: number
  /** @default the machine's clock */
  readonly clock?: Clock
  readonly logger?: LoggerFactory
  readonly metrics?: Metrics
}

/** Starts one; the next one with the same folder finds its journal. */
export async function startUploadFront(
  run: TestRepository,
  options: UploadFrontOptions = {}
): Promise<UploadFront> {
  const { chunkBytes = 65_536, leaseMs } = options
  const { clock = systemClock, logger = noLogger, metrics } = options
  const { folder = run.folder } = options
  const { versions, metadata, pool, signer, verifier, stagingFolder } = run
  const shared = { clock, logger, metrics, writer: pool }
  const kept = new KeptUploads({ ...shared, journal: new UploadJournal(folder) }, options)
  await kept.start()
  const over = { versions, namespace: versions.namespace, metadata, reader: pool, signer, verifier }
  const repository = new Repository(
    { ...shared, ...over, keptUploads: kept },
    { stagingFolder, chunkBytes, leaseMs, replicas: 1 }
  )
  return { repository, kept, stop: async () => await kept.stop() }
}
