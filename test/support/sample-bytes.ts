import { createCipheriv, createHash } from 'node:crypto'

/** Bytes that look random and are the same for the same seed. */
export function sampleBytes(length: number, seed = 1): Uint8Array {
  const key = Buffer.alloc(16)
  key.writeUInt32BE(seed)
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}

/** SHA-256 in hexadecimal; what users compare. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
