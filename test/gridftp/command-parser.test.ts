import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { CommandParser, type ParsedLine, parseLine } from '../../src/gridftp/command-parser.ts'

function parse(input: string | Uint8Array, options = {}): ParsedLine[] {
  const parser = new CommandParser(options)
  parser.push(Buffer.from(input))
  return drain(parser)
}

function drain(parser: CommandParser): ParsedLine[] {
  const lines: ParsedLine[] = []
  for (let line = parser.next(); line !== undefined; line = parser.next()) lines.push(line)
  return lines
}

const command = (verb: string, argument = ''): ParsedLine => ({ kind: 'command', verb, argument })
const refused = (reason: RegExp): object => ({
  kind: 'refused',
  reason: expect.stringMatching(reason)
})

describe('lines', () => {
  const cases: Record<string, [string | Uint8Array, unknown[]]> = {
    'a verb alone': ['NOOP\r\n', [command('NOOP')]],
    'a verb in lower case': ['noop\r\n', [command('NOOP')]],
    'an argument as it came': ['STOR  a  b \r\n', [command('STOR', ' a  b ')]],
    'an empty argument': ['PASS \r\n', [command('PASS')]],
    'a lone line feed': ['NOOP\nPWD\n', [command('NOOP'), command('PWD')]],
    'UTF-8': ['CWD Grüße/日本\r\n', [command('CWD', 'Grüße/日本')]],
    'an empty line': ['\r\n', [refused(/not a command/i)]],
    'a verb that cannot be one': ['GET / HTTP\r\n12\r\n', [command('GET', '/ HTTP'), refused(/./)]],
    'invalid UTF-8': [Buffer.from('CWD \xc3\x28\r\n', 'latin1'), [refused(/UTF-8/)]],
    'half a surrogate in UTF-8': [
      Buffer.from('CWD \xed\xa0\x80\r\n', 'latin1'),
      [refused(/UTF-8/)]
    ],
    'a NUL': ['CWD a\0b\r\n', [refused(/NUL/)]],
    'a CR inside': ['CWD a\rDELE b\r\n', [refused(/CR/)]]
  }
  test.each(Object.entries(cases))('%s', (_name, [input, expected]) => {
    expect(parse(input)).toEqual(expected)
  })
})

describe('Telnet', () => {
  const cases: Record<string, [string, unknown[]]> = {
    'interrupt and synch before ABOR': ['\xff\xf4\xff\xf2ABOR\r\n', [command('ABOR')]],
    'interrupt whose last byte was sent as urgent data': [
      '\xff\xf4\xffABOR\r\n',
      [command('ABOR')]
    ],
    'an option is skipped with its number': ['\xff\xfb\x01NOOP\r\n', [command('NOOP')]],
    'ABOR whose line feed was sent as urgent data': ['ABOR\r', [command('ABOR')]],
    'the same with the next command behind it': [
      'ABOR\rNOOP\r\n',
      [command('ABOR'), command('NOOP')]
    ],
    'a line feed after all': ['abor\r\nNOOP\r\n', [command('ABOR'), command('NOOP')]]
  }
  test.each(Object.entries(cases))('%s', (_name, [input, expected]) => {
    expect(parse(Buffer.from(input, 'latin1'))).toEqual(expected)
  })
})

describe('long lines', () => {
  test('a line of the limit passes, one byte more does not', () => {
    const options = { maxLineBytes: 20 }

    expect(parse(`CWD ${'x'.repeat(16)}\r\n`, options)).toHaveLength(1)
    expect(parse(`CWD ${'x'.repeat(17)}\r\n`, options)).toEqual([refused(/exceeds 20 bytes/)])
  })

  test('is refused once, before its end, and what follows is understood', () => {
    const parser = new CommandParser()
    parser.push(Buffer.from('STOR '))
    const answers: ParsedLine[] = []
    for (let sent = 0; sent < 1024 * 1024; sent += 65_536) {
      parser.push(Buffer.alloc(65_536, 'x'))
      answers.push(...drain(parser))
    }
    parser.push(Buffer.from('\r\nNOOP\r\n'))

    expect([...answers, ...drain(parser)]).toEqual([refused(/exceeds 8192/), command('NOOP')])
    expect(parser.pendingBytes).toBe(0)
  })
})

test('understands the same however the bytes are cut', () => {
  const bytes = fc.uint8Array({ maxLength: 200 })
  const text = fc.string({ unit: fc.constantFrom('a', 'B', ' ', '\r', '\n', '\0', 'ü') })
  const input = fc.oneof(
    bytes.map((array) => Buffer.from(array)),
    text.map((string) => Buffer.from(string))
  )
  fc.assert(
    fc.property(input, fc.array(fc.nat(20)), (whole, cuts) => {
      const parser = new CommandParser({ maxLineBytes: 32 })
      const lines: ParsedLine[] = []
      let at = 0
      for (const cut of [...cuts, whole.byteLength]) {
        parser.push(whole.subarray(at, at + cut))
        at += cut
        lines.push(...drain(parser))
      }

      expect(lines).toEqual(parse(whole, { maxLineBytes: 32 }))
    })
  )
})

test('any line is a command or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (line) => {
      const parsed = parseLine(line)

      expect(['command', 'refused']).toContain(parsed.kind)
    })
  )
})
