/**
 * How a chunk store lies on a disk.
 *
 * ```text
 * DIR/format.json          {"format":2,"hash":30}: layout version, multihash code of the ids
 * DIR/lock/…               who uses the folder (lib/directory-lock.ts)
 * DIR/segments/NNNNNNNN.…  many chunks in a file (segment-format.ts); the number has 8 digits
 * DIR/tmp/…                files that somebody writes, removed at start
 * DIR/corrupt/abcdef…      chunks whose bytes were not theirs any more, a bounded number
 * DIR/unflushed            there while chunks may be in memory only (durability `memory`)
 * ```
 *
 * Format 1, which is still served but no longer made, has instead of the segments:
 *
 * ```text
 * DIR/chunks/ab/cdef…      a chunk's bytes as they are; its id in hex is the folder's 2 and the
 *                          file's 62 digits
 * ```
 *
 * A file with any other name is no chunk and is left alone.
 */

import { dirname, join } from 'node:path'
import { asBuffer, fromHex, toHex } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import { type FileLayer, readSmallFile, replaceFile, syncFolder } from '../lib/file-layer.ts'
import { HASH_CODE } from './chunk-id.ts'
import { StoreUnusableError } from './errors.ts'
import type { ChunkId } from './types.ts'

/** How chunks lie on the disk: many in a file, or each in a file of its own. */
export type DiskFormat = 'segments' | 'files'

/** Layout version of new stores, the highest that this code knows. */
export const DISK_FORMAT = 2

const VERSIONS: Readonly<Record<DiskFormat, number>> = { files: 1, segments: DISK_FORMAT }

const FORMAT_FILE_BYTES = 4096
const FILE_NAME = /^[0-9a-f]{62}$/
const SEGMENT_FILE_NAME = /^(?<number>\d{8})\.(?:chunks|index|dead)$/

/** Names of the 256 folders that chunks lie in; each is made when it is needed. */
export const CHUNK_FOLDERS: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, '0')
)

/** The files of a segment. */
export interface SegmentPaths {
  readonly chunks: string
  readonly index: string
  readonly dead: string
}

/** Paths inside one store's directory. */
export class DiskLayout {
  readonly directory: string
  readonly lock: string
  readonly chunks: string
  readonly segments: string
  readonly tmp: string
  readonly corrupt: string
  readonly unflushed: string
  readonly #format: string

  constructor(directory: string) {
    this.directory = directory
    this.lock = join(directory, 'lock')
    this.chunks = join(directory, 'chunks')
    this.segments = join(directory, 'segments')
    this.unflushed = join(directory, 'unflushed')
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

  segmentPaths(number: number): SegmentPaths {
    const stem = `${this.segments}/${String(number).padStart(8, '0')}`
    return { chunks: `${stem}.chunks`, index: `${stem}.index`, dead: `${stem}.dead` }
  }

  /** The number of the segment that a file belongs to; undefined if it is none of a segment's. */
  segmentOf(file: string): number | undefined {
    const digits = SEGMENT_FILE_NAME.exec(file)?.groups?.['number']
    return digits === undefined ? undefined : Number(digits)
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
   * @param wanted what a new store gets.
   * @returns what the store has.
   * @throws {StoreUnusableError} if the format is newer, or the directory holds something else.
   */
  async prepare(files: FileLayer, wanted: DiskFormat = 'segments'): Promise<DiskFormat> {
    await files.makeFolder(this.directory)
    const found = await this.#findFormat(files)
    const format = found ?? wanted
    const chunks = format === 'files' ? this.chunks : this.segments
    for (const folder of [this.tmp, this.corrupt, chunks]) await files.makeFolder(folder)
    // Every time: an earlier start may have been killed before it came this far.
    await this.#syncParent(files)
    await syncFolder(files, this.directory)
    if (found === undefined) {
      const text = `${JSON.stringify({ format: VERSIONS[format], hash: HASH_CODE })}\n`
      await replaceFile(files, this.#format, Buffer.from(text))
    }
    return format
  }

  /** Removes what writes left that a crash cut off; folders, which are somebody else's, stay. */
  async clearTemporary(files: FileLayer): Promise<void> {
    for (const name of await files.list(this.tmp)) {
      try {
        await files.unlink(`${this.tmp}/${name}`)
      } catch (error) {
        if (errorCode(error) !== 'EISDIR' && errorCode(error) !== 'EPERM') throw error
      }
    }
  }

  /** Tells whether chunks may be in memory only, because the last to write them did not flush. */
  async isUnflushed(files: FileLayer): Promise<boolean> {
    const [size] = await files.sizesOf([this.unflushed])
    return size !== undefined
  }

  /**
   * Notes, for starts to come, whether chunks may be in memory only. The note need not be durable:
   * what is there after a power cut is on the disk.
   */
  async noteUnflushed(files: FileLayer, isUnflushed: boolean): Promise<void> {
    if (!isUnflushed) return await files.unlink(this.unflushed)
    await files.close(await files.open(this.unflushed, 'w'))
  }

  async #syncParent(files: FileLayer): Promise<void> {
    try {
      await syncFolder(files, dirname(this.directory))
    } catch (error) {
      // A folder that may be passed but not read: somebody else made the directory in it.
      if (errorCode(error) !== 'EACCES') throw error
    }
  }

  /** @returns undefined if the store is new. */
  async #findFormat(files: FileLayer): Promise<DiskFormat | undefined> {
    const raw = await this.#readFormat(files)
    if (raw !== undefined) return this.#knownFormat(raw)
    await this.#checkNoChunks(files)
    return undefined
  }

  #knownFormat(raw: Uint8Array): DiskFormat {
    const { format, hash } = parseFormat(raw)
    if (!Number.isInteger(format)) this.#refuse('format.json does not name a format')
    if (hash !== HASH_CODE) this.#refuse(`its chunks are named by hash ${String(hash)}`)
    if (format === VERSIONS.segments) return 'segments'
    if (format === VERSIONS.files) return 'files'
    const known = Number(format) > DISK_FORMAT ? `is newer than ${DISK_FORMAT}` : 'is not known'
    return this.#refuse(`its format ${Number(format)} ${known}`)
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
    const own = new Set('lock chunks segments tmp corrupt unflushed format.json.new'.split(' '))
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
