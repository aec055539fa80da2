import { createHash } from 'node:crypto'
import { checkChunkBytes } from '../chunks/chunk-size.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { toError } from '../lib/to-error.ts'
import { PathNotFoundError } from '../metadata/errors.ts'
import type { NamespaceEntry, RetentionPolicy } from '../metadata/namespace-types.ts'
import { parseRef } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import type { VersionSummary } from '../metadata/types.ts'
import { BadRequestError } from './errors.ts'
import type {
  CreateRequest,
  DiffResult,
  FileOperations,
  ImageVersion,
  MergeRequest,
  PushRequest,
  PushResult,
  RetentionResult,
  StatResult
} from './operations.ts'
import { pushBody } from './pusher.ts'

export interface FileControlComponents {
  readonly repository: Repository
  readonly clock: Clock
}

/** What client commands ask of files, folders and versions. */
export class FileControl implements FileOperations {
  readonly #components: FileControlComponents

  constructor(components: FileControlComponents) {
    this.#components = components
  }

  async push(
    request: PushRequest,
    body: AsyncIterable<Uint8Array>,
    options: AbortOptions = {}
  ): Promise<PushResult> {
    return pushBody(this.#components, request, body, options)
  }

  async cat(
    ref: string,
    range: { readonly offset?: number | undefined; readonly length?: number | undefined },
    options: AbortOptions = {}
  ): Promise<{ readonly bytes: number; readonly body: AsyncIterable<Uint8Array> }> {
    const snapshot = await this.#components.repository.openRead(ref, options)
    const offset = Math.min(range.offset ?? 0, snapshot.bytes)
    const length = Math.min(range.length ?? snapshot.bytes, snapshot.bytes - offset)
    return { bytes: length, body: snapshot.read({ offset, length }, options) }
  }

  async list(path: string, options: AbortOptions = {}): Promise<NamespaceEntry[]> {
    const entry = await this.#components.repository.stat(path, options)
    if (entry?.kind === 'file') return [entry]
    return Array.fromAsync(this.#components.repository.list(path, options))
  }

  async stat(
    ref: string,
    request: { readonly sha256?: boolean },
    options: AbortOptions = {}
  ): Promise<StatResult> {
    const { repository } = this.#components
    const entry = await repository.stat(ref, options)
    if (entry === undefined) throw new PathNotFoundError(ref)
    const { path, kind, modifiedMs } = entry
    if (kind === 'directory') return { path, kind, bytes: 0, modifiedMs }
    const { bytes, blob, version, chunkBytes } = entry
    const { record } = await repository.record({ path, version }, options)
    const manifestRoot = toHex(record.manifestRoot)
    const known = { path, kind, bytes, modifiedMs, blob, version, chunkBytes, manifestRoot }
    if (request.sha256 !== true) return { ...known, note: record.note }
    const hash = createHash('sha256')
    const snapshot = await repository.openRead({ path, version }, options)
    for await (const part of snapshot.read({ offset: 0, length: bytes }, options)) hash.update(part)
    return { ...known, note: record.note, sha256: hash.digest('hex') }
  }

  async log(path: string, options: AbortOptions = {}): Promise<VersionSummary[]> {
    return this.#components.repository.history(path, options)
  }

  async create(request: CreateRequest, options: AbortOptions = {}): Promise<ImageVersion> {
    const { path, bytes, chunkBytes, note } = request
    if (chunkBytes !== undefined) checkRequest(() => checkChunkBytes(chunkBytes))
    const made = { chunkBytes, note, ...options }
    const { version } = await this.#components.repository.create(path, bytes, made)
    return { path, version, bytes }
  }

  async clone(ref: string, path: string, options: AbortOptions = {}): Promise<ImageVersion> {
    const { version, bytes } = await this.#components.repository.clone(ref, path, options)
    return { path, version, bytes }
  }

  async merge(request: MergeRequest, options: AbortOptions = {}): Promise<ImageVersion> {
    const { ref, path, offset = 0, length = Number.POSITIVE_INFINITY, at = offset } = request
    const { note, ifNewest } = request
    const range = { from: ref, to: path, offset, length, at }
    const merged = await this.#components.repository.merge(range, { note, ifNewest, ...options })
    return { path, version: merged.version, bytes: merged.bytes }
  }

  async diff(before: string, after: string, options: AbortOptions = {}): Promise<DiffResult> {
    return this.#components.repository.diff(before, after, options)
  }

  async setPinned(
    ref: string,
    isPinned: boolean,
    options: AbortOptions = {}
  ): Promise<{ path: string; version: number; isPinned: boolean }> {
    const { version } = await this.#components.repository.setPinned(ref, isPinned, options)
    return { path: parseRef(ref).path, version, isPinned }
  }

  async retention(path: string, options: AbortOptions = {}): Promise<RetentionResult> {
    return { path, ...(await this.#components.repository.retention(path, options)) }
  }

  async setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options: AbortOptions = {}
  ): Promise<RetentionResult> {
    await this.#components.repository.setRetention(path, policy, options)
    return this.retention(path, options)
  }

  async remove(ref: string, options: AbortOptions = {}): Promise<void> {
    await this.#components.repository.remove(ref, 'any', options)
  }

  async makeDirectory(path: string, options: AbortOptions = {}): Promise<void> {
    await this.#components.repository.makeDirectory(path, { parents: true, ...options })
  }

  async rename(from: string, to: string, options: AbortOptions = {}): Promise<void> {
    await this.#components.repository.rename(from, to, options)
  }
}

/** What is impossible in a request is its client's mistake. */
function checkRequest(check: () => void): void {
  try {
    check()
  } catch (error) {
    throw new BadRequestError(toError(error).message)
  }
}
