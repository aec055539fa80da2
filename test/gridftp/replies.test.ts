import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  CommandRefusedError,
  DataChannelError,
  NoSpaceError,
  PathExistsError,
  PathNotFoundError,
  StorageConflictError,
  StorageUnavailableError,
  TransferAbortedError
} from '../../src/gridftp/errors.ts'
import { performanceMarker } from '../../src/gridftp/markers.ts'
import {
  formatReply,
  quotePath,
  reply,
  replyForError,
  replyWithLines
} from '../../src/gridftp/replies.ts'

describe('formatReply', () => {
  test('writes one line', () => {
    expect(formatReply(reply(226, 'Transfer complete.'))).toBe('226 Transfer complete.\r\n')
  })

  test('indents inner lines by exactly one space', () => {
    expect(formatReply(replyWithLines(211, 'Extensions supported', ['SIZE', 'MDTM']))).toBe(
      '211-Extensions supported\r\n SIZE\r\n MDTM\r\n211 End.\r\n'
    )
  })

  test('writes performance markers as clients read them', () => {
    expect(formatReply(performanceMarker(1_795_327_178_345, 3_000_000))).toBe(
      '112-Perf Marker\r\n Timestamp:  1795327178.3\r\n Stripe Index: 0\r\n' +
        ' Stripe Bytes Transferred: 3000000\r\n Total Stripe Count: 1\r\n112 End.\r\n'
    )
  })

  test('no text can end a reply early or begin another', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.array(fc.string()), (text, inner) => {
        const lines = formatReply(replyWithLines(250, text, inner)).split('\r\n')

        expect(lines).toHaveLength(inner.length + 3)
        expect(lines.filter((line) => /^\d{3} /.test(line))).toEqual(['250 End.'])
        expect(lines.join('')).not.toMatch(/[\r\n]/)
      })
    )
  })
})

test('doubles quotes in a path', () => {
  expect(quotePath('/a "b"')).toBe('"/a ""b"""')
})

describe('replyForError', () => {
  test.each([
    [new PathNotFoundError('/x'), 550, '/x: no such file or directory'],
    [new PathExistsError('/x'), 553, '/x: exists already'],
    [new NoSpaceError('/x'), 552, '/x: no space left'],
    [new StorageConflictError('/x', 'was changed'), 450, '/x: was changed'],
    [new StorageUnavailableError('/x', 'gone'), 451, '/x: storage is unavailable: gone'],
    [new TransferAbortedError('ABOR'), 426, 'transfer aborted: ABOR'],
    [new DataChannelError(425, 'nobody came'), 425, 'nobody came'],
    [new CommandRefusedError(501, 'no'), 501, 'no'],
    [new Error('/var/lib/secret is broken'), 451, 'Local error in processing.'],
    ['a string', 451, 'Local error in processing.']
  ])('%s', (error, code, text) => {
    expect(replyForError(error)).toEqual(reply(code, text))
  })

  test('shows paths as the user sees them', () => {
    const error = new PathNotFoundError('/home/ada/x$&y')

    expect(replyForError(error, '/home/ada').lines).toEqual(['/x$&y: no such file or directory'])
  })
})
