import { HASH_CODE } from '../chunks/chunk-id.ts'
import { ChunkList } from '../chunks/chunk-list.ts'
import {
  type BuiltManifest,
  buildManifest,
  encodeManifestRoot,
  manifestPageId,
  manifestShape
} from '../chunks/manifest.ts'
import type { FetchPages } from '../chunks/manifest-load.ts'
import { updateManifest } from '../chunks/manifest-update.ts'
import type { ChunkReader, ChunkWriter } from '../chunks/replica-types.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { equalBytes, toHex } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import { chunksOf } from './geometry.ts'
import type { LeafList } from './leaf-list.ts'
import { loadTicketLeafList } from './leaf-list-codec.ts'
import { ManifestView } from './manifest-view.ts'
import { pageFetcher } from './page-fetch.ts'
import { sealChunks } from './seal-chunks.ts'
import { type SealedManifest, sealLocations } from './seal-locations.ts'
import type { Sealer, SealRequest, SignedVersionRecord } from './sealing-types.ts'
import type { Signer, Verifier } from './signature-types.ts'
import type { PageStore, RecordStore } from './store-types.ts'
import { signRecord, verifyRecord, versionRecordName } from './version-record.ts'

/** Manifest pages that are stored together, 1 MiB of them. */
const PAGES_PER_BATCH = 32

/** Times that location records are made again because repair has written newer ones meanwhile. */
const MAX_LOCATION_TRIES = 4

export interface ManifestSealerComponents {
  readonly metadata: PageStore & RecordStore
  readonly reader: ChunkReader
  readonly writer: Pick<ChunkWriter, 'write'>
  readonly signer: Signer
  /** Trusts at least the signer. */
  readonly verifier: Verifier
  readonly logger: LoggerFactory
}

/**
 * Makes the manifest of a version out of its parent's and its leaf list, never out of the tree, at
 * the cost of what the version changed. Pages are stored first, then locations, then the signed
 * record; a sealing that was cut off is simply done again.
 */
export class ManifestSealer implements Sealer {
  readonly #components: ManifestSealerComponents
  readonly #fetchPages: FetchPages
  readonly #logger: Logger

  constructor(components: ManifestSealerComponents) {
    this.#components = components
    this.#fetchPages = pageFetcher(components.metadata)
    this.#logger = components.logger.forComponent('blobswarm:metadata:sealing')
  }

  /**
   * @throws {ChunkUnavailableError | MetadataMissingError} if something it needs cannot be read
   *   now.
   * @throws {ChunkMismatchError | MalformedError} if the parent manifest is not sound.
   */
  async seal(request: SealRequest, options: AbortOptions = {}): Promise<SignedVersionRecord> {
    const stored = await this.#storedRecord(request, options)
    if (stored !== undefined) return stored
    const leaves = await this.#loadLeaves(request, options)
    const parent = await this.#openParent(request, options)
    const logger = this.#logger
    const sealing = { request, leaves, parent }
    const sealed = await sealChunks({ ...this.#components, logger }, sealing, options)
    const built = await buildFor(request, sealed, parent?.root, this.#fetchPages)
    await this.#putPages(built, options)
    await this.#putLocations(built.root, { sealed, parent }, options)
    return await this.#putRecord(request, built.root, options)
  }

  /** The record, if the version was sealed before. */
  async #storedRecord(
    { description: { blob }, version }: SealRequest,
    options: AbortOptions
  ): Promise<SignedVersionRecord | undefined> {
    const { metadata, verifier } = this.#components
    const name = versionRecordName(blob, version)
    const [stored] = await metadata.getRecords([name], options)
    if (stored === undefined) return undefined
    try {
      return verifyRecord(verifier, stored.envelope, { blob, version })
    } catch (error) {
      this.#logger.error('%s is not to be trusted and made again: %e', name, error)
      return undefined
    }
  }

  /**
   * A list that no writer of ours makes counts as empty, always: it must not hold up later
   * versions.
   */
  async #loadLeaves(
    { leafList, version, description: { blob } }: SealRequest,
    options: AbortOptions
  ): Promise<LeafList> {
    const onMalformed = (error: Error): void =>
      this.#logger.error('leaf list of %s is ignored: %e', versionRecordName(blob, version), error)
    return await loadTicketLeafList(leafList, this.#fetchPages, onMalformed, options)
  }

  async #openParent(
    { truncates, parentRecord }: SealRequest,
    options: AbortOptions
  ): Promise<ManifestView | undefined> {
    if (truncates || parentRecord === undefined) return undefined
    return await this.#view(parentRecord.record.manifestRoot, options)
  }

  async #view(root: ChunkId, options: AbortOptions): Promise<ManifestView> {
    const { metadata: records, verifier } = this.#components
    const components = { fetchPages: this.#fetchPages, records, verifier, logger: this.#logger }
    return await ManifestView.open(components, root, options)
  }

  async #putPages({ pages }: BuiltManifest, options: AbortOptions): Promise<void> {
    for (let from = 0; from < pages.length; from += PAGES_PER_BATCH) {
      await this.#components.metadata.putPages(pages.slice(from, from + PAGES_PER_BATCH), options)
    }
  }

