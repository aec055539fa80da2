import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import pLimit from 'p-limit'
import { KIB, MIB } from '../lib/bytes.ts'

/** Cost of scrypt: memory is 128 · N · r bytes, time grows with N · r · p. */
export interface ScryptCost {
  /** CPU and memory cost, a power of two. @default 32768 */
  readonly N?: number
  /** Block size. @default 8 */
  readonly r?: number
  /** Parallelisation. @default 1 */
  readonly p?: number
}

/** A parsed password hash. */
export interface PasswordHash {
  readonly N: number
  readonly r: number
  readonly p: number
  readonly salt: Uint8Array
  readonly hash: Uint8Array
}

const SALT_BYTES = 16
const HASH_BYTES = 32
const MAX_MEMORY_BYTES = 128 * MIB
const MAX_PASSWORD_BYTES = KIB

// Each runs for some 60 ms on a thread that file operations need too.
const oneByOne = pLimit(1)

/**
 * Hashes a password for the file of users.
 *
 * @returns `scrypt$N$r$p$salt$hash`, salt and hash in base64.
 * @throws {RangeError} for an impossible cost or a password above 1 KiB.
 */
export async function hashPassword(password: string, cost: ScryptCost = {}): Promise<string> {
  const { N = 32 * KIB, r = 8, p = 1 } = cost
  if (!isCost(N, r, p)) throw new RangeError(`not a cost of scrypt: N ${N}, r ${r}, p ${p}`)
  if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) throw new RangeError('password too long')
  const salt = randomBytes(SALT_BYTES)
  const hash = await derive(password, { N, r, p, salt, hash: new Uint8Array(HASH_BYTES) })
  return `scrypt$${N}$${r}$${p}$${salt.toString('base64')}$${hash.toString('base64')}`
}

/**
 * Parses what `hashPassword` returned; undefined if it is anything else or its cost is out of
 * bounds.
 */
export function parsePasswordHash(text: string): PasswordHash | undefined {
  const fields =
    /^scrypt\$(\d{1,7})\$(\d{1,3})\$(\d{1,3})\$([\w+/=]{1,128})\$([\w+/=]{1,128})$/.exec(text)
  if (fields === null) return undefined
  const [N, r, p] = [Number(fields[1]), Number(fields[2]), Number(fields[3])]
  const salt = Buffer.from(fields[4] ?? '', 'base64')
  const hash = Buffer.from(fields[5] ?? '', 'base64')
  if (!isCost(N, r, p) || salt.byteLength < 8 || hash.byteLength < 16) return undefined
  return { N, r, p, salt, hash }
}

/**
 * Tells whether a password is the hashed one; takes as long for a wrong one as for the right
 * one.
 */
export async function isPassword(password: string, expected: PasswordHash): Promise<boolean> {
  const isPossible = Buffer.byteLength(password) <= MAX_PASSWORD_BYTES
  const actual = await derive(isPossible ? password : '', expected)
  return timingSafeEqual(actual, expected.hash) && isPossible
}

function isCost(N: number, r: number, p: number): boolean {
  const isPowerOfTwo = Number.isInteger(Math.log2(N)) && N >= 2
  return isPowerOfTwo && r >= 1 && p >= 1 && p <= 16 && 128 * N * r <= MAX_MEMORY_BYTES
}

async function derive(password: string, how: PasswordHash): Promise<Buffer> {
  const { N, r, p, salt, hash } = how
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  return await oneByOne(async () => {
    const options = { N, r, p, maxmem: 2 * MAX_MEMORY_BYTES }
    scrypt(password, salt, hash.byteLength, options, (error, key) => {
      if (error === null) resolve(key)
      else reject(error)
    })
    return await promise
  })
}
