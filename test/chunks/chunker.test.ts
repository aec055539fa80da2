import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { Chunker, type PartialChunk, type WholeChunk } from '../../src/chunks/chunker.ts'
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
}

const make = (image: CutImage, setup: Setup = {}): Chunker => {
  const { chunkBytes = 8, inFlightBytes = 64, stagingBytes = 64, ...options } = setup
  const { onChunk, onPartial } = image
  const inFlight = new Budget(inFlightBytes)
  const staging = new Budget(stagingBytes)
  return new Chunker(
    { onChunk, onPartial, inFlight, staging, files },
    { chunkBytes, stagingFolder, ...options }
  )
}

describe('cutting', () => {
  test('hands a block that covers chunks on without copying', async () => {
    const image = new CutImage()
    const chunker = make(image)
    const block = pattern(0, 24)

    await chunker.write(8, block)
    await chunker.finish()

    expect(image.whole).toEqual([1, 2, 3])
    expect(image.partial).toEqual([])
    expect(
      image.taken.map(({ buffer, byteOffset }) => [buffer === block.buffer, byteOffset])
    ).toEqual([
      [true, 0],
      [true, 8],
      [true, 16]
    ])
  })

  test('puts chunks together from pieces in any order', async () => {
    const image = new CutImage()
    const chunker = make(image)

    for (const offset of [12, 4, 8, 0]) await chunker.write(offset, pattern(offset, 4))

    expect(image.whole).toEqual([1, 0])
    await chunker.finish()
    expect(image.bytes).toEqual(Array.from(pattern(0, 16)))
  })

  test('gives what never became whole as fragments, without the gaps', async () => {
    const partials: PartialChunk[] = []
    const onPartial = async (chunk: PartialChunk): Promise<void> => void partials.push(chunk)
    const chunker = new Chunker(
      { onChunk: async () => {}, onPartial },
      { chunkBytes: 8, stagingFolder }
    )

    for (const offset of [17, 22, 1, 18]) await chunker.write(offset, Uint8Array.of(offset))
    await chunker.finish()

    expect(partials).toEqual([
      { index: 0, start: 0, fragments: [{ at: 1, bytes: Uint8Array.of(1) }] },
      {
        index: 2,
        start: 16,
        fragments: [
          { at: 1, bytes: Uint8Array.of(17, 18) },
          { at: 6, bytes: Uint8Array.of(22) }
        ]
      }
    ])
  })

  test('moves everything by a base that is not on the grid', async () => {
    const image = new CutImage()
    const chunker = make(image, { baseOffset: 13 })

    await chunker.write(0, pattern(13, 11))
    await chunker.finish()

    expect([image.partial, image.whole]).toEqual([[1], [2]])
    expect(image.bytes.slice(13)).toEqual(Array.from(pattern(13, 11)))
  })

  test('lets the later of two blocks win, even over a chunk handed out before', async () => {
    const image = new CutImage()
    const chunker = make(image)

    await Promise.all([
      chunker.write(0, pattern(0, 16, 1)),
      chunker.write(4, pattern(4, 8, 2)),
      chunker.write(6, pattern(6, 4, 3)),
      chunker.write(8, pattern(8, 8, 4))
    ])
    await chunker.finish()

    const expected = [...pattern(0, 4, 1), ...pattern(4, 2, 2), ...pattern(6, 2, 3)]
    expect(image.bytes).toEqual([...expected, ...pattern(8, 8, 4)])
  })

  test('of nothing hands out nothing', async () => {
    const image = new CutImage()
    const chunker = make(image)

    await chunker.write(5, new Uint8Array(0))
    await chunker.finish()

    expect([image.whole, image.partial]).toEqual([[], []])
  })

  test('gives the array that was written, whatever splits, order and budgets', async () => {
    const block = fc.record({ offset: fc.nat(100), length: fc.nat(30), seed: fc.nat(255) })
    const setup = fc.record({
      chunkBytes: fc.integer({ min: 1, max: 16 }),
      inFlightBytes: fc.integer({ min: 16, max: 40 }),
      stagingBytes: fc.integer({ min: 1, max: 60 }),
      baseOffset: fc.nat(20)
    })
    const blocks = fc.array(block, { maxLength: 25 })
    await fc.assert(
      fc.asyncProperty(setup, blocks, fc.nat(4), fc.nat(), async (limits, all, turns, seed) => {
        const random = seededRandom(seed)
        const image = new CutImage()
        image.onTake = async () => {
          for (let left = Math.floor(random() * turns); left > 0; left--) await nextTurn()
        }
        const chunker = make(image, limits)
        const model: number[] = []

        const writes = all.map(async ({ offset, length, seed: each }) => {
          const bytes = pattern(offset, length, each)
          for (const [at, byte] of bytes.entries()) model[limits.baseOffset + offset + at] = byte
          await chunker.write(offset, bytes)
        })
        await Promise.all(writes)
        await chunker.finish()

        expect(image.bytes).toEqual(model)
        expect(image.mostAtOnce * limits.chunkBytes).toBeLessThanOrEqual(40 * limits.chunkBytes)
      }),
      { numRuns: 150 }
    )
    expect(await readdir(stagingFolder)).toEqual([])
    expect(files.openFiles).toBe(0)
  })

  test('takes 100,000-byte blocks in reverse over 4 streams, at a thousandth', async () => {
    const total = 256 * 1024 // of 256 MiB
    const blockBytes = 98 // 100,000 bytes to chunks of 256 KiB
    const offsets = Array.from(
      { length: Math.ceil(total / blockBytes) },
      (_, at) => at * blockBytes
    )
    const random = seededRandom(4)
    const received = { whole: 0, partial: 0, bytes: 0, isRight: true }
    const staging = new Budget(8 * 256)
    const onChunk = async ({ start, bytes }: WholeChunk): Promise<void> => {
      received.whole++
      received.bytes += bytes.byteLength
      if (bytes[0] !== (start * 31 + 1) % 256) received.isRight = false
    }
    const onPartial = async (): Promise<void> => void received.partial++
    const chunker = new Chunker(
      { onChunk, onPartial, staging, files },
      { chunkBytes: 256, stagingFolder }
    )

    // Each stream carries every fourth block from the end; one of them lags behind by chance.
    const streams = [0, 1, 2, 3].map((stream) => offsets.filter((_, at) => at % 4 === stream))
    while (streams.some((stream) => stream.length > 0)) {
      const stream = streams[Math.floor(random() * 4)]
      const offset = stream?.pop()
      if (offset === undefined) continue
      await chunker.write(offset, pattern(offset, Math.min(blockBytes, total - offset)))
    }
    await chunker.finish()

    expect(received).toEqual({ whole: total / 256, partial: 0, bytes: total, isRight: true })
    expect(staging.used).toBe(0)
    expect(files.trace.some((line) => line.startsWith('write'))).toBe(true)
  })
})

