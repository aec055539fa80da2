import { createHash } from 'node:crypto'
import { MIB } from '../../src/lib/bytes.ts'
import { SeededBytes } from '../support/image.ts'

const TILE_BYTES = 16 * MIB + 13 // not a multiple of any chunk, so that no two chunks are equal
const STAMP_BYTES = 4096

/** A file too large to keep: one random tile over and over, with the offset stamped in every 4 KiB. */
export class TiledBytes {
  readonly #tile: Uint8Array

  constructor(seed: number) {
    this.#tile = new SeededBytes(seed).next(TILE_BYTES)
  }

  /** The bytes of a range, in an array of their own. */
  at(offset: number, length: number): Uint8Array {
    const bytes = Buffer.allocUnsafe(length)
    for (let done = 0; done < length; ) {
      const from = (offset + done) % TILE_BYTES
      const part = this.#tile.subarray(from, Math.min(TILE_BYTES, from + length - done))
      bytes.set(part, done)
      done += part.byteLength
    }
    const first = Math.ceil(offset / STAMP_BYTES) * STAMP_BYTES
    for (let place = first; place + 8 <= offset + length; place += STAMP_BYTES) {
      bytes.writeBigUInt64BE(BigInt(place), place - offset)
    }
    return stampCutEdges(bytes, offset)
  }
}

/** A stamp may lie across the edge of a range: writes the bytes of it that are inside. */
function stampCutEdges(bytes: Buffer, offset: number): Buffer {
  const stamp = Buffer.alloc(8)
  const places = [
    Math.floor(offset / STAMP_BYTES) * STAMP_BYTES,
    Math.floor((offset + bytes.byteLength) / STAMP_BYTES) * STAMP_BYTES
  ]
  for (const place of places) {
    stamp.writeBigUInt64BE(BigInt(place))
    for (let index = 0; index < 8; index++) {
      const at = place + index - offset
      if (at >= 0 && at < bytes.byteLength) bytes[at] = stamp[index] ?? 0
    }
  }
  return bytes
}

/** SHA-256 of the first `totalBytes`, hexadecimal. */
export function sha256Blocks(bytes: TiledBytes, totalBytes: number): string {
  const hash = createHash('sha256')
  for (let offset = 0; offset < totalBytes; offset += MIB) {
    hash.update(bytes.at(offset, Math.min(MIB, totalBytes - offset)))
  }
  return hash.digest('hex')
}
