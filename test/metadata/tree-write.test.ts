import { describe, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import type { NodeStore } from '../../src/metadata/store-types.ts'
import type { Ticket } from '../../src/metadata/ticket-types.ts'
import { proveNodes, signTicket } from '../../src/metadata/tickets.ts'
import { readExtents } from '../../src/metadata/tree-read.ts'
import type { KeyedNode, LeafEntry, NodeKey } from '../../src/metadata/tree-types.ts'
import { weaveNodes } from '../../src/metadata/tree-write.ts'
import type { ChunkRange } from '../../src/metadata/types.ts'
import { gullible, plainSigner } from '../support/plain-signing.ts'

const BLOB = 'ab'.repeat(32)
const CHUNK_BYTES = 65_536
const signer = plainSigner('writer')

function ticketOf(fields: Partial<Ticket>): Ticket {
  const { version = 1, bytes = 0, span = 1, ranges = [], base } = fields
  return {
    blob: BLOB,
    version,
    bytes,
    span,
    ranges,
    base,
    chunkBytes: CHUNK_BYTES,
    previousSpan: base?.span ?? 0,
    truncates: base === undefined,
    writer: 'writer',
    leafList: chunkId(Buffer.from('list')),
    inFlight: [],
    leaseUntilMs: 0,
    ...fields
  }
}

function entry(index: number, length = CHUNK_BYTES): LeafEntry {
  const chunk = chunkId(Buffer.from(`chunk ${index}`))
  return { index, fragments: [{ at: 0, length, chunk, chunkOffset: 0, replicas: ['p1'] }] }
}

function entriesOf(ranges: readonly ChunkRange[]): LeafEntry[] {
  return ranges.flatMap(({ start, end }) =>
    Array.from({ length: end - start }, (_, at) => entry(start + at))
  )
}

async function weave(
  ticket: Ticket,
  leaves: Iterable<LeafEntry>,
  store: NodeStore = new MemoryMetadataStore({ verifier: gullible })
): Promise<KeyedNode[][]> {
  const batches: KeyedNode[][] = []
  for await (const batch of weaveNodes(ticket, leaves, store)) batches.push(batch)
  return batches
}

async function put(store: NodeStore, ticket: Ticket, batches: KeyedNode[][]): Promise<void> {
  const { envelope } = signTicket(signer, ticket)
  for (const batch of batches) await store.putNodes(batch, proveNodes(signer, envelope, batch))
}

/** Counts the rounds and keys of look-ups. */
class CountingStore extends MemoryMetadataStore {
  readonly asked: number[] = []

  override async getNodes(keys: readonly NodeKey[]) {
    this.asked.push(keys.length)
    return await super.getNodes(keys)
  }
}

const published: Ticket = ticketOf({
  bytes: 512 * CHUNK_BYTES,
  span: 512,
  ranges: [{ start: 0, end: 512 }]
})

async function withPublished(): Promise<CountingStore> {
  const store = new CountingStore({ verifier: gullible })
  await put(store, published, await weave(published, entriesOf(published.ranges), store))
  return store
}

function patch(ranges: readonly ChunkRange[]): Ticket {
  const base = { blob: BLOB, version: 1, span: 512 }
  return ticketOf({ version: 2, bytes: published.bytes, span: 512, ranges, base })
}

describe('weaving', () => {
  test('one chunk makes a node a level and looks up one path, a round a level', async () => {
    const store = await withPublished()
    const ranges = [{ start: 234, end: 235 }]

    const batches = await weave(patch(ranges), [entry(234)], store)

    expect(batches).toHaveLength(1)
    expect(batches[0]).toHaveLength(10)
    expect(store.asked).toHaveLength(9)
    expect(Math.max(...store.asked)).toBe(1)
  })

  test('many separate chunks look up all their paths in the rounds of one', async () => {
    const store = await withPublished()
    const ranges = Array.from({ length: 32 }, (_, at) => ({ start: at * 16, end: at * 16 + 1 }))

    const batches = await weave(patch(ranges), entriesOf(ranges), store)

    expect(batches).toHaveLength(1)
    expect(store.asked).toHaveLength(9)
  })

  test('a write over everything looks up nothing', async () => {
    const store = await withPublished()

    await weave(patch([{ start: 0, end: 512 }]), entriesOf(published.ranges), store)

    expect(store.asked).toEqual([])
  })

  test('a range without an entry links to what is there', async () => {
    const store = await withPublished()
    const ticket = patch([{ start: 10, end: 13 }])

    await put(store, ticket, await weave(ticket, [entry(10), entry(12)], store))

    const root = { blob: BLOB, version: 2, span: 512 }
    const snapshot = { root, bytes: published.bytes, chunkBytes: CHUNK_BYTES }
    const at = { offset: 11 * CHUNK_BYTES, length: 1 }
    const [found] = await readExtents(store, snapshot, at)
    expect(found?.chunk).toEqual(entry(11).fragments[0]?.chunk)
  })

  test('100,000 leaves come in batches of bounded size, within seconds', async () => {
    const chunks = 100_000
    const ticket = ticketOf({
      bytes: chunks * CHUNK_BYTES,
      span: 131_072,
      ranges: [{ start: 0, end: chunks }]
    })

    const batches = await weave(ticket, entriesOf(ticket.ranges))

    const counts = batches.map((batch) => batch.length)
    expect(Math.max(...counts)).toBeLessThanOrEqual(1022)
    const nodes = new Set(batches.flat().map(({ key }) => `${key.offset}/${key.span}`))
    expect(nodes.size).toBe(counts.reduce((sum, count) => sum + count, 0))
    expect(nodes.size).toBe(200_006)
  })

  test('4,096 ranges far apart in a large blob stay quick', async () => {
    const span = 2 ** 24
    const ranges = Array.from({ length: 4096 }, (_, at) => ({
      start: at * 4096,
      end: at * 4096 + 1
    }))
    const ticket = ticketOf({ bytes: span * CHUNK_BYTES, span, ranges, truncates: false })

    const batches = await weave(ticket, entriesOf(ranges))

    expect(batches.flat().length).toBe(4096 * 13 + 4095)
  })

  test('refuses entries that the ticket does not cover, or leaves them out if told', async () => {
    const ticket = patch([{ start: 10, end: 12 }])
    const store = await withPublished()
    const cases: [LeafEntry[], string][] = [
      [[entry(9)], 'outside the ranges'],
      [[entry(12)], 'outside the ranges'],
      [[entry(10, CHUNK_BYTES + 1)], 'bytes up to'],
      [[entry(11), entry(10)], 'not sorted']
    ]
    for (const [leaves, reason] of cases) {
      await expect(weave(ticket, leaves, store)).rejects.toThrow(reason)
    }
    const left: number[] = []
    const onMisfit = ({ index }: LeafEntry): void => void left.push(index)

    const nodes: KeyedNode[] = []
    const leaves = [entry(9), entry(10), entry(13)]
    for await (const batch of weaveNodes(ticket, leaves, store, { onMisfit })) nodes.push(...batch)

    expect(left).toEqual([9, 13])
    expect(nodes.filter(({ key }) => key.span === 1).map(({ key }) => key.offset)).toEqual([10, 11])
  })

  test('says which node of the published tree is missing', async () => {
    const ticket = patch([{ start: 10, end: 12 }])

    await expect(weave(ticket, entriesOf(ticket.ranges))).rejects.toMatchObject({
      code: 'ERR_METADATA_MISSING'
    })
  })

  test('stops at an abort', async () => {
    const store = await withPublished()
    const signal = AbortSignal.abort(new Error('given up'))
    const ticket = patch([{ start: 10, end: 12 }])

    const woven = weaveNodes(ticket, entriesOf(ticket.ranges), store, { signal }).next()

    await expect(woven).rejects.toThrow('given up')
  })
})

describe('reading', () => {
  const snapshot = {
    root: { blob: BLOB, version: 1, span: 512 },
    bytes: published.bytes,
    chunkBytes: CHUNK_BYTES
  }

  test('takes a round a level and only what the range touches', async () => {
    const store = await withPublished()

    const range = { offset: 100 * CHUNK_BYTES + 5, length: 2 * CHUNK_BYTES }
    const extents = await readExtents(store, snapshot, range)

    expect(extents.map(({ offset, length, chunkOffset }) => [offset, length, chunkOffset])).toEqual(
      [
        [range.offset, CHUNK_BYTES - 5, 5],
        [101 * CHUNK_BYTES, CHUNK_BYTES, 0],
        [102 * CHUNK_BYTES, 5, 0]
      ]
    )
    expect(store.asked).toHaveLength(10)
    expect(Math.max(...store.asked)).toBe(3)
  })

  test('ends where the version ends, and gives nothing past it', async () => {
    const store = await withPublished()
    const end = published.bytes

    expect(await readExtents(store, snapshot, { offset: end - 1, length: 9 })).toHaveLength(1)
    expect(await readExtents(store, snapshot, { offset: end, length: 9 })).toEqual([])
    expect(await readExtents(store, snapshot, { offset: end * 2, length: 9 })).toEqual([])
    expect(await readExtents(store, snapshot, { offset: 5, length: 0 })).toEqual([])
  })

  test('gives one hole for what nobody wrote', async () => {
    const store = new CountingStore({ verifier: gullible })
    const ticket = ticketOf({
      bytes: 8 * CHUNK_BYTES,
      span: 8,
      ranges: [{ start: 3, end: 4 }],
      truncates: false
    })
    await put(store, ticket, await weave(ticket, [entry(3)], store))
    const whole = { offset: 0, length: ticket.bytes }

    const root = { blob: BLOB, version: 1, span: 8 }
    const extents = await readExtents(store, { ...snapshot, root, bytes: ticket.bytes }, whole)

    expect(extents.map(({ length, chunk }) => [length / CHUNK_BYTES, chunk !== undefined])).toEqual(
      [
        [3, false],
        [1, true],
        [4, false]
      ]
    )
    const nothing = await readExtents(store, { ...snapshot, root: undefined, bytes: 9 }, whole)
    expect(nothing).toEqual([
      { offset: 0, length: 9, chunk: undefined, chunkOffset: 0, replicas: [] }
    ])
  })

  test('refuses a tree that leads to newer versions', async () => {
    const newer = { blob: BLOB, version: 9 }
    const store: NodeStore = {
      getNodes: async (keys) => keys.map(() => ({ kind: 'inner', left: newer, right: newer })),
      putNodes: async () => {}
    }

    await expect(readExtents(store, snapshot, { offset: 0, length: 1 })).rejects.toMatchObject({
      code: 'ERR_INVALID_NODE'
    })
  })
})
