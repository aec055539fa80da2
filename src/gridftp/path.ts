import { InvalidPathError } from './errors.ts'

/** Longest path that a command may name, in bytes of UTF-8. */
export const MAX_PATH_BYTES = 4096

/** Longest single name in a path, in bytes of UTF-8. */
export const MAX_NAME_BYTES = 255

/**
 * Makes the path of a command absolute and normal: no empty parts, no `.`, no `..`, no slash at
 * the end except for the root itself. `..` never leaves the root; `~` is the root.
 *
 * @param directory where relative paths start, itself normal.
 * @throws {InvalidPathError} for an empty or too long path, a name above 255 bytes, a NUL.
 */
export function resolvePath(directory: string, argument: string): string {
  if (argument === '') throw new InvalidPathError('', 'it is empty')
  verifyText(argument)
  const names = startsAtRoot(argument) ? [] : directory.split('/').filter((name) => name !== '')
  for (const name of withoutHome(argument).split('/')) {
    if (name === '..') names.pop()
    else if (name !== '' && name !== '.') names.push(verifiedName(name, argument))
  }
  const path = `/${names.join('/')}`
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw tooLong(path)
  return path
}

/** The path of the folder that a normal path is in; the root is in itself. */
export function parentPath(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash <= 0 ? '/' : path.slice(0, slash)
}

/** Last part of a normal path; empty for the root. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/**
 * Turns a path as its user sees it into a path of the storage.
 *
 * @param root the user's root folder, normal.
 */
export function confinePath(root: string, path: string): string {
  if (root === '/') return path
  return path === '/' ? root : `${root}${path}`
}

/** Turns a path of the storage back into what its user sees; `/` for anything outside the root. */
export function revealPath(root: string, path: string): string {
  if (root === '/') return path
  return path.startsWith(`${root}/`) ? path.slice(root.length) : '/'
}

function startsAtRoot(argument: string): boolean {
  return argument.startsWith('/') || argument === '~' || argument.startsWith('~/')
}

function withoutHome(argument: string): string {
  return argument === '~' || argument.startsWith('~/') ? argument.slice(1) : argument
}

function verifyText(argument: string): void {
  if (argument.includes('\0')) throw new InvalidPathError(argument, 'it has a NUL')
  // Half a surrogate pair has no UTF-8 and would change into another name on the way to a disk.
  if (!argument.isWellFormed()) throw new InvalidPathError(argument, 'it is not valid Unicode')
  if (Buffer.byteLength(argument) > MAX_PATH_BYTES) throw tooLong(argument)
}

function verifiedName(name: string, path: string): string {
  if (Buffer.byteLength(name) <= MAX_NAME_BYTES) return name
  throw new InvalidPathError(path, `a name in it exceeds ${MAX_NAME_BYTES} bytes`)
}

function tooLong(path: string): InvalidPathError {
  return new InvalidPathError(path, `it exceeds ${MAX_PATH_BYTES} bytes`)
}
