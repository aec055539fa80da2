import type { ChunkId } from '../../../src/chunks/types.ts'
import type { AbortOptions } from '../../../src/lib/abort-options.ts'
import { equalBytes } from '../../../src/lib/bytes.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { ManifestSealer } from '../../../src/metadata/sealing.ts'
import type { SealRequest, SignedVersionRecord } from '../../../src/metadata/sealing-types.ts'
import type { Signer } from '../../../src/metadata/signature-types.ts'
import type { MetadataStore } from '../../../src/metadata/store-types.ts'
import type { VersionRef } from '../../../src/metadata/types.ts'
import { gullible } from '../plain-signing.ts'
import type { CellPool } from './cells.ts'
import type { HistoryCounts } from './counts.ts'
import { HistoryFailure } from './failure.ts'
import { nameOf } from './model.ts'
import type { Actor, Scheduler } from './scheduler.ts'
import type { HistoryVersions } from './versions.ts'

export interface HistorySealerParts {
  readonly versions: HistoryVersions
  readonly pool: CellPool
  readonly manager: Signer
  readonly counts: HistoryCounts
}

/** Where a sealer is at work: at once, or call by call as an actor. */
export interface SealerPlace {
  readonly metadata: MetadataStore
  readonly turn?: { readonly actor: Actor; readonly scheduler: Scheduler } | undefined
}

/** Seals versions of a history, those that they stand on first. */
export class HistorySealer {
  readonly #parts: HistorySealerParts
  readonly #place: SealerPlace
  readonly #sealer: ManifestSealer

  constructor(parts: HistorySealerParts, place: SealerPlace) {
    this.#parts = parts
    this.#place = place
    this.#sealer = this.#sealerOver(place.metadata)
  }

  /** Seals a version unless it is. */
  async record(ref: VersionRef): Promise<SignedVersionRecord> {
    const unsealed = this.#unsealedBelow(ref)
    for (let next = unsealed.pop(); next !== undefined; next = unsealed.pop()) {
      const { envelope } = await this.#sealer.seal(this.#requestOf(next))
      const { versions, counts } = this.#parts
      const version = next
      await this.#inTurn(() => versions.keepSeal(version, envelope))
      counts.seals++
    }
    const record = this.#parts.versions.seal(ref)
    if (record === undefined) throw new HistoryFailure(`${nameOf(ref)} has no record`)
    return record
  }

  /**
   * Makes the record of a sealed version once more, as if there was none.
   *
   * @throws {HistoryFailure} if it is another one.
   */
  async sealAgain(ref: VersionRef): Promise<void> {
    const { versions, counts } = this.#parts
    const { metadata } = this.#place
    const forgetful: MetadataStore = {
      getNodes: (keys) => metadata.getNodes(keys),
      putNodes: (nodes, proof) => metadata.putNodes(nodes, proof),
      getPages: (ids) => metadata.getPages(ids),
      putPages: (pages) => metadata.putPages(pages),
      putRecords: (records) => metadata.putRecords(records),
      getRecords: async (names) => {
        const isHidden = names.some((name) => name.startsWith('version/'))
        return isHidden ? names.map(() => undefined) : await metadata.getRecords(names)
      }
    }
    const { envelope } = await this.#sealerOver(forgetful).seal(this.#requestOf(ref))
    const first = versions.seal(ref)?.envelope.payload ?? new Uint8Array()
    if (!equalBytes(first, envelope.payload)) {
      throw new HistoryFailure(`${nameOf(ref)} has another record when it is sealed again`)
    }
    counts.sealedAgain++
  }

  #sealerOver(metadata: MetadataStore): ManifestSealer {
    const { pool, manager } = this.#parts
    return new ManifestSealer({
      metadata,
      reader: { read: (id) => this.#inTurn(() => pool.read(id)) },
      writer: {
        write: (id: ChunkId, bytes: Uint8Array, _options?: AbortOptions) =>
          this.#inTurn(() => pool.write(id, bytes))
      },
      signer: manager,
      verifier: gullible,
      logger: noLogger
    })
  }

  /** The version, and below it those that are not sealed, down to one that starts from nothing. */
  #unsealedBelow(ref: VersionRef): VersionRef[] {
    const { versions } = this.#parts
    const unsealed: VersionRef[] = []
    for (let next: VersionRef | undefined = ref; next !== undefined; ) {
      if (versions.seal(next) !== undefined) break
      unsealed.push(next)
      next = versions.row(next).truncates ? undefined : versions.parentOf(next)
    }
    return unsealed
  }

  #requestOf(ref: VersionRef): SealRequest {
    const { versions } = this.#parts
    const { bytes, truncates, leafList, publishedMs, note } = versions.row(ref)
    const parent = versions.parentOf(ref)
    return {
      description: versions.describe(ref.blob),
      version: ref.version,
      bytes,
      truncates,
      ranges: versions.assigned(ref).ranges,
      leafList,
      timeMs: publishedMs,
      note,
      parent,
      parentRecord: truncates || parent === undefined ? undefined : versions.seal(parent)
    }
  }

  async #inTurn<T>(make: () => T | Promise<T>): Promise<T> {
    const { turn } = this.#place
    if (turn === undefined) return await make()
    return await turn.scheduler.call(turn.actor, 'seal', make)
  }
}
