import { afterEach, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { BlobReader } from '../../src/metadata/blob-reader.ts'
import { joinRanges } from '../../src/metadata/geometry.ts'
import { type LeafList, LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import type { SignedTicket } from '../../src/metadata/ticket-types.ts'
import { readExtents } from '../../src/metadata/tree-read.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import {
  assign,
  CHUNK_BYTES,
  CREATE,
  LEASE_MS,
  startStage,
  stopStages,
  type VersionStage
} from '../support/version-stage.ts'

afterEach(stopStages)

interface AnyWrite {
  /** Leaves that the list has: index, place in it, length. */
  readonly leaves: readonly (readonly [index: number, at: number, length: number])[]
  /** Chunks that the ticket is asked for, whatever the list says. */
  readonly ranges: readonly { readonly start: number; readonly end: number }[]
  readonly endBytes: number
  readonly truncates: boolean
}

const anyLeaf = fc.tuple(
  fc.nat(5),
  fc.constantFrom(0, 0, 100),
  fc.constantFrom(CHUNK_BYTES, 50, CHUNK_BYTES - 100)
)
const anyRange = fc
  .nat(5)
  .chain((start) => fc.integer({ min: start, max: 6 }).map((end) => ({ start, end })))
const anyWrite: fc.Arbitrary<AnyWrite> = fc.record({
  leaves: fc.uniqueArray(anyLeaf, { maxLength: 5, selector: ([index]) => index }),
  ranges: fc.array(anyRange, { maxLength: 3 }),
  endBytes: fc.constantFrom(0, 30, CHUNK_BYTES, 3 * CHUNK_BYTES + 70, 6 * CHUNK_BYTES),
  truncates: fc.boolean()
})

/** Stores the chunks of a list and gives the list. */
async function store({ pool }: VersionStage, { leaves }: AnyWrite, seed: number) {
  const list = new LeafListBuilder()
  for (const [index, at, length] of leaves.toSorted((left, right) => left[0] - right[0])) {
    const bytes = sampleBytes(Math.min(length, CHUNK_BYTES - at), seed + index)
    const chunk = chunkId(bytes)
    const replicas = await pool.write(chunk, bytes)
    list.add(index, { at, length: bytes.byteLength, chunk, chunkOffset: 0, replicas })
  }
  return list.build()
}

/** Asks a ticket that does not fit its list, and dies. */
async function writeAndDie(
  stage: VersionStage,
  blob: string,
  { write, list }: { write: AnyWrite; list: LeafList }
): Promise<SignedTicket> {
  const { endBytes, truncates } = write
  const end = Math.ceil(endBytes / CHUNK_BYTES)
  const inside = write.ranges.map(({ start, end: rangeEnd }) => {
    return { start: Math.min(start, end), end: Math.min(rangeEnd, end) }
  })
  const ranges = joinRanges(inside)
  return await assign(stage, blob, list, { ranges, endBytes, truncates })
}

async function treeBytes({ metadata, pool }: VersionStage, { ticket }: SignedTicket) {
  const { blob, version, span, bytes, chunkBytes } = ticket
  const snapshot = { root: { blob, version, span }, bytes, chunkBytes }
  const read = Buffer.alloc(bytes)
  for (const extent of await readExtents(metadata, snapshot, { offset: 0, length: bytes })) {
    if (extent.chunk === undefined) continue
    const chunk = await pool.read(extent.chunk, extent.replicas)
    read.set(chunk.subarray(extent.chunkOffset, extent.chunkOffset + extent.length), extent.offset)
  }
  return read
}

async function manifestBytes(stage: VersionStage, { ticket }: SignedTicket) {
  const { metadata, pool: reader, verifier, log: logger, versions } = stage
  const blobs = new BlobReader({ metadata, reader, verifier, logger })
  const snapshot = await blobs.open(await versions.record(ticket.blob, ticket.version))
  return Buffer.concat(await Array.fromAsync(snapshot.read({ offset: 0, length: Infinity })))
}

test('tree and manifest agree whatever a dead writer put into its leaf list', async () => {
  const stage = await startStage()
  let seed = 0
  const property = fc.asyncProperty(
    fc.array(anyWrite, { minLength: 1, maxLength: 3 }),
    async (writes) => {
      const { blob } = await stage.versions.createBlob(CREATE)
      const tickets: SignedTicket[] = []
      for (const write of writes) {
        const list = await store(stage, write, (seed += 10))
        tickets.push(await writeAndDie(stage, blob, { write, list }))
      }

      stage.clock.advance(LEASE_MS + 10)
      await stage.versions.waitPublished(blob, writes.length)

      for (const signed of tickets) {
        const [tree, manifest] = [
          await treeBytes(stage, signed),
          await manifestBytes(stage, signed)
        ]
        expect(Buffer.compare(tree, manifest)).toBe(0)
      }
    }
  )

  await fc.assert(property, { numRuns: 40 })
})

test('a leaf outside of the ticket changes nothing, though its tree has one chunk', async () => {
  const stage = await startStage()
  const { blob } = await stage.versions.createBlob(CREATE)
  const leaves = [[0, 0, CHUNK_BYTES]] as const
  const write = { leaves, ranges: [], endBytes: CHUNK_BYTES, truncates: false }
  const list = await store(stage, write, 1)
  const signed = await writeAndDie(stage, blob, { write, list })

  stage.clock.advance(LEASE_MS + 10)
  await stage.versions.waitPublished(blob, 1)

  const zeros = Buffer.alloc(CHUNK_BYTES)
  expect(Buffer.compare(await treeBytes(stage, signed), zeros)).toBe(0)
  expect(Buffer.compare(await manifestBytes(stage, signed), zeros)).toBe(0)
})

test('what a version was allowed to write is known to who seals it after a restart', async () => {
  const before = await startStage({ stores: 'disk' })
  const { blob } = await before.versions.createBlob(CREATE)
  const leaves = [
    [0, 0, CHUNK_BYTES],
    [1, 0, CHUNK_BYTES]
  ] as const
  const ranges = [{ start: 1, end: 2 }]
  const write = { leaves, ranges, endBytes: 2 * CHUNK_BYTES, truncates: false }
  const list = await store(before, write, 1)
  const signed = await writeAndDie(before, blob, { write, list })
  before.clock.advance(LEASE_MS + 10)
  await before.versions.waitPublished(blob, 1)
  await before.stop({ keepFolder: true })

  const after = await startStage({ stores: 'disk', folder: before.folder }, before.clock)

  const manifest = await manifestBytes(after, signed)
  expect(manifest.subarray(0, CHUNK_BYTES)).toEqual(Buffer.alloc(CHUNK_BYTES))
  expect(manifest.subarray(CHUNK_BYTES)).toEqual(Buffer.from(sampleBytes(CHUNK_BYTES, 2)))
})
