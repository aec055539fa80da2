import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { concatBytes } from '../../src/lib/bytes.ts'
import { GatheredFrames } from '../../src/peer/gathered-frames.ts'

function frame(length: number, fill: number): Uint8Array {
  return Uint8Array.of(length >> 8, length & 255, ...new Uint8Array(length).fill(fill))
}

/** Hands bytes on in pieces out of one buffer that is written over, as sockets are read. */
function pushInPieces(frames: GatheredFrames, bytes: Uint8Array, sizes: readonly number[]): void {
  const shared = new Uint8Array(70_000)
  for (let at = 0, turn = 0; at < bytes.byteLength; turn++) {
    const piece = bytes.subarray(at, at + (sizes[turn % sizes.length] ?? 1))
    shared.set(piece)
    frames.push(shared.subarray(0, piece.byteLength))
    shared.fill(0xee)
    at += piece.byteLength
  }
}

const LENGTHS = fc.array(fc.oneof(fc.nat(40), fc.constantFrom(16_382, 20_000, 65_535)), {
  maxLength: 6
})
const SIZES = fc.array(fc.integer({ min: 1, max: 66_000 }), { minLength: 1, maxLength: 5 })

test('delivers whole frames however they are cut, to a taker that keeps them', () => {
  fc.assert(
    fc.property(LENGTHS, SIZES, (lengths, sizes) => {
      const taken: Uint8Array[] = []
      const taker = { deliver: (bytes: Uint8Array) => taken.push(bytes), isPrompt: () => false }
      const frames = new GatheredFrames(taker)
      const sent = lengths.map((length, n) => frame(length, n))

      frames.begin()
      pushInPieces(frames, concatBytes(sent), sizes)

      expect(taken.map((bytes) => Buffer.from(bytes).toString('base64'))).toEqual(
        sent.map((bytes) => Buffer.from(bytes).toString('base64'))
      )
    }),
    { numRuns: 15 }
  )
})

test('delivers the same to a taker that is done with them at once', () => {
  fc.assert(
    fc.property(LENGTHS, SIZES, (lengths, sizes) => {
      const taken: string[] = []
      const frames = new GatheredFrames({
        deliver: (bytes) => void taken.push(Buffer.from(bytes).toString('base64')),
        isPrompt: () => true
      })
      const sent = lengths.map((length, n) => frame(length, n))

      frames.begin()
      pushInPieces(frames, concatBytes(sent), sizes)

      expect(taken).toEqual(sent.map((bytes) => Buffer.from(bytes).toString('base64')))
    }),
    { numRuns: 15 }
  )
})

test('delivers bytes as they come, in memory of their own, until frames begin', () => {
  const taken: Uint8Array[] = []
  const frames = new GatheredFrames({
    deliver: (bytes) => void taken.push(bytes),
    isPrompt: () => true
  })

  pushInPieces(frames, Uint8Array.of(9, 9, 9), [2])
  frames.begin()
  pushInPieces(frames, frame(3, 7), [1])

  expect(taken.slice(0, 2)).toEqual([Uint8Array.of(9, 9), Uint8Array.of(9)])
  expect(taken.slice(2).map((bytes) => bytes.byteLength)).toEqual([5])
})

test('does not use the memory again of a frame that was kept', () => {
  const taken: Uint8Array[] = []
  const frames = new GatheredFrames({
    deliver: (bytes) => void taken.push(bytes),
    isPrompt: () => false
  })
  const [first, second] = [frame(30_000, 1), frame(30_000, 2)]

  frames.begin()
  pushInPieces(frames, concatBytes([first, second]), [10_000])

  expect(taken.map((bytes) => bytes.at(-1))).toEqual([1, 2])
})
