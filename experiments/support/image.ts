import { createCipheriv, createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { MIB } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'

/** A stream of bytes that looks random and is the same for the same seed (AES-128-CTR over zeros). */
export class SeededBytes {
  readonly #cipher

  constructor(seed: number) {
    const key = createHash('sha256').update(`blobswarm image ${seed}`).digest()
    this.#cipher = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16))
  }

  next(length: number): Uint8Array {
    return new Uint8Array(this.#cipher.update(Buffer.alloc(length)))
  }
}

/** Writes an image of which a quarter is zeros, a quarter repeats one MiB, and the rest is random. */
export async function makeImage(path: string, mib: number, seed: number): Promise<void> {
  const random = new SeededBytes(seed)
  const repeated = random.next(MIB)
  const file = await open(path, 'w')
  try {
    for (let index = 0; index < mib; index++) {
      const place = index % 4
      if (place === 0) continue // a hole
      await file.write(place === 1 ? repeated : random.next(MIB), 0, MIB, index * MIB)
    }
    await file.truncate(mib * MIB)
  } finally {
    await file.close()
  }
}

/** Overwrites a share of a file with random bytes, in runs of equal length at random places. @returns bytes changed. */
export async function changeImage(
  path: string,
  change: { readonly share: number; readonly runs: number; readonly seed: number }
): Promise<number> {
  const random = seededRandom(change.seed)
  const bytes = new SeededBytes(change.seed)
  const file = await open(path, 'r+')
  try {
    const { size } = await file.stat()
    const length = Math.floor((size * change.share) / change.runs)
    for (let run = 0; run < change.runs; run++) {
      const offset = Math.floor(random() * (size - length))
      await file.write(bytes.next(length), 0, length, offset)
    }
    return length * change.runs
  } finally {
    await file.close()
  }
}

/** SHA-256 of a file, hexadecimal. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: MIB }), hash)
  return hash.digest('hex')
}
