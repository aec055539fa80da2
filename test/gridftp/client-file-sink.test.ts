import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { FileSink } from '../../src/gridftp/client-file-sink.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

let folder: string
let target: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-sink-'))
  target = join(folder, 'image')
})

afterEach(async () => rm(folder, { recursive: true, force: true }))

/** The bytes cut at the given places, in an order that the seed decides. */
function shuffledPieces(
  bytes: Uint8Array,
  cuts: readonly number[],
  seed: number
): { readonly offset: number; readonly bytes: Uint8Array }[] {
  const places = [0, ...cuts.toSorted((left, right) => left - right), bytes.byteLength]
  const random = seededRandom(seed)
  return places
    .slice(1)
    .map((end, index) => ({ offset: places[index] ?? 0, end, rank: random() }))
    .toSorted((left, right) => left.rank - right.rank)
    .map(({ offset, end }) => ({ offset, bytes: bytes.subarray(offset, end) }))
}

test('writes pieces that come in any order', async () => {
  const bytes = sampleBytes(100_000)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(bytes.byteLength), { maxLength: 300 }),
      fc.nat(),
      async (cuts, seed) => {
        const sink = await FileSink.open(target)
        const pieces = shuffledPieces(bytes, cuts, seed)

        await Promise.all(pieces.map(async (piece) => sink.take(piece.offset, piece.bytes)))
        await sink.finish()
        await sink.discard()

        expect(sha256(await readFile(target))).toBe(sha256(bytes))
      }
    ),
    { numRuns: 30 }
  )
})

test('lets the caller wait while more than 4 MiB wait for the disk', async () => {
  const sink = await FileSink.open(target)
  const bytes = sampleBytes(MIB)
  const order: string[] = []

  const takes = Array.from({ length: 6 }, async (_, index) => {
    await sink.take(index * MIB, bytes)
    order.push('taken')
  })
  await Promise.resolve()
  await Promise.resolve()
  const takenAtOnce = order.length
  await Promise.all(takes)
  await sink.finish()

  expect(takenAtOnce).toBe(4)
  expect(await readFile(target)).toHaveLength(6 * MIB)
})

test('shows nothing before it is finished, and nothing of what is discarded', async () => {
  await writeFile(target, 'what was there')
  const sink = await FileSink.open(target)

  await sink.take(0, sampleBytes(100_000))
  const whileOpen = await readFile(target, 'utf8')
  await sink.discard()

  expect(whileOpen).toBe('what was there')
  expect(await readFile(target, 'utf8')).toBe('what was there')
  expect(await readdir(folder)).toEqual(['image'])
})

test('a write that fails is told to later pieces and at the end', async () => {
  const sink = await FileSink.open(target)
  const failed = sink.take(Number.MAX_SAFE_INTEGER - 10, sampleBytes(5 * MIB))

  await expect(failed).rejects.toMatchObject({ code: expect.stringMatching(/EFBIG|EINVAL/) })
  await expect(sink.take(0, sampleBytes(1))).rejects.toThrow()
  await expect(sink.finish()).rejects.toThrow()
  await sink.discard()

  expect(await readdir(folder)).toEqual([])
})
