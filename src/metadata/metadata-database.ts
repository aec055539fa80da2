import type { AbortOptions } from '../lib/abort-options.ts'
import { Budget } from '../lib/budget.ts'
import { MIB } from '../lib/bytes.ts'
import { NotRunningError } from '../lib/errors.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import { toError } from '../lib/to-error.ts'
import { WorkerCaller, workerUrl } from '../lib/worker-call.ts'
import type { DiskNodeStoreMethods, MetadataWrite, WriteOutcome } from './disk-node-store-worker.ts'
import { MetadataStoreError } from './errors.ts'

type Method = Exclude<keyof DiskNodeStoreMethods, 'open' | 'close'>

export interface MetadataDatabaseOptions {
  /** Bytes of writes that wait for the disk; more callers wait. @default 32 MiB */
  readonly maxPendingBytes?: number | undefined
}

/** A write on its way to the disk; the thread says what became of it. */
interface PendingWrite {
  readonly write: MetadataWrite
  outcome: WriteOutcome
}

/** The SQLite file of a metadata provider and its thread. Writes that come together share a flush. */
export class MetadataDatabase {
  readonly #path: string
  readonly #pendingBytes: Budget
  readonly #group: GroupCommit<PendingWrite>
  #caller: WorkerCaller<DiskNodeStoreMethods> | undefined
  #isRunning = false

  constructor(path: string, options: MetadataDatabaseOptions = {}) {
    const { maxPendingBytes = 32 * MIB } = options
    this.#path = path
    this.#pendingBytes = new Budget(maxPendingBytes, 'bytes of pending metadata')
    this.#group = new GroupCommit((items) => this.#flush(items), { maxItems: 256 })
  }

  /** Opens the file. Called once. @throws {MetadataStoreError} */
  async start(): Promise<void> {
    if (this.#caller !== undefined) throw new Error('metadata store was started before')
    const url = workerUrl('disk-node-store-worker', import.meta.url)
    this.#caller = new WorkerCaller<DiskNodeStoreMethods>(url, { name: 'metadata-store' })
    try {
      await this.#caller.call('open', this.#path)
    } catch (error) {
      await this.#caller.stop()
      throw this.#failure(error)
    }
    this.#isRunning = true
  }

  /** Finishes what runs and closes the file. */
  async stop(): Promise<void> {
    this.#isRunning = false
    await this.#group.idle()
    await this.#caller?.call('close', undefined).catch(() => undefined)
    await this.#caller?.stop()
  }

  /** @throws {NotRunningError} */
  running(): void {
    if (!this.#isRunning) throw new NotRunningError('metadata store')
  }

  /**
   * Writes what `prepare` makes, in the order of the calls of `prepare`. It is called in the same
   * turn of the event loop in which its write is queued, so that what it looks at stands in that
   * order, too.
   *
   * @param byteCount what the write will have, about.
   */
  async write(
    byteCount: number,
    prepare: () => MetadataWrite,
    { signal }: AbortOptions
  ): Promise<WriteOutcome> {
    this.running()
    const bytes = Math.min(byteCount, this.#pendingBytes.total)
    await this.#pendingBytes.acquire(bytes, { signal })
    try {
      const pending: PendingWrite = { write: prepare(), outcome: {} }
      await this.#group.add(pending)
      return pending.outcome
    } finally {
      this.#pendingBytes.release(bytes)
    }
  }

  /** Asks the thread. @throws {MetadataStoreError | NotRunningError} */
  async call<K extends Method>(
    method: K,
    argument: Parameters<DiskNodeStoreMethods[K]>[0],
    { signal }: AbortOptions
  ): Promise<ReturnType<DiskNodeStoreMethods[K]>> {
    signal?.throwIfAborted()
    const caller = this.#caller
    if (caller === undefined) throw new NotRunningError('metadata store')
    try {
      return (await caller.call(method, argument)) as ReturnType<DiskNodeStoreMethods[K]>
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async #flush(items: PendingWrite[]): Promise<void> {
    const writes = items.map(({ write }) => write)
    const outcomes = await this.call('write', writes, {})
    for (const [at, item] of items.entries()) item.outcome = outcomes[at] ?? {}
  }

  #failure(error: unknown): Error {
    if (error instanceof NotRunningError) return error
    const cause = toError(error)
    return new MetadataStoreError(`${this.#path}: ${cause.message}`, { cause })
  }
}
