import type { Clock } from '../lib/clock.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import type { Random } from '../lib/random.ts'
import { putCloneRecord } from './clone-record.ts'
import { DurableState } from './durable-state.ts'
import { HoldTable } from './hold-table.ts'
import { LocalCollectedVersions } from './local-collected-versions.ts'
import { LocalNamespace } from './local-namespace.ts'
import { NamespaceState } from './namespace.ts'
import { NewBlobs } from './new-blobs.ts'
import { NewFiles } from './new-files.ts'
import { SealQueue } from './seal-queue.ts'
import type { Sealer } from './sealing-types.ts'
import type { Signer, Verifier } from './signature-types.ts'
import type { MetadataStore } from './store-types.ts'
import type { BlobId } from './types.ts'
import { VersionManagerState } from './version-manager.ts'
import { verifyRecord } from './version-record.ts'
import { SqliteVersionStore } from './version-store.ts'
import { WriterLeases } from './writer-leases.ts'

export interface LocalVersionManagerComponents {
  readonly sealer: Sealer
  /** Where leaf lists are read and the nodes of rolled-forward versions are put. */
  readonly metadata: MetadataStore
  /** Signs tickets, and the nodes of versions that are rolled forward. */
  readonly signer: Signer
  /** Trusts at least the signer. */
  readonly verifier: Verifier
  readonly clock: Clock
  readonly random: Random
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** Told once if the state can no longer be made durable; everything is refused from then on. */
  readonly onFailure: (error: Error) => void
}

export interface LocalVersionManagerOptions {
  /** Folder for the state's file. */
  readonly folder: string
  /** Public key of the cluster's authority, which goes into blob ids. @default no bytes */
  readonly clusterId?: Uint8Array | undefined
  /** How long a writer has for weaving before its version is finished for it. @default 30000 */
  readonly leaseMs?: number | undefined
  /** How long nothing must have been published before sealing begins unasked. @default 200 */
  readonly sealIdleMs?: number | undefined
  /** How long the path of an upload that never finished stays reserved. @default 7 days */
  readonly reservationMs?: number | undefined
  /** How old a blob must be that never had a path to count as removed. @default 1 day */
  readonly unnamedMs?: number | undefined
  /** Smallest chunk size of a new blob. @default MIN_CHUNK_BYTES */
  readonly minChunkBytes?: number | undefined
  /**
   * Whether the metadata providers are told what paths stand for, so that images can be found while
   * this version manager does not answer.
   *
   * @default false
   */
  readonly publishesPaths?: boolean | undefined
  /** Files, folders and reservations. @default 4000000 */
  readonly maxEntries?: number | undefined
}

/** What the parts use. */
export interface VersionPartsComponents extends Omit<LocalVersionManagerComponents, 'logger'> {
  readonly logger: Logger
  /** A version of the blob is sealed. */
  readonly onSealed: (blob: BlobId) => void
}

/** What a version manager on this machine is made of. */
export interface VersionParts {
  readonly state: DurableState
  readonly seals: SealQueue
  readonly collected: LocalCollectedVersions
  readonly leases: WriterLeases
  readonly newBlobs: NewBlobs
  readonly namespace: LocalNamespace
  readonly published: Counter | undefined
}

/** Makes the parts of a version manager, none of which runs yet. */
export function makeVersionParts(
  components: VersionPartsComponents,
  options: LocalVersionManagerOptions
): VersionParts {
  const { clock, random, metadata, signer, metrics, onFailure } = components
  const { leaseMs = 30_000, maxEntries } = options
  const versions = new VersionManagerState({ leaseMs })
  const isBusy = (blob: BlobId): boolean => versions.isOpen(blob)
  const state = new DurableState({
    store: new SqliteVersionStore(options.folder),
    versions,
    namespace: new NamespaceState({ isBusy, ...(maxEntries !== undefined && { maxEntries }) }),
    holds: new HoldTable(clock),
    onFailure
  })
  const seals = makeSealQueue(components, state, options.sealIdleMs)
  const collected = new LocalCollectedVersions(
    { state, seals, clock },
    { unnamedMs: options.unnamedMs, reservationMs: options.reservationMs }
  )
  const published = metrics?.counter('blobswarm_metadata_versions_published_total', {
    help: 'Versions that this version manager has published'
  })
  const { clusterId, minChunkBytes } = options
  const newBlobs = new NewBlobs({ clock, random }, { clusterId, minChunkBytes })
  const naming = { state, clock, newBlobs, seals }
  const newFiles = new NewFiles({ ...naming, metadata, signer, published })
  const namespace = new LocalNamespace({ ...naming, newFiles })
  const leases = new WriterLeases(clock, leaseMs)
  return { state, seals, collected, leases, newBlobs, namespace, published }
}

function makeSealQueue(
  components: VersionPartsComponents,
  state: DurableState,
  idleMs: number | undefined
): SealQueue {
  const { sealer, clock, verifier, logger } = components
  return new SealQueue(
    {
      versions: state.versions,
      sealer,
      sealClone: async (request, sealing) => await putCloneRecord(components, request, sealing),
      rangesOf: async ({ blob, version }) =>
        (await state.ranges(blob, { from: version, to: version }))[0],
      clock,
      logger,
      keep: async (blob, version, seal) => {
        verifyRecord(verifier, seal, { blob, version })
        await state.persist(state.versions.sealed(blob, version, seal))
        components.onSealed(blob)
      }
    },
    idleMs === undefined ? {} : { idleMs }
  )
}
