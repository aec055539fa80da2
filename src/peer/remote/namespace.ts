import type { AbortOptions } from '../../lib/abort-options.ts'
import { errorCode } from '../../lib/errors.ts'
import type {
  EffectiveRetention,
  FileEntry,
  Namespace,
  NamespaceEntry,
  NewFileRequest,
  RetentionPolicy,
  Usage
} from '../../metadata/namespace-types.ts'
import type { BlobDescription, VersionRef, VersionSummary } from '../../metadata/types.ts'
import type { CreateBlobRequest } from '../../metadata/version-manager-types.ts'
import { versionMethods } from '../protocols/version.ts'
import type { PersistentCaller } from './persistent-caller.ts'

/** Entries of a directory when the caller does not say how many. */
const DEFAULT_LIST_LIMIT = 1000

/**
 * The namespace of the cluster, over the network: part of the RemoteVersionManager, which says what
 * becomes of calls while the version manager restarts.
 */
export class RemoteNamespace implements Namespace {
  readonly #caller: PersistentCaller

  /** `caller` belongs to the version manager's side, which closes it. */
  constructor(caller: PersistentCaller) {
    this.#caller = caller
  }

  async lookup(path: string, options?: AbortOptions): Promise<NamespaceEntry | undefined> {
    return (await this.#caller.call(versionMethods.lookup, { path }, 'repeatable', options)).entry
  }

  async list(
    path: string,
    request: { readonly after?: string; readonly limit?: number } = {},
    options?: AbortOptions
  ): Promise<NamespaceEntry[]> {
    const { limit = DEFAULT_LIST_LIMIT } = request
    const all: NamespaceEntry[] = []
    let { after } = request
    while (all.length < limit) {
      const page = { path, after, limit: limit - all.length }
      const { list } = versionMethods
      const { entries, isCut } = await this.#caller.call(list, page, 'repeatable', options)
      all.push(...entries)
      const last = entries.at(-1)
      if (!isCut || last === undefined) break
      after = last.path.slice(last.path.lastIndexOf('/') + 1)
    }
    return all
  }

  async makeDirectory(
    path: string,
    request: { readonly parents?: boolean } = {},
    options?: AbortOptions
  ): Promise<void> {
    const { parents = false } = request
    const repeatable = parents ? 'repeatable' : 'once'
    await this.#caller.call(versionMethods.makeDirectory, { path, parents }, repeatable, options)
  }

  async reserve(
    path: string,
    { chunkBytes, replicas, sizeHint }: CreateBlobRequest,
    options?: AbortOptions
  ): Promise<BlobDescription> {
    const request = { path, chunkBytes, replicas, sizeHint }
    return this.#caller.call(versionMethods.reserve, request, 'repeatable', options)
  }

  async isFree(path: string, options?: AbortOptions): Promise<boolean> {
    return (await this.#caller.call(versionMethods.isFree, { path }, 'repeatable', options)).isFree
  }

  async publishFile(
    request: NewFileRequest,
    options?: AbortOptions
  ): Promise<VersionSummary | undefined> {
    try {
      const leafPages = Array.from(request.leafPages)
      const { publishFile } = versionMethods
      const asked = { ...request, leafPages }
      return (await this.#caller.call(publishFile, asked, 'once', options)).summary
    } catch (error) {
      const code = errorCode(error)
      if (code !== 'ERR_PEER_UNREACHABLE' && code !== 'ERR_PEER_TIMEOUT') throw error
      return undefined
    }
  }

  async remove(
    path: string,
    request: { readonly kind: 'file' | 'directory' | 'any' },
    options?: AbortOptions
  ): Promise<void> {
    const { kind } = request
    await this.#caller.call(versionMethods.remove, { path, kind }, 'once', options)
  }

  async rename(from: string, to: string, options?: AbortOptions): Promise<void> {
    await this.#caller.call(versionMethods.rename, { from, to }, 'once', options)
  }

  async setModified(path: string, modifiedMs: number, options?: AbortOptions): Promise<void> {
    const request = { path, modifiedMs }
    await this.#caller.call(versionMethods.setModified, request, 'repeatable', options)
  }

  async usage(path: string, options?: AbortOptions): Promise<Usage> {
    return this.#caller.call(versionMethods.usage, { path }, 'repeatable', options)
  }

  async clone(
    { blob, version }: VersionRef,
    path: string,
    options?: AbortOptions
  ): Promise<FileEntry> {
    const request = { blob, version, path }
    return (await this.#caller.call(versionMethods.clone, request, 'once', options)).entry
  }

  async setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options?: AbortOptions
  ): Promise<void> {
    const request = { path, policy }
    await this.#caller.call(versionMethods.setRetention, request, 'repeatable', options)
  }

  async retention(path: string, options?: AbortOptions): Promise<EffectiveRetention> {
    const { policy, setFor } = await this.#caller.call(
      versionMethods.retention,
      { path },
      'repeatable',
      options
    )
    return { policy, setFor }
  }
}
