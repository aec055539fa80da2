import { afterAll, beforeAll, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { CommandParser } from '../../src/gridftp/command-parser.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { openSockets, untilOnlyOpen } from '../support/open-sockets.ts'
import type { RawFtp } from '../support/raw-ftp.ts'

const known = openSockets()
let stage: GridFtpStage

beforeAll(async () => {
  stage = await GridFtpStage.open({ dataTimeoutMs: 5, loginDelayMs: 1, maxQueuedCommands: 8 })
  stage.storage.put('/folder/file', Buffer.from('0123456789'))
})
afterAll(async () => {
  await stage[Symbol.asyncDispose]()
  await untilOnlyOpen(known)
})

const VERBS =
  'NOOP FEAT HELP SYST OPTS LANG SITE STAT TYPE MODE STRU ALLO REST PASV EPSV SPAS PORT EPRT PWD CWD CDUP MKD RMD ' +
  'DELE RNFR RNTO SIZE MDTM MLST MLSD LIST NLST RETR STOR APPE ERET ESTO ABOR USER ACCT CKSM SCKS TREV MFMT STOU XXXX'
const ARGUMENTS = [
  '',
  'E',
  'S',
  'I',
  'file',
  '/folder/file',
  '/folder/file@7',
  '../../..',
  'P 0 99999999999999 /folder/file',
  'A 99999999999999 new',
  '127,0,0,1,255,255',
  '|1|127.0.0.1|1024|',
  '0-1,2-3',
  '99999999999999999999',
  'RETR Parallelism=9999,1,1;StripeLayout=Blocked;BlockSize=0;',
  'MLST %s%n;;=',
  'MD5 0 -1 /folder/file',
  '20200102030405 /folder/file',
  '\u0007\u001b[2J',
  'a'.repeat(300)
]
/** Telnet: interrupt and data mark before ABOR, options, subnegotiation, an escaped IAC, one cut off. */
const TELNET = ['fff4fff2', 'fffb01', 'fffd03fffe22', 'fffa0100fff0', 'ffff', 'f2', 'fff4f2', 'ff']
const BINARY = { minLength: 0, maxLength: 40 }

const command = fc
  .tuple(fc.constantFrom(...VERBS.split(' ')), fc.constantFrom(...ARGUMENTS))
  .map(([verb, argument]) => Buffer.from(`${verb} ${argument}`.trimEnd()))
const telnet = fc
  .tuple(fc.constantFrom(...TELNET), command)
  .map(([prefix, line]) => Buffer.concat([Buffer.from(prefix, 'hex'), line]))
const line = fc.oneof({ weight: 5, arbitrary: command }, telnet, fc.uint8Array(BINARY))
const end = fc.constantFrom('\r\n', '\n', '\r\r\n')
const input = fc
  .array(fc.tuple(line, end), { maxLength: 25 })
  .map((lines) => Buffer.concat(lines.flatMap(([text, after]) => [text, Buffer.from(after)])))
  // What the last line leaves open is ended, and QUIT would end the session.
  .map((bytes) => Buffer.concat([bytes, Buffer.from('\r\n')]))
  .filter((bytes) => !/quit|rein/i.test(bytes.toString('latin1')))

function lineCount(bytes: Uint8Array): number {
  const parser = new CommandParser()
  parser.push(bytes)
  let count = 0
  while (parser.next() !== undefined) count += 1
  return count
}

/** Next reply that ends a command. */
async function answer(raw: RawFtp): Promise<string> {
  for (;;) {
    const reply = await raw.reply()
    if (!reply.startsWith('1')) return reply
  }
}

test('whatever a client sends, each of its lines is answered once and the session goes on', async () => {
  const pieces = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(input, pieces, async (bytes, lengths) => {
      const raw = await stage.login()

      for (let at = 0, turn = 0; at < bytes.byteLength; turn += 1) {
        const length = lengths[turn % lengths.length] ?? 1
        raw.send(bytes.subarray(at, at + length))
        at += length
        await new Promise(setImmediate)
      }
      for (let left = lineCount(bytes); left > 0; left -= 1) {
        expect(await answer(raw)).toMatch(/^[2345]\d\d[ -]/)
      }

      expect(await answer(await sent(raw, 'SYST'))).toBe('215 UNIX Type: L8')
      raw.close()
    }),
    { numRuns: 40 }
  )
  expect(stage.logger.lines.filter((text) => /TypeError|RangeError|Assert/.test(text))).toEqual([])
})

async function sent(raw: RawFtp, text: string): Promise<RawFtp> {
  raw.send(`${text}\r\n`)
  return raw
}

test('before login nothing but a login is done, whatever is sent', async () => {
  await fc.assert(
    fc.asyncProperty(input, async (bytes) => {
      const raw = await stage.connect()

      raw.send(bytes)
      const replies: string[] = []
      for (let left = lineCount(bytes); left > 0; left -= 1) replies.push(await answer(raw))

      const codes = new Set(replies.map((reply) => reply.slice(0, 3)))
      expect(codes.difference(EXPECTED_BEFORE_LOGIN)).toEqual(new Set())
      raw.close()
    }),
    { numRuns: 20 }
  )
})

/** Also HELP, FEAT, NOOP, OPTS, LANG, SYST, ABOR and USER, which need nobody. */
const EXPECTED_BEFORE_LOGIN = new Set(
  '200 202 211 214 215 220 226 331 500 501 502 503 504 530'.split(' ')
)
