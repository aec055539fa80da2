import { InvalidPathError } from './errors.ts'
import type { Version } from './types.ts'

/** Bytes of a path, and of each of its parts, in UTF-8. */
export const MAX_PATH_BYTES = 4096
export const MAX_NAME_BYTES = 255

/** What a text names: a path, in its latest published version unless one is given. */
export interface Ref {
  readonly path: string
  readonly version: Version | undefined
}

/**
 * Parses a reference, `/path/of/image` or `/path/of/image@VERSION`. The same text works in the CLI,
 * in GridFTP paths and as an NBD export name. A name that ends in `@digits` always means a version.
 *
 * @throws {InvalidPathError} if the path is not absolute and normal, or the version is not a number
 *   without leading zeros.
 */
export function parseRef(text: string): Ref {
  const [, path = text, digits] = /^(.*)@([0-9]+)$/s.exec(text) ?? []
  checkPath(path)
  if (digits === undefined) return { path, version: undefined }
  if (path === '/' || path.endsWith('/')) throw new InvalidPathError(text, 'a version of no name')
  const version = Number(digits)
  if (!Number.isSafeInteger(version) || String(version) !== digits) {
    throw new InvalidPathError(text, `${digits.slice(0, 40)} is no version number`)
  }
  return { path, version }
}

/** The text that `parseRef` reads. */
export function formatRef({ path, version }: Ref): string {
  return version === undefined ? path : `${path}@${version}`
}

/** Tells whether the last name of a path ends in `@digits` and so can only be read. */
export function namesVersion(path: string): boolean {
  return /@[0-9]+$/.test(path)
}

/**
 * Checks the path of something that is to be made: as `checkPath`, no name that means a
 * version, and no line break, which listings could not show.
 *
 * @throws {InvalidPathError}
 */
export function checkNewPath(path: string): void {
  checkPath(path)
  if (namesVersion(path)) throw new InvalidPathError(path, 'a name ending in @digits is a version')
  if (/[\r\n]/.test(path)) throw new InvalidPathError(path, 'a line break')
}

/**
 * Checks that a path is absolute and normal: `/`, or parts with a `/` before each, none of them
 * empty, `.` or `..`, without NUL, well-formed text within the limits.
 *
 * @throws {InvalidPathError}
 */
export function checkPath(path: string): void {
  if (!path.startsWith('/')) throw new InvalidPathError(path, 'not absolute')
  if (!path.isWellFormed()) throw new InvalidPathError(path, 'not Unicode')
  if (path.includes('\0')) throw new InvalidPathError(path, 'NUL')
  // The first test keeps the second one from costing anything for text of megabytes.
  if (path.length > MAX_PATH_BYTES || Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new InvalidPathError(path, `longer than ${MAX_PATH_BYTES} bytes`)
  }
  if (path === '/') return
  for (const name of path.slice(1).split('/')) {
    if (name === '' || name === '.' || name === '..') {
      throw new InvalidPathError(path, `part ${JSON.stringify(name)}`)
    }
    if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
      throw new InvalidPathError(path, `a part longer than ${MAX_NAME_BYTES} bytes`)
    }
  }
}
