import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import type { DurableState } from './durable-state.ts'
import { VersionPinnedError } from './errors.ts'
import type { BlobPath } from './namespace.ts'
import type {
  DirectoryEntry,
  EffectiveRetention,
  FileEntry,
  Namespace,
  NamespaceEntry,
  NewFileRequest,
  RetentionPolicy,
  Usage
} from './namespace-types.ts'
import type { NewBlobs } from './new-blobs.ts'
import type { NewFiles } from './new-files.ts'
import type { SealQueue } from './seal-queue.ts'
import type { BlobDescription, VersionRef, VersionSummary } from './types.ts'
import type { CreateBlobRequest } from './version-manager-types.ts'

export interface LocalNamespaceComponents {
  readonly state: DurableState
  readonly clock: Clock
  readonly newBlobs: NewBlobs
  readonly newFiles: NewFiles
  /** Where published versions wait for their manifests. */
  readonly seals: Pick<SealQueue, 'add'>
}

const DEFAULT_LIST_LIMIT = 1000
const MAX_LIST_LIMIT = 10_000

/** The namespace on this machine; part of the version manager, whose file it shares. */
export class LocalNamespace implements Namespace {
  readonly #components: LocalNamespaceComponents

  constructor(components: LocalNamespaceComponents) {
    this.#components = components
  }

  async lookup(path: string, options: AbortOptions = {}): Promise<NamespaceEntry | undefined> {
    const { state } = this.#components
    return await state.read(() => {
      const found = state.namespace.lookup(path)
      return found === undefined ? undefined : this.#entryOf(found)
    }, options)
  }

  async list(
    path: string,
    request: { readonly after?: string; readonly limit?: number } = {},
    options: AbortOptions = {}
  ): Promise<NamespaceEntry[]> {
    const { state } = this.#components
    const { after, limit = DEFAULT_LIST_LIMIT } = request
    return await state.read(() => {
      const listed = state.namespace.list(path, after, Math.min(limit, MAX_LIST_LIMIT))
      return listed.flatMap((found) => this.#entryOf(found) ?? [])
    }, options)
  }

  async makeDirectory(
    path: string,
    request: { readonly parents?: boolean } = {},
    options: AbortOptions = {}
  ): Promise<void> {
    const { state, clock } = this.#components
    const { parents = false } = request
    state.begin(options)
    await state.write(state.namespace.makeDirectory(path, parents, clock.now()))
  }

  async reserve(
    path: string,
    create: CreateBlobRequest,
    options: AbortOptions = {}
  ): Promise<BlobDescription> {
    const { state, clock, newBlobs } = this.#components
    state.begin(options)
    const known = state.namespace.reserved(path)
    const description = known === undefined ? undefined : state.versions.describe(known)
    if (description !== undefined) {
      await state.write(state.namespace.renewReservation(path, clock.now()))
      return description
    }
    newBlobs.check(create)
    const blob = newBlobs.newId()
    const nowMs = clock.now()
    // `reserved` has made sure that the second step cannot fail after the first one.
    const named = { ...create, isNamed: true }
    const { result, rows } = state.versions.createBlob(blob, named, nowMs)
    await state.write([...rows, ...state.namespace.reserve(path, blob, nowMs)])
    return result
  }

  async isFree(path: string, options: AbortOptions = {}): Promise<boolean> {
    const { state } = this.#components
    return await state.read(() => state.namespace.reserved(path) === undefined, options)
  }

  async publishFile(
    request: NewFileRequest,
    options: AbortOptions = {}
  ): Promise<VersionSummary | undefined> {
    return await this.#components.newFiles.publish(request, options)
  }

  async remove(
    path: string,
    request: { readonly kind: 'file' | 'directory' | 'any' },
    options: AbortOptions = {}
  ): Promise<void> {
    const { state, clock } = this.#components
    state.begin(options)
    this.#checkRemovable(path)
    await state.write(state.namespace.remove(path, request.kind, clock.now()))
  }

  async rename(from: string, to: string, options: AbortOptions = {}): Promise<void> {
    const { state, clock } = this.#components
    state.begin(options)
    if (from !== to) this.#checkRemovable(to)
    await state.write(state.namespace.rename(from, to, clock.now()))
  }

  async clone(from: VersionRef, path: string, options: AbortOptions = {}): Promise<FileEntry> {
    const { state, clock, newBlobs, seals } = this.#components
    state.begin(options)
    state.namespace.checkFree(path)
    const blob = newBlobs.newId()
    const nowMs = clock.now()
    // `checkFree` has made sure that the second step cannot fail after the first one.
    const { rows } = state.versions.cloneBlob(blob, from, nowMs)
    const linked = state.namespace.link(path, blob, nowMs)
    state.countBytes(blob)
    await state.write([...rows, ...linked])
    seals.add(blob, 0)
    const cloned = { kind: 'file', path, blob, setTime: undefined } as const
    return this.#fileOf(cloned, state.versions.summary(blob, 0))
  }

  async setModified(path: string, modifiedMs: number, options: AbortOptions = {}): Promise<void> {
    const { state } = this.#components
    state.begin(options)
    const found = state.namespace.lookup(path)
    const latest = found?.kind === 'file' ? state.versions.latest(found.blob) : undefined
    const version = latest?.version ?? 0
    await state.write(state.namespace.setModified(path, { version, modifiedMs }))
  }

  async usage(path: string, options: AbortOptions = {}): Promise<Usage> {
    const { state } = this.#components
    return await state.read(() => ({ bytes: state.namespace.bytesBelow(path) }), options)
  }

  async setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options: AbortOptions = {}
  ): Promise<void> {
    const { state } = this.#components
    state.begin(options)
    await state.write(state.namespace.setRetention(path, policy))
  }

  async retention(path: string, options: AbortOptions = {}): Promise<EffectiveRetention> {
    const { state } = this.#components
    return await state.read(() => state.namespace.retention(path), options)
  }

  /** @throws {VersionPinnedError} if a blob would lose its path though a version is pinned. */
  #checkRemovable(path: string): void {
    const { versions, namespace } = this.#components.state
    const blob = namespace.blobAt(path)
    const pinned = blob === undefined ? undefined : versions.firstPinned(blob)
    if (blob !== undefined && pinned !== undefined) throw new VersionPinnedError(blob, pinned)
  }

  #entryOf(found: DirectoryEntry | BlobPath): NamespaceEntry | undefined {
    if (found.kind === 'directory') return found
    const latest = this.#components.state.versions.latest(found.blob)
    return latest === undefined ? undefined : this.#fileOf(found, latest)
  }

  #fileOf(
    { kind, path, blob, setTime }: BlobPath,
    { version, bytes, timeMs }: VersionSummary
  ): FileEntry {
    const modifiedMs = setTime?.version === version ? setTime.modifiedMs : timeMs
    return { kind, path, blob, version, bytes, modifiedMs }
  }
}
