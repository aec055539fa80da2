import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { ChunkBuffers } from '../../src/chunks/chunk-buffers.ts'
import { Chunker } from '../../src/chunks/chunker.ts'
import { Budget } from '../../src/lib/budget.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { CutImage, pattern } from '../support/cut-image.ts'
import { FaultyFiles } from '../support/faulty-files.ts'

let stagingFolder: string
let files: FaultyFiles

beforeEach(async () => {
  stagingFolder = await mkdtemp(join(tmpdir(), 'blobswarm-chunker-'))
  files = new FaultyFiles()
})

afterEach(async () => {
  await rm(stagingFolder, { recursive: true, force: true })
})

interface Setup {
  readonly chunkBytes?: number
  readonly inFlightBytes?: number
  readonly stagingBytes?: number
  readonly baseOffset?: number
  readonly maxRanges?: number
  readonly maxHandedOut?: number
}

function make(image: CutImage, setup: Setup = {}) {
  const { chunkBytes = 8, inFlightBytes = 64, stagingBytes = 64, ...options } = setup
  const { onChunk, onPartial } = image
  const inFlight = new Budget(inFlightBytes)
  const staging = new Budget(stagingBytes)
  const buffers = new ChunkBuffers(inFlightBytes + stagingBytes)
  const chunker = new Chunker(
    { onChunk, onPartial, inFlight, staging, buffers, files },
    { chunkBytes, stagingFolder, ...options }
  )
  return { chunker, inFlight, staging, buffers }
}

/** An image whose chunks are taken when the gate opens. */
function gated() {
  const image = new CutImage()
  const gate = Promise.withResolvers<void>()
  image.onTake = () => gate.promise
  return { image, open: gate.resolve, fail: gate.reject }
}

/** What its owner does with an array that was only lent. */
async function clearedAfter(writing: Promise<void>, lent: Uint8Array): Promise<void> {
  await writing
  lent.fill(0xee)
}

test('takes a block by copying it, so that its array can be used again at once', async () => {
  const { image, open } = gated()
  const { chunker } = make(image)
  const lent = pattern(0, 12)

  const isTaken = chunker.tryWrite(0, lent)
  lent.fill(0)

  expect(isTaken).toBe(true)
  open()
  await chunker.finish()
  expect(image.bytes).toEqual(Array.from(pattern(0, 12)))
  expect([image.whole, image.partial]).toEqual([[0], [1]])
})

test('hands out only so many chunks at the same time', async () => {
  const image = new CutImage()
  let underWay = 0
  let most = 0
  image.onTake = async () => {
    underWay += 1
    most = Math.max(most, underWay)
    await nextTurn()
    underWay -= 1
  }
  const { chunker } = make(image, { maxHandedOut: 2 })

  const isTaken = chunker.tryWrite(0, pattern(0, 40))
  await chunker.write(40, pattern(40, 16))
  await chunker.finish()

  expect(isTaken).toBe(true)
  expect(most).toBe(2)
  expect(image.bytes).toEqual(Array.from(pattern(0, 56)))
})

test('gives the array that was written, whatever way each block took', async () => {
  const block = fc.record({
    offset: fc.nat(100),
    length: fc.nat(30),
    seed: fc.nat(255),
    isTried: fc.boolean(),
    isLent: fc.boolean()
  })
  const setup = fc.record({
    chunkBytes: fc.integer({ min: 1, max: 16 }),
    inFlightBytes: fc.integer({ min: 16, max: 40 }),
    stagingBytes: fc.integer({ min: 1, max: 60 }),
    baseOffset: fc.nat(20),
    maxHandedOut: fc.integer({ min: 1, max: 4 })
  })
  const blocks = fc.array(block, { maxLength: 25 })
  await fc.assert(
    fc.asyncProperty(setup, blocks, fc.nat(4), fc.nat(), async (limits, all, turns, seed) => {
      const random = seededRandom(seed)
      const waitSome = async (): Promise<void> => {
        for (let left = Math.floor(random() * turns); left > 0; left--) await nextTurn()
      }
      const image = new CutImage()
      image.onTake = waitSome
      const { chunker, inFlight, staging } = make(image, limits)
      const model: number[] = []
      const lent = new Uint8Array(30)
      const writes: Promise<void>[] = []

      for (const { offset, length, seed: each, isTried, isLent } of all) {
        const bytes = pattern(offset, length, each)
        for (const [at, byte] of bytes.entries()) model[limits.baseOffset + offset + at] = byte
        lent.set(bytes)
        const isTaken = isTried && chunker.tryWrite(offset, lent.subarray(0, length))
        const writing = isTaken ? undefined : chunker.write(offset, bytes, { isLent })
        if (writing !== undefined) writes.push(isLent ? clearedAfter(writing, bytes) : writing)
        lent.fill(0xee)
        if (random() < 0.3) await waitSome()
      }
      await Promise.all(writes)
      await chunker.finish()

      expect(image.bytes).toEqual(model)
      expect([inFlight.used, staging.used]).toEqual([0, 0])
    }),
    { numRuns: 200 }
  )
  expect(files.openFiles).toBe(0)
})

