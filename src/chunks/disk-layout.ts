/**
 * How a chunk store lies on a disk.
 *
 * ```text
 * DIR/format.json          {"format":1,"hash":30}: layout version, multihash code of the ids
 * DIR/lock/…               who uses the folder (lib/directory-lock.ts)
 * DIR/chunks/ab/cdef…      a chunk's bytes as they are; its id in hex is the folder's 2 and the
 *                          file's 62 digits
 * DIR/tmp/…                chunks being written, removed at start
 * DIR/corrupt/abcdef…      chunks whose bytes were not theirs any more, a bounded number
 * ```
 *
 * A file whose name is not exactly 62 lower-case hex digits is no chunk and is left alone, which
 * leaves room for other encodings beside the plain one.
 */

import { dirname, join } from 'node:path'
import { asBuffer, fromHex, toHex } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import { type FileLayer, readSmallFile, replaceFile, syncFolder } from '../lib/file-layer.ts'
import { HASH_CODE } from './chunk-id.ts'
import { StoreUnusableError } from './errors.ts'
import type { ChunkId } from './types.ts'

/** Layout version that this code writes. */
export const DISK_FORMAT = 1

const FORMAT_FILE_BYTES = 4096
const FILE_NAME = /^[0-9a-f]{62}$/

/** Names of the 256 folders that chunks lie in; each is made when it is needed. */
export const CHUNK_FOLDERS: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, '0')
)

/** Paths inside one store's directory. */
export class DiskLayout {
  readonly directory: string
  readonly lock: string
  readonly chunks: string
  readonly tmp: string
  readonly corrupt: string
  readonly #format: string

  constructor(directory: string) {
    this.directory = directory
    this.lock = join(directory, 'lock')
    this.chunks = join(directory, 'chunks')
    this.tmp = join(directory, 'tmp')
    this.corrupt = join(directory, 'corrupt')
    this.#format = join(directory, 'format.json')
  }

  folderOf(id: ChunkId): string {
    return `${this.chunks}/${CHUNK_FOLDERS[id[0] ?? 0]}`
  }

  pathOf(id: ChunkId): string {
    return `${this.folderOf(id)}/${asBuffer(id).toString('hex', 1)}`
  }

  corruptPathOf(id: ChunkId): string {
    return `${this.corrupt}/${toHex(id)}`
  }

  /** The id of a chunk file; undefined if the name is not the one of a chunk. */
  idOf(folder: string, file: string): ChunkId | undefined {
    return FILE_NAME.test(file) ? fromHex(folder + file) : undefined
  }

  /**
   * Makes a new store's folders, or checks that those there are in a format that this code knows.
   *
   * @throws {StoreUnusableError} if the format is newer, or the directory holds something else.
   */
  async prepare(files: FileLayer): Promise<void> {
    await files.makeFolder(this.directory)
    const isNew = !(await this.#checkFormat(files))
    for (const folder of [this.tmp, this.corrupt, this.chunks]) await files.makeFolder(folder)
    // Every time: an earlier start may have been killed before it came this far.
    await this.#syncParent(files)
    await syncFolder(files, this.directory)
    if (isNew) {
      const text = `${JSON.stringify({ format: DISK_FORMAT, hash: HASH_CODE })}\n`
      await replaceFile(files, this.#format, Buffer.from(text))
    }
  }

  async #syncParent(files: FileLayer): Promise<void> {
    try {
      await syncFolder(files, dirname(this.directory))
    } catch (error) {
      // A folder that may be passed but not read: somebody else made the directory in it.
      if (errorCode(error) !== 'EACCES') throw error
    }
  }

  /** @returns false if the store is new. */
  async #checkFormat(files: FileLayer): Promise<boolean> {
    const raw = await this.#readFormat(files)
    if (raw === undefined) {
      await this.#checkNoChunks(files)
      return false
    }
    const { format, hash } = parseFormat(raw)
    if (!Number.isInteger(format)) this.#refuse('format.json does not name a format')
    if (Number(format) > DISK_FORMAT)
      this.#refuse(`its format ${Number(format)} is newer than ${DISK_FORMAT}`)
    if (hash !== HASH_CODE) this.#refuse(`its chunks are named by hash ${String(hash)}`)
    return true
  }

  async #readFormat(files: FileLayer): Promise<Uint8Array | undefined> {
    try {
      return await readSmallFile(files, this.#format, FORMAT_FILE_BYTES)
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /**
   * The format is written last, so folders without it are empty, unless they are somebody else's.
   */
  async #checkNoChunks(files: FileLayer): Promise<void> {
    const own = new Set(['lock', 'chunks', 'tmp', 'corrupt', 'format.json.new'])
    const other = (await files.list(this.directory)).find((name) => !own.has(name))
    if (other !== undefined) this.#refuse(`it holds "${other}" and no format.json`)
  }

  #refuse(reason: string): never {
    throw new StoreUnusableError(this.directory, reason)
  }
}

function parseFormat(raw: Uint8Array): { format?: unknown; hash?: unknown } {
  try {
    const parsed: unknown = JSON.parse(asBuffer(raw).toString('utf8'))
    return typeof parsed === 'object' && parsed !== null ? parsed : {}
  } catch {
    return {} // the caller says that no format is named
  }
}