describe('limits', () => {
  test('waits when as much is in flight as may be', async () => {
    const image = new CutImage()
    const gate = Promise.withResolvers<void>()
    image.onTake = () => gate.promise
    const chunker = make(image, { inFlightBytes: 16 })

    const writing = chunker.write(0, pattern(0, 32))
    for (let turn = 0; turn < 5; turn++) await nextTurn()
    const whileClosed = image.whole.length
    gate.resolve()
    await writing

    expect(whileClosed).toBe(2)
    await chunker.finish()
    expect(image.whole).toHaveLength(4)
  })

  test('uses a file that has no name beyond its memory, and no file before', async () => {
    const image = new CutImage()
    const chunker = make(image, { stagingBytes: 16 })

    await chunker.write(0, pattern(0, 4))
    await chunker.write(8, pattern(8, 4))
    const before = files.openFiles
    await chunker.write(16, pattern(16, 4))

    expect([before, files.openFiles]).toEqual([0, 1])
    expect(await readdir(stagingFolder)).toEqual([])
    await chunker.finish()
    expect(image.bytes.filter((byte) => byte !== undefined)).toHaveLength(12)
    expect(files.openFiles).toBe(0)
  })

  test('goes to the file when others have all the memory', async () => {
    const image = new CutImage()
    const staging = new Budget(8)
    await staging.acquire(8)
    const { onChunk, onPartial } = image
    const components = { onChunk, onPartial, staging, files }
    const chunker = new Chunker(components, { chunkBytes: 8, stagingFolder })

    await chunker.write(3, pattern(3, 5))
    await chunker.write(0, pattern(0, 3))
    await chunker.finish()

    expect(image.bytes).toEqual(Array.from(pattern(0, 8)))
  })

  test('refuses more separate runs of bytes than it may remember', async () => {
    const chunker = make(new CutImage(), { chunkBytes: 64, maxRanges: 3 })
    for (const offset of [0, 2, 70]) await chunker.write(offset, Uint8Array.of(1))

    await expect(chunker.write(80, Uint8Array.of(1))).rejects.toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED'
    })
    await chunker.abort()
  })

  test.each([
    { chunkBytes: 0 },
    { chunkBytes: 1.5 },
    { baseOffset: -1 },
    { chunkBytes: 65, inFlightBytes: 64 }
  ])('refuses %p', (setup) => {
    expect(() => make(new CutImage(), setup)).toThrow(RangeError)
  })

  test('refuses offsets that cannot be', async () => {
    const chunker = make(new CutImage())

    await expect(chunker.write(-1, Uint8Array.of(1))).rejects.toThrow(RangeError)
    await expect(chunker.write(2 ** 53 - 1, Uint8Array.of(1))).rejects.toThrow(RangeError)
    await chunker.write(0, Uint8Array.of(1))
    await chunker.finish()
  })
})

