import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import type * as HashWasm from 'hash-wasm'

// Node cannot see the names that its CommonJS form exports.
const { createAdler32, createCRC32 }: typeof HashWasm = createRequire(import.meta.url)('hash-wasm')

/** Digests that CKSM and SCKS know, in the order of the FEAT line. */
export const CHECKSUM_ALGORITHMS = ['MD5', 'ADLER32', 'SHA1', 'SHA256', 'SHA512', 'CRC32C'] as const

/** Name of one digest. */
export type ChecksumAlgorithm = (typeof CHECKSUM_ALGORITHMS)[number]

/** What clients that may choose should prefer: the lower the number, the sooner. */
const PRIORITIES: Readonly<Record<ChecksumAlgorithm, number>> = {
  MD5: 10,
  ADLER32: 10,
  SHA1: 10,
  SHA256: 11,
  SHA512: 12,
  CRC32C: 10
}

const HEX_DIGITS: Readonly<Record<ChecksumAlgorithm, number>> = {
  MD5: 32,
  ADLER32: 8,
  SHA1: 40,
  SHA256: 64,
  SHA512: 128,
  CRC32C: 8
}

/** Castagnoli's polynomial, bits reversed. @see RFC 3720 appendix B.4 */
const CRC32C_POLYNOMIAL = 0x82_f6_3b_78

/** A sum over bytes that come one after the other. */
export interface Digest {
  update(bytes: Uint8Array): void
  /** Lower-case hex. Called once, at the end. */
  hex(): string
}

/** Finds a digest by its name, in any case. */
export function findAlgorithm(name: string): ChecksumAlgorithm | undefined {
  const wanted = name.toUpperCase()
  return CHECKSUM_ALGORITHMS.find((algorithm) => algorithm === wanted)
}

/** Tells whether a text can be a sum of this kind, in any case. */
export function isSumOf(algorithm: ChecksumAlgorithm, text: string): boolean {
  return text.length === HEX_DIGITS[algorithm] && /^[0-9a-f]+$/i.test(text)
}

/** The line of FEAT: `CKSM MD5:10;…`. */
export function formatChecksumFeature(): string {
  return `CKSM ${CHECKSUM_ALGORITHMS.map((name) => `${name}:${PRIORITIES[name]};`).join('')}`
}

/** Begins a sum. */
export async function createDigest(algorithm: ChecksumAlgorithm): Promise<Digest> {
  if (algorithm === 'ADLER32') return fromWasm(await createAdler32())
  if (algorithm === 'CRC32C') return fromWasm(await createCRC32(CRC32C_POLYNOMIAL))
  const hash = createHash(algorithm.toLowerCase())
  return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') }
}

function fromWasm(hasher: HashWasm.IHasher): Digest {
  hasher.init()
  return { update: (bytes) => void hasher.update(bytes), hex: () => hasher.digest('hex') }
}
