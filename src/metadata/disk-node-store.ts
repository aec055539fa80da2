import { join } from 'node:path'
import type { AbortOptions, ChunkId } from '../chunks/types.ts'
import { blake3 } from '../lib/blake3.ts'
import { Budget } from '../lib/budget.ts'
import { MIB } from '../lib/bytes.ts'
import { NotRunningError } from '../lib/errors.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import { toError } from '../lib/to-error.ts'
import { sendable, WorkerCaller, workerUrl } from '../lib/worker-call.ts'
import type {
  DiskNodeStoreMethods,
  MetadataWrite,
  RecordRow,
  WriteOutcome
} from './disk-node-store-worker.ts'
import { MetadataStoreError, NodeConflictError, RecordConflictError } from './errors.ts'
import { decodeNode, encodeNodeKey } from './node-codec.ts'
import { decodeEnvelope, encodeEnvelope } from './signed.ts'
import { checkNodePut, checkPagePut, checkRecordPut } from './store-checks.ts'
import type {
  KeyedNode,
  MetadataStore,
  NamedRecord,
  NodeKey,
  NodeProof,
  Page,
  SignedPurpose,
  TreeNode,
  Verifier
} from './types.ts'

/** Name of the file in the data directory. */
export const METADATA_FILE = 'metadata.sqlite'

export interface DiskMetadataStoreComponents {
  readonly verifier: Verifier
}

export interface DiskMetadataStoreOptions {
  /** Bytes of puts that wait for the disk; more callers wait. @default 32 MiB */
  readonly maxPendingBytes?: number
}

/** A write on its way to the disk; the thread says what became of it. */
interface PendingWrite {
  readonly write: MetadataWrite
  outcome: WriteOutcome
}

/**
 * Keeps all that a metadata provider keeps in one SQLite file (WAL, synchronous=FULL), in a worker
 * thread. Everything is checked before it goes there; puts that come together share one fsync.
 */
export class DiskMetadataStore implements MetadataStore {
  readonly #path: string
  readonly #verifier: Verifier
  readonly #pendingBytes: Budget
  readonly #group: GroupCommit<PendingWrite>
  #caller: WorkerCaller<DiskNodeStoreMethods> | undefined
  #isRunning = false

  /** `folder` is made if it is not there. */
  constructor(
    folder: string,
    components: DiskMetadataStoreComponents,
    options: DiskMetadataStoreOptions = {}
  ) {
    const { maxPendingBytes = 32 * MIB } = options
    this.#path = join(folder, METADATA_FILE)
    this.#verifier = components.verifier
    this.#pendingBytes = new Budget(maxPendingBytes, 'bytes of pending metadata')
    this.#group = new GroupCommit((items) => this.#flush(items), { maxItems: 256 })
  }

  /**
   * Opens the file. Called once.
   *
   * @throws {MetadataStoreError} if it is in use, newer than this program or corrupt.
   */
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

  async getNodes(
    keys: readonly NodeKey[],
    options: AbortOptions = {}
  ): Promise<(TreeNode | undefined)[]> {
    const found = await this.#call('nodes', keys.map(encodeNodeKey), options)
    return keys.map((key, at) => {
      const bytes = found[at]
      return bytes === undefined ? undefined : decodeNode(key, bytes)
    })
  }

  async putNodes(
    nodes: readonly KeyedNode[],
    proof: NodeProof,
    options: AbortOptions = {}
  ): Promise<void> {
    if (nodes.length === 0) return
    const encoded = checkNodePut(this.#verifier, nodes, proof)
    const ticket = encodeEnvelope(proof.ticket)
    const conflict = await this.#write(
      {
        kind: 'nodes',
        nodes: encoded,
        ticketDigest: blake3(ticket),
        ticket,
        proof: encodeEnvelope(proof.nodes)
      },
      options
    )
    const there = conflict === undefined ? undefined : nodes[conflict]
    if (there !== undefined) throw new NodeConflictError(there.key)
  }

  async getPages(
    ids: readonly ChunkId[],
    options: AbortOptions = {}
  ): Promise<(Uint8Array | undefined)[]> {
    return await this.#call('pages', ids.map(sendable), options)
  }

  async putPages(pages: readonly Page[], options: AbortOptions = {}): Promise<void> {
    if (pages.length === 0) return
    checkPagePut(pages)
    const ids = pages.map(({ id }) => sendable(id))
    const bytes = pages.map((page) => sendable(page.bytes))
    await this.#write({ kind: 'pages', ids, pages: bytes }, options)
  }

  async getRecords(
    names: readonly string[],
    options: AbortOptions = {}
  ): Promise<(NamedRecord | undefined)[]> {
    const rows = await this.#call('records', names.slice(), options)
    return rows.map((row) => (row === undefined ? undefined : toRecord(row)))
  }

  async putRecords(records: readonly NamedRecord[], options: AbortOptions = {}): Promise<void> {
    if (records.length === 0) return
    checkRecordPut(this.#verifier, records)
    const conflict = await this.#write({ kind: 'records', records: records.map(toRow) }, options)
    const there = conflict === undefined ? undefined : records[conflict]
    if (there !== undefined) throw new RecordConflictError(there.name, there.sequence)
  }

  async #write(write: MetadataWrite, { signal }: AbortOptions): Promise<WriteOutcome> {
    this.#running()
    const bytes = Math.min(sizeOf(write), this.#pendingBytes.total)
    await this.#pendingBytes.acquire(bytes, { signal })
    try {
      const pending: PendingWrite = { write, outcome: undefined }
      await this.#group.add(pending)
      return pending.outcome
    } finally {
      this.#pendingBytes.release(bytes)
    }
  }

  async #flush(items: PendingWrite[]): Promise<void> {
    const outcomes = await this.#call(
      'write',
      items.map(({ write }) => write),
      {}
    )
    for (const [at, item] of items.entries()) item.outcome = outcomes[at]
  }

  async #call<K extends 'nodes' | 'pages' | 'records' | 'write'>(
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

  #running(): void {
    if (!this.#isRunning) throw new NotRunningError('metadata store')
  }

  #failure(error: unknown): Error {
    if (error instanceof NotRunningError) return error
    const cause = toError(error)
    return new MetadataStoreError(`${this.#path}: ${cause.message}`, { cause })
  }
}

function sizeOf(write: MetadataWrite): number {
  if (write.kind === 'nodes') return totalBytes([...write.nodes, write.ticket, write.proof])
  if (write.kind === 'pages') return totalBytes(write.pages)
  return totalBytes(write.records.flatMap(({ payload, envelope }) => [payload, envelope]))
}

function totalBytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { byteLength }) => sum + byteLength + 64, 0)
}

function toRow({ name, sequence, purpose, envelope }: NamedRecord): RecordRow {
  const { payload } = envelope
  return {
    name,
    sequence,
    purpose,
    payload: sendable(payload),
    envelope: encodeEnvelope(envelope)
  }
}

function toRecord({ name, sequence, purpose, envelope }: RecordRow): NamedRecord {
  return { name, sequence, purpose: purposeOf(purpose), envelope: decodeEnvelope(envelope) }
}

function purposeOf(text: string): SignedPurpose {
  if (text === 'location' || text === 'version-record') return text
  throw new MetadataStoreError(`a record of purpose ${text}`)
}
