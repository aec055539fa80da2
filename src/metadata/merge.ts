import type { ChunkReader, ChunkWriter } from '../chunks/replica-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import { anySignal } from '../lib/signals.ts'
import type { Snapshot } from './blob-reader.ts'
import { ChunkLeases } from './chunk-leases.ts'
import { LeafListBuilder } from './leaf-list.ts'
import { addMergedLeaves } from './merged-leaves.ts'
import { VersionPublisher } from './publishing.ts'
import type { Signer } from './signature-types.ts'
import type { MetadataStore } from './store-types.ts'
import type { BlobDescription, ByteRange, Version, VersionSummary } from './types.ts'
import { VersionHold } from './version-hold.ts'
import type { VersionManager } from './version-manager-types.ts'

export interface MergeComponents {
  readonly versions: VersionManager
  readonly metadata: MetadataStore
  readonly writer: ChunkWriter
  readonly reader: ChunkReader
  readonly signer: Signer
  readonly clock: Clock
  readonly logger: LoggerFactory
}

/** A range of one version, and where in which blob it is to appear. */
export interface Merge {
  readonly source: Snapshot
  /** Clipped to the source. */
  readonly range: ByteRange
  /** Blob that gets another version. */
  readonly target: BlobDescription
  /** Where the range begins in the target. */
  readonly at: number
  /** Condition: the version is refused unless this path still names the target then. */
  readonly path: string
  /** Condition: the version is refused unless this one is the newest then. */
  readonly ifNewest?: Version | undefined
  readonly note?: string | undefined
  /** How long providers keep what nothing refers to yet. @default as ChunkLeases */
  readonly leaseMs?: number | undefined
}

/**
 * Publishes a version of the target in which the range reads as it does in the source. The source
 * is held meanwhile, and its chunks are leased until the new version names them.
 *
 * @throws {UnknownVersionError} if the source was removed and collected.
 * @throws {ChunkUnavailableError} if a chunk of the range is nowhere any more.
 * @throws {TicketConflictError} if a condition does not hold.
 */
export async function publishMerge(
  components: MergeComponents,
  merge: Merge,
  options: AbortOptions = {}
): Promise<VersionSummary> {
  const { versions, clock, signer } = components
  const logger = components.logger.forComponent('blobswarm:metadata:merge')
  const { source, range, target, at, path, ifNewest, note } = merge
  const { blob, version } = source.record
  const held = { blob, version, holder: signer.peerId, purpose: `merge into ${path}` }
  const hold = await VersionHold.take({ versions, clock, logger }, held, options)
  const leaves = new LeafListBuilder()
  const lost = new AbortController()
  const signal = anySignal([options.signal, lost.signal])
  const leasing = { ...components, logger, chunks: leaves, onLost: (e: Error) => lost.abort(e) }
  const leases = new ChunkLeases(leasing, { leaseMs: merge.leaseMs })
  leases.start()
  try {
    const merged = { source: source.manifest, range, at, chunkBytes: target.chunkBytes }
    const bytes = await addMergedLeaves({ ...components, leaves }, merged, { signal })
    await leases.ensure({ signal })
    await leases.makeWhole({ chunkBytes: target.chunkBytes, stripe: target.blob, signal })
    leases.freeze()
    const publisher = new VersionPublisher({ ...components, logger })
    const endBytes = bytes === 0 ? 0 : at + bytes
    const write = { endBytes, truncates: false, path, ifNewest, note }
    const stored = { ...write, description: target, leaves: leaves.build() }
    return await publisher.publish(stored, { signal, leases })
  } finally {
    await leases.stop()
    await hold.release()
  }
}
