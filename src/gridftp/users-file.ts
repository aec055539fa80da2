import { readFile } from 'node:fs/promises'
import { MIB } from '../lib/bytes.ts'
import type { FtpUser } from './dsi.ts'
import { UsersFileError } from './errors.ts'
import { type PasswordHash, parsePasswordHash } from './password.ts'
import { resolvePath } from './path.ts'

/** One line of the file of users. */
export interface UserRecord {
  readonly user: FtpUser
  readonly password: PasswordHash
}

const MAX_FILE_BYTES = 4 * MIB
const USER_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/

/**
 * Parses the file of users. One line a user, fields divided by colons; empty lines and lines that
 * start with `#` are left out:
 *
 * ```text
 * name ":" "scrypt$" N "$" r "$" p "$" salt "$" hash ":" root ":" rights [":" quota]
 *
 * ada:scrypt$32768$8$1$6Cp…==$k3F…=:/:rw
 * backup:scrypt$32768$8$1$0aX…==$9d1…=:/images:r
 * lab:scrypt$32768$8$1$Zt4…==$Qm7…=:/lab:rw:500G
 *
 * name    1 to 64 of A-Z a-z 0-9 _ . @ -, not beginning with . @ -
 * salt    base64, 8 bytes or more;  hash: base64, 16 bytes or more;  128 · N · r at most 128 MiB
 * root    the folder that the user sees as "/", absolute, without colons
 * rights  "r" or "rw"
 * quota   bytes, or a number of K, M, G or T (powers of 1,024), that the newest versions of all files
 *         below the root may take together, whoever has stored them; without it there is no limit
 * ```
 *
 * @throws {UsersFileError} naming the line that is wrong, or a name that comes twice.
 */
export function parseUsersFile(text: string): Map<string, UserRecord> {
  const users = new Map<string, UserRecord>()
  for (const [index, line] of text.split('\n').entries()) {
    const trimmed = line.trim()
    if (trimmed === '' || trimmed.startsWith('#')) continue
    const record = parseUserLine(trimmed, index + 1)
    if (users.has(record.user.name)) {
      throw new UsersFileError(`line ${index + 1}: user ${record.user.name} comes twice`)
    }
    users.set(record.user.name, record)
  }
  return users
}

/**
 * Formats one line of the file of users, without its end.
 *
 * @param passwordHash what `hashPassword` returned.
 * @throws {UsersFileError} if a field cannot stand in the file.
 */
export function formatUserLine(user: FtpUser, passwordHash: string): string {
  const { name, root, mayWrite, quotaBytes } = user
  const quota = quotaBytes === undefined ? '' : `:${quotaBytes}`
  const line = `${name}:${passwordHash}:${root}:${mayWrite ? 'rw' : 'r'}${quota}`
  parseUserLine(line, 1)
  return line
}

/** Reads the file of users. @throws {UsersFileError} if it cannot be read or is malformed. */
export async function readUsersFile(path: string): Promise<Map<string, UserRecord>> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new UsersFileError(`${path}: cannot be read`, { cause: error })
  }
  if (text.length > MAX_FILE_BYTES) {
    throw new UsersFileError(`${path}: exceeds ${MAX_FILE_BYTES} bytes`)
  }
  return parseUsersFile(text)
}

function parseUserLine(line: string, number: number): UserRecord {
  const fields = line.split(':')
  const [name, hash, root, rights, quota] = fields
  if (
    fields.length > 5 ||
    fields.length < 4 ||
    name === undefined ||
    hash === undefined ||
    root === undefined
  ) {
    throw new UsersFileError(`line ${number}: ${fields.length} fields instead of 4 or 5`)
  }
  if (!USER_NAME.test(name)) throw new UsersFileError(`line ${number}: not a user name`)
  const password = parsePasswordHash(hash)
  if (password === undefined) throw new UsersFileError(`line ${number}: not a password hash`)
  if (!root.startsWith('/') || resolvePath('/', root) !== root) {
    throw new UsersFileError(`line ${number}: root is not an absolute, normal path`)
  }
  if (rights !== 'r' && rights !== 'rw') {
    throw new UsersFileError(`line ${number}: rights are neither "r" nor "rw"`)
  }
  const user = { name, root, mayWrite: rights === 'rw' }
  if (quota === undefined) return { user, password }
  const quotaBytes = parseQuota(quota)
  if (quotaBytes === undefined) throw new UsersFileError(`line ${number}: not a quota`)
  return { user: { ...user, quotaBytes }, password }
}

/** Reads a quota as it stands in the file, in bytes; undefined if it is none. */
export function parseQuota(text: string): number | undefined {
  const match = /^(\d{1,16})([KMGT]?)$/.exec(text)
  if (match === null) return undefined
  const bytes = Number(match[1]) * 1024 ** ' KMGT'.indexOf(match[2] || ' ')
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