describe('failures', () => {
  test('of whoever takes a chunk end the upload and free everything', async () => {
    const image = new CutImage()
    image.onTake = async (index) => {
      if (index === 1) throw new Error('no provider')
    }
    const inFlight = new Budget(16)
    const staging = new Budget(16)
    const { onChunk, onPartial } = image
    const components = { onChunk, onPartial, inFlight, staging, files }
    const chunker = new Chunker(components, { chunkBytes: 8, stagingFolder })
    await chunker.write(60, pattern(0, 3))

    await expect(chunker.write(0, pattern(0, 48))).rejects.toThrow('no provider')

    await expect(chunker.write(0, pattern(0, 1))).rejects.toThrow('no provider')
    await expect(chunker.finish()).rejects.toThrow('no provider')
    await chunker.abort()
    expect([inFlight.used, staging.used]).toEqual([0, 0])
  })

  test('of the last chunk are not lost', async () => {
    const image = new CutImage()
    image.onTake = async () => {
      await nextTurn()
      throw new Error('too late')
    }
    const chunker = make(image)
    await chunker.write(0, pattern(0, 8))
    await chunker.write(9, pattern(9, 1))

    await expect(chunker.finish()).rejects.toThrow('too late')
    await chunker.abort()
  })

  test('of the staging disk are told as such', async () => {
    const chunker = make(new CutImage(), { stagingBytes: 8 })
    await chunker.write(0, pattern(0, 4))
    files.fail({ operation: 'write', code: 'ENOSPC' })

    await expect(chunker.write(8, pattern(8, 4))).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })

    await chunker.abort()
    expect(files.openFiles).toBe(0)
  })

  test('of one caller that gives up leave the others alone', async () => {
    const image = new CutImage()
    const gate = Promise.withResolvers<void>()
    image.onTake = () => gate.promise
    const chunker = make(image, { inFlightBytes: 8 })
    const abort = new AbortController()

    const first = chunker.write(0, pattern(0, 8))
    const second = chunker.write(8, pattern(8, 8), { signal: abort.signal })
    const third = chunker.write(16, pattern(16, 8), { signal: abort.signal })
    await first
    abort.abort(new Error('enough'))

    await expect(second).rejects.toThrow('enough')
    await expect(third).rejects.toThrow('enough')
    gate.resolve()
    await chunker.write(24, pattern(24, 8))
    await chunker.finish()
    expect(image.whole).toEqual([0, 3])
  })

  test('abort ends calls that wait, waits for what runs and can be repeated', async () => {
    const image = new CutImage()
    const gate = Promise.withResolvers<void>()
    image.onTake = () => gate.promise
    const chunker = make(image, { inFlightBytes: 8, stagingBytes: 8 })
    await chunker.write(100, pattern(100, 1))
    await chunker.write(120, pattern(120, 1))
    const waiting = chunker.write(0, pattern(0, 16))
    const refused = expect(waiting).rejects.toThrow('killed')

    let hasEnded = false
    const aborting = chunker.abort(new Error('killed')).then(() => (hasEnded = true))
    await refused
    const endedBefore = hasEnded
    gate.resolve()
    await aborting
    await chunker.abort()

    expect(endedBefore).toBe(false)
    expect(files.openFiles).toBe(0)
    await expect(chunker.write(0, pattern(0, 1))).rejects.toThrow('killed')
  })

  test('abort after finish does nothing', async () => {
    const image = new CutImage()
    const chunker = make(image)
    await chunker.write(0, pattern(0, 9))
    await chunker.finish()

    await chunker.abort()

    expect(image.bytes).toHaveLength(9)
    await expect(chunker.write(0, pattern(0, 1))).rejects.toThrow(TypeError)
  })
})
