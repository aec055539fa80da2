import type { AbortOptions } from '../chunks/types.ts'
import type { Clock } from '../lib/clock.ts'
import type { DurableState } from './durable-state.ts'
import type { BlobPath } from './namespace.ts'
import type {
  BlobDescription,
  BlobId,
  CreateBlobRequest,
  DirectoryEntry,
  Namespace,
  NamespaceEntry
} from './types.ts'

export interface LocalNamespaceComponents {
  readonly state: DurableState
  readonly clock: Clock
  /** Gives an id that no blob has. */
  readonly newBlobId: () => BlobId
  /** @throws {RangeError} for a blob that must not be made. */
  readonly checkCreate: (request: CreateBlobRequest) => void
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
    const { state, clock, newBlobId, checkCreate } = this.#components
    state.begin(options)
    const known = state.namespace.reserved(path)
    const description = known === undefined ? undefined : state.versions.describe(known)
    if (description !== undefined) return await state.read(() => description, options)
    checkCreate(create)
    const blob = newBlobId()
    const nowMs = clock.now()
    // `reserved` has made sure that the second step cannot fail after the first one.
    const { result, rows } = state.versions.createBlob(blob, create, nowMs)
    await state.write([...rows, ...state.namespace.reserve(path, blob, nowMs)])
    return result
  }

  async remove(
    path: string,
    request: { readonly kind: 'file' | 'directory' | 'any' },
    options: AbortOptions = {}
  ): Promise<void> {
    const { state, clock } = this.#components
    state.begin(options)
    await state.write(state.namespace.remove(path, request.kind, clock.now()))
  }

  async rename(from: string, to: string, options: AbortOptions = {}): Promise<void> {
    const { state, clock } = this.#components
    state.begin(options)
    await state.write(state.namespace.rename(from, to, clock.now()))
  }

  #entryOf(found: DirectoryEntry | BlobPath): NamespaceEntry | undefined {
    if (found.kind === 'directory') return found
    const latest = this.#components.state.versions.latest(found.blob)
    if (latest === undefined) return undefined
    const { version, bytes, timeMs: modifiedMs } = latest
    return { ...found, version, bytes, modifiedMs }
  }
}
