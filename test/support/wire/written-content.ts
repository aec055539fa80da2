import { createHash } from 'node:crypto'
import { KIB } from '../../../src/lib/bytes.ts'
import { type Random, seededRandom } from '../../../src/lib/random.ts'
import type { WriteMode } from '../../../src/metadata/blob-writer-types.ts'
import { sampleBytes } from '../sample-bytes.ts'

/** Chunk size of the blob that is written. */
export const WIRE_CHUNK_BYTES = 64 * KIB

/** Bytes that go to an offset; in an append the offset counts from the end. */
export interface WrittenPiece {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** All that one write does. */
export interface WrittenContent {
  readonly mode: WriteMode
  /** Later ones lie over earlier ones. */
  readonly pieces: readonly WrittenPiece[]
  /** Size that the version has at least. */
  readonly extendTo: number
}

/** Chunks in which patches begin. */
const REACH_CHUNKS = 8
const POOL_SEEDS = 6

/**
 * What the write of that name does: a pure function, so that whoever reads the name in a version's note
 * can replay it.
 */
export function contentOf(name: string): WrittenContent {
  const seed = createHash('sha256').update(name).digest().readUInt32BE()
  const random = seededRandom(seed)
  const choice = random()
  if (choice < 0.2) return { mode: 'append', pieces: [pieceOf(random, 0)], extendTo: 0 }
  const mode = choice < 0.35 ? 'replace' : 'patch'
  const count = random() < 0.6 ? 1 + below(random, 2) : 1 + below(random, 12)
  const pieces = Array.from({ length: count }, () => {
    const start = below(random, REACH_CHUNKS) * WIRE_CHUNK_BYTES
    return pieceOf(random, random() < 0.4 ? start : start + below(random, WIRE_CHUNK_BYTES))
  })
  const reach = (REACH_CHUNKS + 2) * WIRE_CHUNK_BYTES
  return { mode, pieces, extendTo: random() < 0.15 ? below(random, reach) : 0 }
}

/** What a version reads as that was written over `older`. */
export function applyContent(older: Uint8Array, content: WrittenContent): Uint8Array {
  const { mode, pieces, extendTo } = content
  const base = mode === 'append' ? older.byteLength : 0
  const ends = pieces.map(({ offset, bytes }) => base + offset + bytes.byteLength)
  const kept = mode === 'replace' ? new Uint8Array() : older
  const newer = new Uint8Array(Math.max(kept.byteLength, extendTo, ...ends))
  newer.set(kept)
  for (const { offset, bytes } of pieces) newer.set(bytes, base + offset)
  return newer
}

function pieceOf(random: Random, offset: number): WrittenPiece {
  const choice = random()
  if (choice < 0.1) return { offset, bytes: new Uint8Array(1 + below(random, 90_000)) }
  if (choice < 0.3) {
    // Whole chunks that others write too, so that writers find each other's chunks.
    return { offset, bytes: sampleBytes(WIRE_CHUNK_BYTES, 1 + below(random, POOL_SEEDS)) }
  }
  const length = 1 + below(random, random() < 0.5 ? 2000 : 100_000)
  return { offset, bytes: sampleBytes(length, below(random, 2 ** 32)) }
}

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit)
}
