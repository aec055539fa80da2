import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { type FtpReply, ReplyReader } from '../../src/gridftp/reply-reader.ts'
import { LimitExceededError, MalformedError } from '../../src/lib/errors.ts'

const read = (text: string, options = {}): FtpReply[] =>
  new ReplyReader(options).push(Buffer.from(text))

const TRANSCRIPT = [
  '220 vm GridFTP Server ready.',
  '211-Extensions supported',
  ' PARALLEL',
  ' REST STREAM',
  '211 End.',
  '112-Perf Marker',
  ' Timestamp:  1795327178.3',
  ' Stripe Index: 0',
  '112 End.',
  '500-Command failed. : no such file',
  '500-System error in open',
  '500 End.',
  '200',
  ''
].join('\r\n')

const REPLIES: FtpReply[] = [
  { code: 220, lines: ['vm GridFTP Server ready.'] },
  { code: 211, lines: ['Extensions supported', ' PARALLEL', ' REST STREAM', 'End.'] },
  {
    code: 112,
    lines: ['Perf Marker', ' Timestamp:  1795327178.3', ' Stripe Index: 0', 'End.']
  },
  { code: 500, lines: ['Command failed. : no such file', 'System error in open', 'End.'] },
  { code: 200, lines: [''] }
]

test('reads one-line and multi-line replies', () => {
  expect(read(TRANSCRIPT)).toEqual(REPLIES)
})

test('reads the same however the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(TRANSCRIPT.length), { maxLength: 20 }), (cuts) => {
      const reader = new ReplyReader()
      const ends = [...cuts.toSorted((left, right) => left - right), TRANSCRIPT.length]

      const replies = ends.flatMap((end, index) =>
        reader.push(Buffer.from(TRANSCRIPT.slice(ends[index - 1] ?? 0, end)))
      )

      expect(replies).toEqual(REPLIES)
    })
  )
})

test('takes a lone line feed for a line end, and text that is not ASCII', () => {
  expect(read('550-größe.raw\n550 fehlt\n')).toEqual([{ code: 550, lines: ['größe.raw', 'fehlt'] }])
})

test('a line with another code does not end a reply', () => {
  expect(read('211-a\r\n220 b\r\n211 c\r\n')).toEqual([{ code: 211, lines: ['a', '220 b', 'c'] }])
})

test('refuses a reply without a code', () => {
  for (const text of ['hello\r\n', '99 x\r\n', '2200 x\r\n', '\r\n', 'SSH-2.0-x\r\n']) {
    expect(() => read(text)).toThrow(MalformedError)
  }
})

test('refuses a reply, or a line, that never ends', () => {
  const reader = new ReplyReader({ maxReplyBytes: 100 })
  const endless = (): void => {
    for (let index = 0; index < 100; index += 1) reader.push(Buffer.from('211-more\r\n'))
  }

  expect(endless).toThrow(LimitExceededError)
  expect(() => read('x'.repeat(101), { maxReplyBytes: 100 })).toThrow(LimitExceededError)
})

test('any bytes are read or refused', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), (pieces) => {
      const reader = new ReplyReader({ maxReplyBytes: 200 })
      try {
        for (const piece of pieces) reader.push(piece)
      } catch (error) {
        expect(['ERR_MALFORMED', 'ERR_LIMIT_EXCEEDED']).toContain((error as { code: string }).code)
      }
    })
  )
})
