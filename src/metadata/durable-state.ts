import type { AbortOptions } from '../lib/abort-options.ts'
import { NotRunningError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import { VersionStoreError } from './errors.ts'
import type { HoldTable } from './hold-table.ts'
import type { NamespaceState } from './namespace.ts'
import type { BlobId, ChunkRange, Version } from './types.ts'
import type { Change, VersionManagerState } from './version-manager.ts'
import type { StateRow } from './version-rows.ts'
import type { VersionStore } from './version-store.ts'

export interface DurableStateComponents {
  readonly store: VersionStore
  readonly versions: VersionManagerState
  readonly namespace: NamespaceState
  readonly holds: HoldTable
  /** Told once if rows can no longer be made durable. */
  readonly onFailure: (error: Error) => void
}

/**
 * The state of version manager, namespace and holds with the store that makes it durable. Memory
 * changes at once, and every answer waits until all that it depends on is on disk: a change for
 * its own rows, a question for whatever was written before it.
 */
export class DurableState {
  readonly versions: VersionManagerState
  readonly namespace: NamespaceState
  readonly holds: HoldTable
  /** Blobs that come with their first version, whose nodes are being stored before it is known. */
  readonly coming = new Set<BlobId>()
  readonly #store: VersionStore
  readonly #onFailure: (error: Error) => void
  #condition: 'new' | 'running' | 'stopped' = 'new'
  #failure: Error | undefined
  #beganMs: number | undefined
  #isNew = true

  constructor(components: DurableStateComponents) {
    this.versions = components.versions
    this.namespace = components.namespace
    this.holds = components.holds
    this.#store = components.store
    this.#onFailure = components.onFailure
  }

  /** Loads what an earlier run wrote. Called once. @throws {VersionStoreError} */
  async start(): Promise<void> {
    if (this.#condition !== 'new') throw new Error('version manager was started before')
    try {
      for await (const rows of await this.#store.start()) for (const row of rows) this.#load(row)
      if (this.namespace.hasOrphans) throw new RangeError('entries in no folder')
      for (const blob of this.namespace.blobs()) this.countBytes(blob)
    } catch (thrown) {
      this.#condition = 'stopped'
      await this.#store.stop()
      if (thrown instanceof VersionStoreError) throw thrown
      const cause = toError(thrown)
      throw new VersionStoreError(`${this.#store.name}: it is corrupt (${cause.message})`, {
        cause
      })
    }
    this.#condition = 'running'
  }

  /** When the state began, milliseconds since the epoch; 0 if that was not written down. */
  get beganMs(): number {
    return this.#beganMs ?? 0
  }

  /** Writes down when the state began, if that is not known: now, unless it has rows already. */
  async begun(nowMs: number): Promise<void> {
    if (this.#beganMs !== undefined) return
    this.#beganMs = this.#isNew ? nowMs : 0
    await this.write([{ kind: 'origin', beganMs: this.#beganMs }])
  }

  /** Finishes what is being written, and closes the store. */
  async stop(): Promise<void> {
    this.#condition = 'stopped'
    await this.#store.stop()
  }

  /** Asserts that there may be a change now. @throws {NotRunningError | VersionStoreError} */
  begin({ signal }: AbortOptions): void {
    signal?.throwIfAborted()
    if (this.#failure !== undefined) throw this.#failure
    if (this.#condition !== 'running') throw new NotRunningError('version manager')
  }

  /** Brings what the namespace counts of a file up to its newest version that can be read. */
  countBytes(blob: BlobId): void {
    this.namespace.setBytes(blob, this.versions.latest(blob)?.bytes ?? 0)
  }

  /** Gives what `look` sees, once that is durable. */
  async read<T>(look: () => T, options: AbortOptions): Promise<T> {
    this.begin(options)
    const seen = look()
    await this.write([])
    return seen
  }

  /**
   * Gives what versions of a blob were allowed to write, in order, both ends included; undefined
   * where that was not kept.
   */
  async ranges(
    blob: BlobId,
    { from, to }: { readonly from: Version; readonly to: Version }
  ): Promise<(readonly ChunkRange[] | undefined)[]> {
    this.begin({})
    return await this.#store.ranges({ blob, from, to })
  }

  /** Makes a change durable and gives its result. */
  async persist<T>({ result, rows }: Change<T>): Promise<T> {
    await this.write(rows)
    return result
  }

  /** Makes rows durable, and all that were written before. */
  async write(rows: readonly StateRow[]): Promise<void> {
    try {
      await this.#store.write(rows)
    } catch (thrown) {
      const error = toError(thrown)
      if (this.#failure === undefined && this.#condition === 'running') {
        this.#failure = error
        this.#onFailure(error)
      }
      throw error
    }
  }

  #load(row: StateRow): void {
    this.#isNew = false
    switch (row.kind) {
      case 'origin':
        this.#beganMs = row.beganMs
        break
      case 'blob':
      case 'version':
        this.versions.load(row)
        break
      case 'entry':
      case 'policy':
        this.namespace.load(row)
        break
      case 'hold':
        this.holds.load(row)
        break
      case 'blob-removal':
      case 'entry-removal':
      case 'policy-removal':
      case 'hold-removal':
      default:
        throw new RangeError('a removal among the rows')
    }
  }
}
