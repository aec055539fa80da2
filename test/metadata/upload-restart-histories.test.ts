/** Uploads that break at any place, any number of times, against an array of bytes. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { subtractRanges } from '../../src/lib/range-arithmetic.ts'
import { type Range, RangeSet } from '../../src/lib/range-set.ts'
import type { Upload } from '../../src/metadata/upload.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { startUploadFront, type UploadFront } from '../support/upload-front.ts'

const CHUNK = 65_536
const MAX_CHUNKS = 9

let run: TestRepository
let front: UploadFront

beforeAll(async () => {
  run = await startTestRepository({ chunkBytes: CHUNK })
  front = await startUploadFront(run)
})

afterAll(async () => {
  await front.stop()
  await run.stop()
})

/** One attempt: how much of what is left is sent, in what order, and how it ends. */
const attempts = fc.array(
  fc.record({
    blockBytes: fc.integer({ min: 10_000, max: 3 * CHUNK }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    turn: fc.nat(50),
    checkpointEvery: fc.integer({ min: 1, max: 5 }),
    /** told: a last checkpoint reaches the client. crash: the front dies without a word. */
    end: fc.constantFrom('told', 'broken', 'crash')
  }),
  { minLength: 1, maxLength: 3 }
)

type Attempt = typeof attempts extends fc.Arbitrary<readonly (infer T)[]> ? T : never

/** Cuts what is left into blocks, in an order of its own. */
function blocksOf(left: readonly Range[], { blockBytes, turn }: Attempt): Range[] {
  const blocks = left.flatMap(({ start, end }) =>
    Array.from({ length: Math.ceil((end - start) / blockBytes) }, (_, at) => {
      const from = start + at * blockBytes
      return { start: from, end: Math.min(end, from + blockBytes) }
    })
  )
  const odd = blocks.filter((_, at) => at % 2 === 1)
  const mixed = [...blocks.filter((_, at) => at % 2 === 0), ...odd]
  return [...mixed.slice(turn % (mixed.length || 1)), ...mixed.slice(0, turn % (mixed.length || 1))]
}

async function open(path: string, told: RangeSet): Promise<Upload> {
  const restart = { user: 'ada', continuing: Array.from(told) }
  return await front.repository.openWrite(path, { mode: 'replace', restart })
}

async function attempt(path: string, image: Uint8Array, told: RangeSet, how: Attempt) {
  const writer = await open(path, told)
  const tell = async (): Promise<void> => {
    for (const { start, end } of Array.from(await writer.checkpoint())) told.add(start, end)
  }
  const left = Array.from(subtractRanges([{ start: 0, end: image.byteLength }], told))
  const blocks = blocksOf(left, how)
  for (const [at, { start, end }] of blocks.slice(0, blocks.length * how.share).entries()) {
    await writer.write(start, image.slice(start, end))
    if (at % how.checkpointEvery === 0) await tell()
  }
  if (how.end === 'told') await tell()
  if (how.end === 'crash') {
    await front.stop()
    await writer.abort() // its process is gone, and with it whatever could change the journal
    front = await startUploadFront(run)
  } else {
    await writer.suspend()
  }
}

test('an upload that was continued is one version with the bytes of the file', async () => {
  let number = 0
  const sizes = fc.integer({ min: 1, max: MAX_CHUNKS * CHUNK })
  await fc.assert(
    fc.asyncProperty(sizes, attempts, fc.nat(1000), async (bytes, history, seed) => {
      const path = `/image-${number++}`
      const image = sampleBytes(bytes, seed)
      const told = new RangeSet()

      for (const how of history) await attempt(path, image, told, how)
      const last = await open(path, told)
      const left = Array.from(subtractRanges([{ start: 0, end: bytes }], told))
      for (const { start, end } of left) await last.write(start, image.slice(start, end))
      const { version } = await last.publish()
      const snapshot = await front.repository.openRead(path)
      const content = await Array.fromAsync(snapshot.read({ offset: 0, length: bytes }))

      expect(version).toBe(1)
      expect(snapshot.bytes).toBe(bytes)
      expect(Buffer.concat(content).equals(image)).toBe(true)
      expect(front.kept.keptCount).toBe(0)
    }),
    { numRuns: 12 }
  )
})