  /**
   * Locations are hints, so a version is not kept waiting for them if others write them all the
   * time.
   */
  async #putLocations(
    root: ChunkId,
    changes: Omit<SealedManifest, 'manifest'>,
    options: AbortOptions
  ): Promise<void> {
    const { metadata: records, signer } = this.#components
    const components = { records, signer, logger: this.#logger }
    for (let tries = 1; ; tries++) {
      const manifest = await this.#view(root, options)
      try {
        await sealLocations(components, { manifest, ...changes }, options)
        return
      } catch (error) {
        if (errorCode(error) !== 'ERR_RECORD_CONFLICT') throw error
        if (tries < MAX_LOCATION_TRIES) continue
        this.#logger.error('locations of %s are not written: %e', toHex(root), error)
        return
      }
    }
  }

  async #putRecord(
    request: SealRequest,
    manifestRoot: ChunkId,
    options: AbortOptions
  ): Promise<SignedVersionRecord> {
    const { description, version, bytes, parent, timeMs, note } = request
    const { blob, chunkBytes } = description
    const { metadata, signer } = this.#components
    const hashCode = HASH_CODE
    const record = {
      blob,
      version,
      bytes,
      chunkBytes,
      hashCode,
      manifestRoot,
      parent,
      timeMs,
      note
    }
    const signed = signRecord(signer, record)
    const name = versionRecordName(blob, version)
    const { envelope } = signed
    await metadata.putRecords([{ name, sequence: 1, purpose: 'version-record', envelope }], options)
    this.#logger.debug('sealed %s as %s', name, toHex(manifestRoot).slice(0, 16))
    return signed
  }
}

/** Builds the manifest of a version; both ways give the same pages, at different cost. */
async function buildFor(
  { bytes, description: { chunkBytes } }: SealRequest,
  sealed: LeafList,
  parentRoot: ChunkId | undefined,
  fetchPages: FetchPages
): Promise<BuiltManifest> {
  const chunkCount = chunksOf(bytes, chunkBytes)
  if (parentRoot === undefined && sealed.leafCount * 4 > chunkCount) {
    const list = new ChunkList(chunkCount)
    for (const [index, id] of chunksIn(sealed)) list.set(index, id)
    return buildManifest(list, bytes, chunkBytes)
  }
  const empty = encodeManifestRoot(manifestShape(0, chunkBytes), new ChunkList(0))
  const emptyRoot = manifestPageId(empty)
  const root = parentRoot ?? emptyRoot
  // The empty manifest is a page that nobody has to have stored.
  const fetchOrEmpty: FetchPages = async (ids, options) =>
    ids.every((id) => equalBytes(id, emptyRoot))
      ? ids.map(() => empty)
      : await fetchPages(ids, options)
  return await updateManifest(
    { root, fetchPages: fetchOrEmpty },
    { bytes, chunks: chunksIn(sealed) }
  )
}

function* chunksIn(sealed: LeafList): Generator<[index: number, id: ChunkId]> {
  for (let row = 0; row < sealed.fragmentCount; row++) {
    yield [sealed.index(row), sealed.fragment(row).chunk]
  }
}