test('copies whole chunks, too, of an array that was only lent to `write`', async () => {
  const { image, open } = gated()
  const { chunker } = make(image)
  const lent = pattern(0, 20)

  await chunker.write(0, lent, { isLent: true })
  lent.fill(0)
  open()
  await chunker.finish()

  expect(image.bytes).toEqual(Array.from(pattern(0, 20)))
  expect(image.whole).toEqual([0, 1])
})

test('takes nothing while an earlier block waits, which it would overtake', async () => {
  const { image, open } = gated()
  const { chunker } = make(image, { inFlightBytes: 8 })
  await chunker.write(0, pattern(0, 8))
  const waiting = chunker.write(8, pattern(8, 8))

  const isTaken = chunker.tryWrite(8, pattern(8, 8, 1))

  expect(isTaken).toBe(false)
  open()
  await waiting
  expect(chunker.tryWrite(8, pattern(8, 8, 2))).toBe(true)
  await chunker.finish()
  expect(image.bytes.slice(8)).toEqual(Array.from(pattern(8, 8, 2)))
})

test('lets whole chunks wait for room in flight, but only in half of the memory', async () => {
  const { image, open } = gated()
  const { chunker, staging } = make(image, { inFlightBytes: 8, stagingBytes: 32 })

  const taken = [0, 8, 16, 24, 32].map((offset) => chunker.tryWrite(offset, pattern(offset, 8)))

  expect(taken).toEqual([true, true, true, true, false])
  expect(staging.used).toBe(24)
  const writing = chunker.write(32, pattern(32, 8))
  open()
  await writing
  await chunker.finish()
  expect(image.bytes).toEqual(Array.from(pattern(0, 40)))
})

test('takes nothing of a block that does not fit as a whole', async () => {
  const image = new CutImage()
  const { chunker, staging } = make(image, { stagingBytes: 16 })

  const isTaken = chunker.tryWrite(4, pattern(4, 16))

  expect([isTaken, staging.used]).toEqual([false, 0])
  await chunker.write(4, pattern(4, 16))
  await chunker.finish()
  expect(image.bytes.slice(4)).toEqual(Array.from(pattern(4, 16)))
})

test('leaves chunks in the file and too many runs of bytes to `write`', async () => {
  const { chunker } = make(new CutImage(), { stagingBytes: 8, maxRanges: 3 })
  await chunker.write(0, pattern(0, 4))
  await chunker.write(8, pattern(8, 4))

  const taken = [chunker.tryWrite(4, pattern(4, 1)), chunker.tryWrite(12, pattern(12, 1))]
  await chunker.write(14, pattern(14, 1))

  expect(taken).toEqual([false, true])
  expect(chunker.tryWrite(10, pattern(10, 1))).toBe(false)
  await chunker.abort()
})

test('takes no impossible block, and none when it is over', async () => {
  const { chunker } = make(new CutImage())

  expect(chunker.tryWrite(-1, pattern(0, 1))).toBe(false)
  expect(chunker.tryWrite(2 ** 53 - 1, pattern(0, 1))).toBe(false)
  expect(chunker.tryWrite(5, new Uint8Array(0))).toBe(true)
  await chunker.finish()
  expect(chunker.tryWrite(0, pattern(0, 1))).toBe(false)
})

test('uses the buffers of chunks that were taken again', async () => {
  const image = new CutImage()
  const { chunker, buffers } = make(image)
  chunker.tryWrite(0, pattern(0, 8))
  await nextTurn()
  const idleBetween = buffers.idleBytes

  chunker.tryWrite(8, pattern(8, 8))
  await chunker.finish()

  expect(idleBetween).toBe(8)
  expect(buffers.idleBytes).toBe(8)
  expect(image.taken[1]?.buffer).toBe(image.taken[0]?.buffer)
})

test('leaves the buffer of a chunk alone that could not be taken', async () => {
  const { image, fail } = gated()
  const { chunker, inFlight, staging, buffers } = make(image)
  chunker.tryWrite(0, pattern(0, 12))

  fail(new Error('no provider'))
  await nextTurn()

  expect(chunker.tryWrite(12, pattern(12, 4))).toBe(false)
  await expect(chunker.write(12, pattern(12, 4))).rejects.toThrow('no provider')
  await chunker.abort()
  expect([inFlight.used, staging.used, buffers.idleBytes]).toEqual([0, 0, 8])
})
