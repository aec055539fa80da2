import type { ChunkList } from '../chunks/chunk-list.ts'
import { MAX_MANIFEST_CHILDREN } from '../chunks/manifest.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { equalBytes } from '../lib/bytes.ts'
import { anySignal } from '../lib/signals.ts'
import { IncomparableVersionsError } from './errors.ts'
import type { ManifestView } from './manifest-view.ts'
import type { ByteRange } from './types.ts'

/** Pairs of pages of one level that are fetched ahead of their taker. */
const PAGES_AHEAD = 8

interface Pair {
  readonly before: ManifestView
  readonly after: ManifestView
}

/** The same page of two manifests. */
interface PagePair {
  readonly page: number
  readonly before: ChunkList
  readonly after: ChunkList
}

/**
 * Finds out where two versions differ, without reading chunks: walks both manifests from the root
 * and goes only below pages that differ, so that it fetches about as many pages as have changed.
 * A chunk that has changed counts as a whole, and what only the longer version has counts as
 * changed even if it is zeros. Holds a few dozen pages at a time, however large the versions are.
 *
 * @yields ranges of bytes in order that do not touch.
 * @throws {IncomparableVersionsError} if their chunks differ in size.
 */
export async function* diffManifests(
  before: ManifestView,
  after: ManifestView,
  options: AbortOptions = {}
): AsyncGenerator<ByteRange, void> {
  const { chunkBytes } = before
  if (chunkBytes !== after.chunkBytes) {
    throw new IncomparableVersionsError(`chunks of ${chunkBytes} and ${after.chunkBytes} bytes`)
  }
  if (equalBytes(before.root, after.root)) return
  const end = Math.max(before.bytes, after.bytes)
  let [from, to] = [0, 0]
  for await (const index of changedChunks({ before, after }, options)) {
    const start = index * chunkBytes
    if (start > to) {
      if (to > from) yield { offset: from, length: to - from }
      from = start
    }
    to = Math.min(start + chunkBytes, end)
  }
  const tail = Math.min(before.bytes, after.bytes)
  if (tail > to && end > tail) {
    if (to > from) yield { offset: from, length: to - from }
    from = tail
  }
  if (end > tail) to = end
  if (to > from) yield { offset: from, length: to - from }
}

/**
 * Compares the chunks that both have.
 *
 * @yields the indexes of those that differ, in order.
 */
async function* changedChunks(pair: Pair, options: AbortOptions): AsyncGenerator<number, void> {
  const { before, after } = pair
  if (before.chunkCount === 0 || after.chunkCount === 0) return
  // The root of the smaller one lists items of this level; the other has a page that does.
  const level = Math.min(before.levels, after.levels)
  yield* changedItems(pair, { level, pages: onlyFirst() }, options)
}

/**
 * Compares the items of a level that the given pages of the level above list, and what is below
 * them.
 *
 * @yields the indexes of chunks that differ.
 */
async function* changedItems(
  pair: Pair,
  { level, pages }: { readonly level: number; readonly pages: AsyncIterable<number> },
  options: AbortOptions
): AsyncGenerator<number, void> {
  const changed = changedIn(pagesAhead(pair, level, pages, options))
  if (level === 0) yield* changed
  else yield* changedItems(pair, { level: level - 1, pages: changed }, options)
}

async function* onlyFirst(): AsyncGenerator<number, void> {
  yield 0
}

async function* changedIn(pages: AsyncIterable<PagePair>): AsyncGenerator<number, void> {
  for await (const { page, before, after } of pages) {
    const count = Math.min(before.count, after.count)
    for (let at = 0; at < count; at++) {
      if (!equalBytes(before.get(at), after.get(at))) yield page * MAX_MANIFEST_CHILDREN + at
    }
  }
}

/**
 * Fetches pages in order, a few at a time.
 *
 * @yields the pairs in the order of `pages`.
 */
async function* pagesAhead(
  pair: Pair,
  level: number,
  pages: AsyncIterable<number>,
  options: AbortOptions
): AsyncGenerator<PagePair, void> {
  const stopped = new AbortController()
  const signal = anySignal([options.signal, stopped.signal])
  const ahead: Promise<PagePair>[] = []
  try {
    for await (const page of pages) {
      const fetched = fetchPair(pair, level, page, { signal })
      fetched.catch(() => {}) // kept until somebody waits for it
      ahead.push(fetched)
      if (ahead.length < PAGES_AHEAD) continue
      const next = await ahead.shift()
      if (next !== undefined) yield next
    }
    for (const fetched of ahead) yield await fetched
  } finally {
    stopped.abort()
    await Promise.allSettled(ahead)
  }
}

async function fetchPair(
  { before, after }: Pair,
  level: number,
  page: number,
  options: AbortOptions
): Promise<PagePair> {
  const [left, right] = await Promise.all([
    before.items(level, page, options),
    after.items(level, page, options)
  ])
  return { page, before: left, after: right }
}
