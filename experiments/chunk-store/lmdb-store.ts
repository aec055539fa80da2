import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { ChunkIndex } from '../../src/chunks/chunk-index.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { equalBytes } from '../../src/lib/bytes.ts'
import type { MeasuredStore } from './layouts.ts'

/** What we use of the lmdb package, which is installed for this experiment only. */
interface Database {
  readonly flushed: Promise<unknown>
  put(key: Uint8Array, value: Uint8Array): Promise<boolean>
  remove(key: Uint8Array): Promise<boolean>
  doesExist(key: Uint8Array): boolean
  getBinary(key: Uint8Array): Buffer | undefined
  getKeys(): Iterable<Buffer>
  close(): Promise<void>
}

/** Tells whether the package is there. */
export function hasLmdb(): boolean {
  return existsSync(fileURLToPath(new URL('node_modules/lmdb', import.meta.url)))
}

/**
 * Chunks as values of one LMDB file, put by batches that share a commit and its flush. Reads are
 * synchronous, out of the mapped file, and hash a chunk that was not read before.
 */
export class LmdbStore implements MeasuredStore {
  readonly #directory: string
  readonly #isDurable: boolean
  /** Which chunks were hashed since the start; what there is LMDB knows. */
  readonly #verified = new ChunkIndex()
  #database: Database | undefined

  constructor(directory: string, isDurable: boolean) {
    this.#directory = directory
    this.#isDurable = isDurable
  }

  /** As many as there are: a start does not count them. */
  get chunkCount(): number {
    let count = 0
    for (const _ of this.#opened.getKeys()) count++
    return count
  }

  get #opened(): Database {
    if (this.#database === undefined) throw new Error('not started')
    return this.#database
  }

  async start(): Promise<void> {
    const require = createRequire(import.meta.url)
    const { open } = require('lmdb') as { open: (options: object) => Database }
    this.#database = open({
      path: this.#directory,
      keyEncoding: 'binary',
      encoding: 'binary',
      compression: false,
      noSync: !this.#isDurable
    })
  }

  async stop(): Promise<void> {
    await this.#database?.close()
    this.#database = undefined
  }

  has(id: ChunkId): boolean {
    return this.#opened.doesExist(id)
  }

  async put(id: ChunkId, bytes: Uint8Array): Promise<boolean> {
    const database = this.#opened
    if (database.doesExist(id)) return false
    await database.put(id, bytes)
    if (this.#isDurable) await database.flushed
    this.#note(id, bytes.byteLength)
    return true
  }

  async get(id: ChunkId): Promise<Uint8Array | undefined> {
    const bytes = this.#opened.getBinary(id)
    if (bytes === undefined || this.#verified.has(id)) return bytes
    if (!equalBytes(chunkId(bytes), id)) return undefined
    this.#note(id, bytes.byteLength)
    return bytes
  }

  async delete(id: ChunkId): Promise<boolean> {
    this.#verified.delete(id)
    return await this.#opened.remove(id)
  }

  #note(id: ChunkId, bytes: number): void {
    this.#verified.set(id, { bytes, isVerified: true, segment: 0, offset: 0 })
  }
}
