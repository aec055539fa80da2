import { HASH_CODE } from '../chunks/chunk-id.ts'
import type { Manifest } from '../chunks/manifest.ts'
import { loadManifest } from '../chunks/manifest-load.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { errorCode, MalformedError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { pathRecordName, verifyPathRecord } from '../metadata/path-record.ts'
import { formatRef, parseRef } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import type { SignedVersionRecord, VersionRecord } from '../metadata/sealing-types.ts'
import type { Verifier } from '../metadata/signature-types.ts'
import type { PageStore, RecordStore } from '../metadata/store-types.ts'
import type { Version } from '../metadata/types.ts'
import { verifyRecord, versionRecordName } from '../metadata/version-record.ts'
import { PeerTimeoutError } from '../peer/errors.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import type { ImageCatalogue, ImageName } from './image-catalogue.ts'

export interface ImageOpenerComponents {
  readonly repository: Pick<Repository, 'record'>
  readonly metadata: Pick<PageStore & RecordStore, 'getPages' | 'getRecords'>
  readonly verifier: Verifier
  /** What this agent has in its cache. */
  readonly catalogue: Pick<ImageCatalogue, 'find' | 'manifest'>
  readonly swarm: Pick<SwarmService, 'fetchPages'>
  readonly clock: Clock
  readonly log: Logger
}

/** A version that can be fetched: its record and manifest are verified. */
export interface OpenedImage {
  readonly name: ImageName
  readonly record: VersionRecord
  readonly manifest: Manifest
  /** The version manager could not be asked, so that nobody holds the version for this agent. */
  readonly isOffline: boolean
}

export interface OpenOptions extends AbortOptions {
  /** Called when the record is there and the manifest is going to be loaded. */
  readonly onRecord?: (() => void) | undefined
}

/** How long the version manager is asked for what this agent knows too, if it can be reached at all. */
const RECORD_WAIT_MS = 3000
/** How long the metadata providers are asked for pages before the agents that have the image are. */
const PAGES_WAIT_MS = 10_000
const PAGES_ATTEMPTS = 3

const UNREACHABLE: ReadonlySet<string | undefined> = new Set([
  'ERR_PEER_UNREACHABLE',
  'ERR_PEER_TIMEOUT',
  'ERR_NOT_RUNNING'
])

/**
 * Finds the record and the manifest of a version. Where the version manager does not answer, in this agent's own cache
 * and at the metadata providers; the manifest also at the agents that have the image.
 */
export class ImageOpener {
  readonly #components: ImageOpenerComponents

  constructor(components: ImageOpenerComponents) {
    this.#components = components
  }

  /**
   * @throws {PathNotFoundError | UnknownVersionError} if there is no such image.
   * @throws {PeerUnreachableError | PeerTimeoutError} if nobody can be asked, and it is not here.
   */
  async open(ref: string, options: OpenOptions = {}): Promise<OpenedImage> {
    const { name, record, isOffline } = await this.#find(ref, options)
    options.onRecord?.()
    const manifest = await this.#manifest(record.manifestRoot, options)
    if (manifest.bytes !== record.bytes || manifest.chunkBytes !== record.chunkBytes) {
      const reason = `${manifest.bytes} bytes, the record says ${record.bytes}`
      throw new MalformedError('manifest', reason)
    }
    return { name, record, manifest, isOffline }
  }

  async #find(ref: string, options: AbortOptions): Promise<Omit<OpenedImage, 'manifest'>> {
    const { catalogue, log } = this.#components
    const { path, version } = parseRef(ref)
    const here = catalogue.find(path, version)
    // What cannot change is taken from elsewhere soon; what is newest only when there is no other way.
    const isQuick = here !== undefined || version !== undefined
    try {
      return await this.#ask(ref, isQuick ? RECORD_WAIT_MS : undefined, options)
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!UNREACHABLE.has(errorCode(error))) throw error
      const name = here ?? (await this.#published(path, version, options))
      if (name === undefined && isQuick) return await this.#ask(ref, undefined, options)
      if (name === undefined) throw error
      const known = formatRef({ path, version: name.version })
      log.info(
        '%s: the version manager does not answer, %s is known: %e',
        ref,
        known,
        toError(error)
      )
      const { record } = verifyRecord(this.#components.verifier, name.record)
      return { name, record, isOffline: true }
    }
  }

