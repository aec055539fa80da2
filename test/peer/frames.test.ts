import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import * as lengthPrefixed from 'it-length-prefixed'
import { MIB } from '../../src/lib/bytes.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { markDisposable } from '../../src/peer/disposable-memory.ts'
import { encodeFrame, FrameDecoder } from '../../src/peer/frames.ts'

function decodeAll(decoder: FrameDecoder): Uint8Array[] {
  const messages: Uint8Array[] = []
  for (let next = decoder.next(); next; next = decoder.next()) messages.push(next)
  return messages
}

test('finds every message in any cut of the stream', () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 8 })
  fc.assert(
    fc.property(messages, fc.integer({ min: 1, max: 50 }), (sent, cut) => {
      const decoder = new FrameDecoder(400, 'test')
      const received: Uint8Array[] = []
      const stream = Buffer.concat(sent.map((message) => encodeFrame([message]).subarray()))
      for (let at = 0; at < stream.byteLength; at += cut) {
        decoder.push(new Uint8Array(stream.subarray(at, at + cut)))
        received.push(...decodeAll(decoder))
      }
      expect(received).toEqual(sent)
      expect(decoder.isInsideMessage).toBe(false)
    })
  )
})

test('frames as other libp2p implementations do', () => {
  for (const length of [0, 1, 127, 128, 16_383, 16_384, 300_000]) {
    const message = new Uint8Array(length).fill(3)

    const frame = encodeFrame([message.subarray(0, length / 2), message.subarray(length / 2)])

    const expected = lengthPrefixed.encode.single(message)
    expect(Buffer.from(frame.subarray()).equals(expected.subarray())).toBe(true)
  }
})

test('gives each message an array of its own', () => {
  const decoder = new FrameDecoder(100, 'test')
  const source = Uint8Array.of(2, 1, 1, 1, 9)
  decoder.push(source)

  const [first] = decodeAll(decoder)
  source.fill(0)

  expect(first).toEqual(Uint8Array.of(1, 1))
  expect(first?.buffer.byteLength).toBe(2)
})

test.each([
  ['longer than allowed', Uint8Array.of(101)],
  ['longer than allowed, by far', Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x7f)],
  ['of a length that never ends', new Uint8Array(9).fill(0x80)]
])('refuses a message %s', (_name, bytes) => {
  const decoder = new FrameDecoder(100, 'test')
  decoder.push(bytes)

  expect(() => decoder.next()).toThrow(MalformedError)
})

test('never hangs or crashes on any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const decoder = new FrameDecoder(200, 'test')
      decoder.push(bytes)
      try {
        decodeAll(decoder)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    })
  )
})

test('frees the memory of pieces that allow it, once they are copied', () => {
  const decoder = new FrameDecoder(1000, 'test')
  const frame = encodeFrame([new Uint8Array(300).fill(7)]).subarray()
  const marked = markDisposable(frame.slice(0, 150))
  const shared = markDisposable(new Uint8Array(200))
  shared.set(frame.subarray(150), 40)

  decoder.push(marked)
  decoder.push(shared.subarray(40, 40 + frame.byteLength - 150))
  const message = decoder.next()

  expect(message).toEqual(new Uint8Array(300).fill(7))
  expect([marked.byteLength, shared.byteLength]).toEqual([0, 200])
})

test('takes memory for a message when some of it has come', () => {
  const taken: number[] = []
  const take = (length: number): Uint8Array => {
    taken.push(length)
    return new Uint8Array(length)
  }
  const decoder = new FrameDecoder(10 * MIB, 'test', { take })
  const frame = encodeFrame([new Uint8Array(MIB)]).subarray()

  decoder.push(frame.subarray(0, 60_000))
  decoder.next()
  const before = [...taken]
  decoder.push(frame.subarray(60_000, 70_000))
  decoder.next()

  expect([before, taken]).toEqual([[], [MIB]])
})
