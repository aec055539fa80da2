import { isZeroChunk } from '../chunks/chunk-id.ts'
import type { ChunkReader } from '../chunks/replica-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { MIB } from '../lib/bytes.ts'
import type { LeafList } from './leaf-list.ts'
import type { Fragment } from './tree-types.ts'

/** Zeros are given in arrays of at most this. */
const ZERO_BYTES = MIB

/** Fragments that are fetched ahead of the taker at most, whatever their size. */
const MAX_FRAGMENTS_AHEAD = 32

/** Which part of a leaf list is read, and how. */
export interface LeafReadOptions extends AbortOptions {
  /** Where to begin, in bytes from the start of the blob. */
  readonly offset: number
  /** Where the content ends. */
  readonly endBytes: number
  readonly chunkBytes: number
  /** Bytes fetched ahead of the taker, at least one fragment. @default 8 MiB */
  readonly readAheadBytes?: number
}

interface Span {
  readonly start: number
  readonly end: number
  /** Undefined for zeros. */
  readonly fragment: Fragment | undefined
}

/**
 * Reads what leaves say by themselves, without what lies below them: gaps are zeros. For content that
 * is no version yet.
 *
 * @yields the bytes from `offset` to `endBytes` in order, in arrays that belong to the taker.
 * @throws {ChunkUnavailableError} if a chunk is nowhere.
 */
export async function* readLeaves(
  reader: ChunkReader,
  leaves: LeafList,
  options: LeafReadOptions
): AsyncGenerator<Uint8Array, void> {
  const { chunkBytes, readAheadBytes = 8 * MIB, signal: outer } = options
  const ahead = Math.max(1, Math.min(Math.floor(readAheadBytes / chunkBytes), MAX_FRAGMENTS_AHEAD))
  const stopped = new AbortController()
  const signal = outer === undefined ? stopped.signal : AbortSignal.any([outer, stopped.signal])
  const coming: Promise<Uint8Array>[] = []
  try {
    for (const span of spans(leaves, options)) {
      signal.throwIfAborted()
      const fetched = fetchSpan(reader, span, signal)
      fetched.catch(() => {}) // rejects again when it is awaited
      coming.push(fetched)
      if (coming.length < ahead) continue
      yield await (coming[0] as Promise<Uint8Array>)
      void coming.shift()
    }
    for (let next = coming[0]; next !== undefined; next = coming[0]) {
      yield await next
      void coming.shift()
    }
  } finally {
    stopped.abort()
    await Promise.allSettled(coming)
  }
}

/**
 * Walks what is written and the gaps between, cut to what is wanted.
 *
 * @yields spans that follow each other without gaps.
 */
function* spans(
  leaves: LeafList,
  { offset, endBytes, chunkBytes }: LeafReadOptions
): Generator<Span, void> {
  let at = offset
  for (const { index, fragments } of leaves) {
    for (const fragment of fragments) {
      const start = Math.max(index * chunkBytes + fragment.at, at)
      const end = Math.min(index * chunkBytes + fragment.at + fragment.length, endBytes)
      if (start >= end) continue
      yield* zeros(at, start)
      if (isZeroChunk(fragment.chunk)) yield* zeros(start, end)
      else {
        const skipped = start - (index * chunkBytes + fragment.at)
        const chunkOffset = fragment.chunkOffset + skipped
        yield { start, end, fragment: { ...fragment, chunk: fragment.chunk.slice(), chunkOffset } }
      }
      at = end
    }
  }
  yield* zeros(at, endBytes)
}

function* zeros(from: number, to: number): Generator<Span, void> {
  for (let start = from; start < to; start += ZERO_BYTES) {
    yield { start, end: Math.min(start + ZERO_BYTES, to), fragment: undefined }
  }
}

async function fetchSpan(
  reader: ChunkReader,
  { start, end, fragment }: Span,
  signal: AbortSignal
): Promise<Uint8Array> {
  if (fragment === undefined) return new Uint8Array(end - start)
  const { chunk, chunkOffset, replicas } = fragment
  const bytes = await reader.read(chunk, replicas, { signal })
  return bytes.subarray(chunkOffset, chunkOffset + end - start)
}