  /** Asks the version manager, which may take so long. */
  async #ask(
    ref: string,
    timeoutMs: number | undefined,
    options: AbortOptions
  ): Promise<Omit<OpenedImage, 'manifest'>> {
    const { repository, clock } = this.#components
    const { path } = parseRef(ref)
    const { signal } = options
    const ask = async (within: AbortOptions): Promise<SignedVersionRecord> =>
      await repository.record(ref, { signal: within.signal })
    const { record, envelope } =
      timeoutMs === undefined
        ? await ask(options)
        : await withDeadline(ask, {
            clock,
            timeoutMs,
            timedOut: () => new PeerTimeoutError('the version manager', ref, timeoutMs),
            signal
          })
    if (record.hashCode !== HASH_CODE) {
      throw new MalformedError('version record', `hash ${record.hashCode} is not known`)
    }
    return { name: { path, version: record.version, record: envelope }, record, isOffline: false }
  }

  /** What the metadata providers know of a path and its versions. */
  async #published(
    path: string,
    version: Version | undefined,
    { signal }: AbortOptions
  ): Promise<ImageName | undefined> {
    const { metadata, verifier, log } = this.#components
    try {
      const [named] = await metadata.getRecords([pathRecordName(path)], { signal })
      if (named === undefined) return undefined
      const newest = verifyPathRecord(verifier, named.envelope, path)
      const ref = { blob: newest.blob, version: version ?? newest.version }
      const [found] = await metadata.getRecords([versionRecordName(ref.blob, ref.version)], {
        signal
      })
      if (found === undefined) return undefined
      verifyRecord(verifier, found.envelope, ref)
      return { path, version: ref.version, record: found.envelope }
    } catch (error) {
      signal?.throwIfAborted()
      log.info('the record of %s cannot be had from metadata providers: %e', path, toError(error))
      return undefined
    }
  }

  async #manifest(root: ChunkId, options: AbortOptions): Promise<Manifest> {
    const here = await this.#components.catalogue.manifest(root)
    if (here !== undefined) return here
    const fetch = async (
      ids: readonly ChunkId[],
      within: AbortOptions = {}
    ): Promise<Uint8Array[]> => {
      // Where everybody starts at once, all who could be asked may be too busy to answer in time.
      for (let attempt = 1; ; attempt++) {
        try {
          return await this.#pages(root, ids, within)
        } catch (error) {
          within.signal?.throwIfAborted()
          const isNowhere = errorCode(error) === 'ERR_PAGES_UNAVAILABLE'
          if (!isNowhere || attempt >= PAGES_ATTEMPTS) throw error
        }
      }
    }
    return await loadManifest(root, fetch, options)
  }

  /** Pages that no metadata provider gives are asked of the agents that have the image. */
  async #pages(
    root: ChunkId,
    ids: readonly ChunkId[],
    { signal }: AbortOptions
  ): Promise<Uint8Array[]> {
    const { metadata, swarm, clock, log } = this.#components
    const timeoutMs = PAGES_WAIT_MS
    const timedOut = (): Error =>
      new PeerTimeoutError('a metadata provider', 'manifest pages', timeoutMs)
    let found: readonly (Uint8Array | undefined)[] = []
    try {
      found = await withDeadline(
        async (deadline) => await metadata.getPages(ids, { signal: deadline.signal }),
        {
          clock,
          timeoutMs,
          timedOut,
          signal
        }
      )
    } catch (error) {
      signal?.throwIfAborted()
      log.debug('manifest pages are asked of other agents: %e', toError(error))
    }
    const missing = ids.filter((_, at) => found[at] === undefined)
    if (missing.length === 0) return found.filter((page) => page !== undefined)
    const others = await swarm.fetchPages(root, missing, { signal })
    return ids.flatMap((_, at) => found[at] ?? others.shift() ?? [])
  }
}
