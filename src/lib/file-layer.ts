import fs from 'node:fs'
import { errorCode, LimitExceededError } from './errors.ts'
import { nextTurn } from './turn.ts'

const SLICE_MS = 2

/**
 * The file operations that durable stores use, as a component: tests record their order and let
 * them fail. Errors are Node's own, with `code` (ENOENT, ENOSPC, EIO …). Paths are absolute.
 */
export interface FileLayer {
  /** Opens a file; flags as of `fs.open`. @returns the file descriptor. */
  open(path: string, flags: string): Promise<number>
  close(file: number): Promise<void>
  /** Writes at a position. @returns how many bytes were written, perhaps not all. */
  write(file: number, bytes: Uint8Array, position: number): Promise<number>
  /**
   * Writes parts one after the other at a position, in one call of the system. Optional: where it
   * is missing, each part is written for itself.
   *
   * @returns how many bytes were written, perhaps not all.
   */
  writeParts?(file: number, parts: readonly Uint8Array[], position: number): Promise<number>
  /** Reads at a position into `bytes`. @returns how many bytes came; 0 at the end. */
  read(file: number, bytes: Uint8Array, position: number): Promise<number>
  /** Makes what was written to a file durable; for a folder, which names it holds. */
  fsync(file: number): Promise<void>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  /** Makes a folder and its parents; harmless if it is there. */
  makeFolder(path: string): Promise<void>
  /** Names in a folder, in no order. */
  list(path: string): Promise<string[]>
  /** Sizes of files in bytes; undefined for those that are not there. */
  sizesOf(paths: readonly string[]): Promise<(number | undefined)[]>
}

type Settle<T> = (error: NodeJS.ErrnoException | null, value: T) => void

/**
 * Wraps a callback: half the cost of fs.promises, which matters at thousands of small files a
 * second.
 */
async function call<T>(start: (settle: Settle<T>) => void): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  start((error, value) => {
    if (error === null || error === undefined) resolve(value)
    else reject(error)
  })
  return await promise
}

/** The machine's file system. */
export const systemFiles: FileLayer = {
  open: (path, flags) => call((settle) => fs.open(path, flags, 0o666, settle)),
  close: (file) => call<void>((settle) => fs.close(file, (error) => settle(error ?? null))),
  write: (file, bytes, position) =>
    call((settle) => fs.write(file, bytes, 0, bytes.byteLength, position, settle)),
  writeParts: (file, parts, position) => call((settle) => fs.writev(file, parts, position, settle)),
  read: (file, bytes, position) =>
    call((settle) => fs.read(file, bytes, 0, bytes.byteLength, position, settle)),
  fsync: (file) => call<void>((settle) => fs.fsync(file, (error) => settle(error))),
  rename: (from, to) => call<void>((settle) => fs.rename(from, to, (error) => settle(error))),
  unlink: (path) => call<void>((settle) => fs.unlink(path, (error) => settle(error))),
  makeFolder: async (path) => {
    await call<string | undefined>((settle) => fs.mkdir(path, { recursive: true }, settle))
  },
  list: (path) => call((settle) => fs.readdir(path, settle)),
  sizesOf: async (paths) => {
    // Synchronous, in slices: a tenth of the cost, which counts when a million files are looked at.
    const sizes: (number | undefined)[] = []
    let sliceEndsAt = performance.now() + SLICE_MS
    for (const path of paths) {
      sizes.push(fs.statSync(path, { throwIfNoEntry: false })?.size)
      if (performance.now() < sliceEndsAt) continue
      await nextTurn()
      sliceEndsAt = performance.now() + SLICE_MS
    }
    return sizes
  }
}

/** Writes all of `bytes`, however many calls that takes. */
export async function writeFully(
  files: FileLayer,
  file: number,
  bytes: Uint8Array,
  position = 0
): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    at += await files.write(file, at === 0 ? bytes : bytes.subarray(at), position + at)
  }
}

/** Writes all parts one after the other, however many calls that takes. */
export async function writePartsFully(
  files: FileLayer,
  file: number,
  parts: readonly Uint8Array[],
  position: number
): Promise<void> {
  let at = position
  let left = parts
  while (left.length > 0) {
    const [first = new Uint8Array()] = left
    const written = await (files.writeParts?.(file, left, at) ?? files.write(file, first, at))
    at += written
    left = withoutStart(left, written)
  }
}

/** What is left of the parts behind their first `bytes`. */
function withoutStart(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let over = bytes
  const left: Uint8Array[] = []
  for (const part of parts) {
    if (over < part.byteLength) left.push(over === 0 ? part : part.subarray(over))
    over = Math.max(0, over - part.byteLength)
  }
  return left
}

/**
 * Fills `bytes` from a position.
 *
 * @returns how many bytes there were, fewer only at the file's end.
 */
export async function readFully(
  files: FileLayer,
  file: number,
  bytes: Uint8Array,
  position = 0
): Promise<number> {
  let at = 0
  while (at < bytes.byteLength) {
    const came = await files.read(file, at === 0 ? bytes : bytes.subarray(at), position + at)
    if (came === 0) break
    at += came
  }
  return at
}

/** Reads a whole small file. @throws {LimitExceededError} if it is larger than `maxBytes`. */
export async function readSmallFile(
  files: FileLayer,
  path: string,
  maxBytes: number
): Promise<Uint8Array> {
  const file = await files.open(path, 'r')
  try {
    const buffer = new Uint8Array(maxBytes + 1)
    const length = await readFully(files, file, buffer)
    if (length > maxBytes) throw new LimitExceededError(path, maxBytes)
    return buffer.slice(0, length)
  } finally {
    await files.close(file)
  }
}

/** Makes durable which names a folder holds, where the file system can. */
export async function syncFolder(files: FileLayer, path: string): Promise<void> {
  const folder = await files.open(path, 'r')
  try {
    await files.fsync(folder)
  } catch (error) {
    if (errorCode(error) !== 'EINVAL') throw error // some network file systems flush files only
  } finally {
    await files.close(folder)
  }
}

/**
 * Replaces a small file durably: after a crash it has the old content or the new, never a mixture.
 */
export async function replaceFile(
  files: FileLayer,
  path: string,
  bytes: Uint8Array
): Promise<void> {
  const temporary = `${path}.new`
  const file = await files.open(temporary, 'w')
  try {
    await writeFully(files, file, bytes)
    await files.fsync(file)
  } finally {
    await files.close(file)
  }
  await files.rename(temporary, path)
  await syncFolder(files, path.slice(0, path.lastIndexOf('/')))
}
