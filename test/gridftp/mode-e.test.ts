import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { BlockDecoder, EodLedger } from '../../src/gridftp/mode-e.ts'
import {
  encodeModeEHeader,
  MODE_E_CLOSE,
  MODE_E_EOD,
  MODE_E_EOF,
  MODE_E_RESTART
} from '../../src/gridftp/mode-e-header.ts'
import { block } from '../support/raw-ftp.ts'

class Decoded {
  readonly file: Buffer
  readonly counts: number[] = []
  readonly decoder: BlockDecoder
  pieces = 0

  constructor(bytes = 64) {
    this.file = Buffer.alloc(bytes)
    this.decoder = new BlockDecoder({
      onPayload: (offset, piece) => {
        this.pieces += 1
        this.file.set(piece, offset)
      },
      onEodCount: (count) => this.counts.push(count)
    })
  }
}

describe('BlockDecoder', () => {
  test('places blocks and stops at the EOD', () => {
    const decoded = new Decoded(8)
    const next = block(0, 0, 'next file')
    const input = Buffer.concat([
      block(0, 4, 'efgh'),
      block(0, 0, 'abcd'),
      block(MODE_E_EOD, 0),
      next
    ])

    const taken = decoded.decoder.push(input)

    expect(decoded.file.toString()).toBe('abcdefgh')
    expect(decoded.decoder.isEnded).toBe(true)
    expect(input.subarray(taken)).toEqual(next)
  })

  test.each([
    ['flags that mean nothing', block(0x02, 0)],
    ['text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a block that ends beyond what a file can have', block(0, 2 ** 53 - 2, 'abc')]
  ])('has not begun after %s', (_name, bytes) => {
    const { decoder } = new Decoded()

    expect(() => decoder.push(bytes)).toThrow('MODE E header')

    expect(decoder.hasBegun).toBe(false)
  })

  test('passes over flags that mean nothing once it has begun', () => {
    const decoded = new Decoded(2)

    decoded.decoder.push(Buffer.concat([block(0, 0, 'a'), block(0x02, 1, 'b')]))

    expect([decoded.file.toString(), decoded.decoder.hasBegun]).toEqual(['ab', true])
  })

  test('shows what it has of a header that is not whole', () => {
    const { decoder } = new Decoded()
    const header = block(0, 0, 'a').subarray(0, 16)

    decoder.push(header)

    expect(Buffer.from(decoder.unfinishedHeader)).toEqual(header)
    expect(decoder.hasBegun).toBe(false)
  })

  test('takes an EOD on a block with payload', () => {
    const decoded = new Decoded(4)

    decoded.decoder.push(block(MODE_E_EOD, 0, 'abcd'))

    expect(decoded.file.toString()).toBe('abcd')
    expect(decoded.decoder.isEnded).toBe(true)
  })

  test('an EOF has no payload, whatever its count says', () => {
    const decoded = new Decoded()
    const flags = MODE_E_EOF + MODE_E_EOD + MODE_E_CLOSE

    decoded.decoder.push(encodeModeEHeader({ flags, count: 5, offset: 3 }))

    expect(decoded.counts).toEqual([3])
    expect(decoded.decoder.isEnded).toBe(true)
    expect(decoded.decoder.isClosing).toBe(true)
  })

  test('an EOF alone leaves the connection open for more blocks', () => {
    const decoded = new Decoded(4)

    decoded.decoder.push(Buffer.concat([block(MODE_E_EOF, 2), block(MODE_E_EOD, 0, 'abcd')]))

    expect(decoded.counts).toEqual([2])
    expect(decoded.file.toString()).toBe('abcd')
  })

  test('an empty block is nothing, a restart marker is not part of the file', () => {
    const decoded = new Decoded(4)

    decoded.decoder.push(Buffer.concat([block(0, 9), block(MODE_E_RESTART, 0, 'xxxx')]))

    expect(decoded.file).toEqual(Buffer.alloc(4))
    expect(decoded.decoder.isEnded).toBe(false)
    expect(decoded.decoder.isInsideBlock).toBe(false)
  })

  test('hands on pieces as they come, without waiting for the block', () => {
    const decoded = new Decoded(8)
    const input = block(0, 0, 'abcdefgh')

    decoded.decoder.push(input.subarray(0, 20))

    expect(decoded.file.subarray(0, 4).toString()).toBe('abc\0')
    expect(decoded.decoder.isInsideBlock).toBe(true)
  })

  test('refuses a block that ends beyond what a file can have', () => {
    const header = encodeModeEHeader({ flags: 0, count: 2, offset: Number.MAX_SAFE_INTEGER - 1 })

    expect(() => new Decoded().decoder.push(header)).toThrow(
      expect.objectContaining({ code: 'ERR_MALFORMED' })
    )
  })

  test('understands the same however the bytes are cut', () => {
    const blocks = fc.array(
      fc.record({ offset: fc.nat(200), payload: fc.uint8Array({ maxLength: 50 }) })
    )
    fc.assert(
      fc.property(blocks, fc.array(fc.integer({ min: 1, max: 30 })), (parts, cuts) => {
        const encoded = parts.map(({ offset, payload }) => block(0, offset, payload))
        const input = Buffer.concat([
          ...encoded,
          block(MODE_E_EOF + MODE_E_EOD, 1),
          Buffer.from('rest')
        ])
        const expected = Buffer.alloc(300)
        for (const { offset, payload } of parts) expected.set(payload, offset)
        const decoded = new Decoded(300)
        let taken = 0
        for (const cut of [...cuts, input.byteLength]) {
          taken += decoded.decoder.push(input.subarray(taken, taken + cut))
        }

        expect(decoded.file).toEqual(expected)
        expect(decoded.counts).toEqual([1])
        expect(input.subarray(taken).toString()).toBe('rest')
      })
    )
  })

  test('any bytes are decoded or refused, never more than were given', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        let payload = 0
        const decoder = new BlockDecoder({
          onPayload: (_offset, piece) => {
            payload += piece.byteLength
          },
          onEodCount: () => {}
        })
        const taken = pushOrRefuse(decoder, bytes)

        expect(taken).toBeLessThanOrEqual(bytes.byteLength)
        expect(payload).toBeLessThanOrEqual(bytes.byteLength)
      })
    )
  })
})

function pushOrRefuse(decoder: BlockDecoder, bytes: Uint8Array): number {
  try {
    return decoder.push(bytes)
  } catch {
    return 0
  }
}

describe('EodLedger', () => {
  test('is complete when as many EODs were seen as announced, in either order', () => {
    const early = new EodLedger(64)
    early.noteCount(2)
    early.noteEod()
    const before = early.isComplete
    early.noteEod()
    const late = new EodLedger(64)
    late.noteEod()
    late.noteCount(1)

    expect([before, early.isComplete, late.isComplete]).toEqual([false, true, true])
  })

  test('is not complete before anything came', () => {
    expect(new EodLedger(64).isComplete).toBe(false)
  })

  test('refuses counts that cannot be', () => {
    const seen = new EodLedger(64)
    seen.noteEod()
    seen.noteEod()
    const counted = new EodLedger(64)
    counted.noteCount(1)
    counted.noteEod()

    expect(() => seen.noteCount(1)).toThrow(/1 EODs, 2 were seen/)
    expect(() => counted.noteCount(1)).toThrow(/second EOF/)
    expect(() => counted.noteEod()).toThrow(/2 EODs, 1 announced/)
    expect(() => new EodLedger(64).noteCount(0)).toThrow(/0 EODs/)
    expect(() => new EodLedger(64).noteCount(65)).toThrow(/65 EODs/)
  })
})
