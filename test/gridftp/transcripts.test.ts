/**
 * Whole sessions as text, test/fixtures/gridftp/*.txt:
 *
 * ```text
 * # comment
 * > line to send, CR LF is added; \xNN is one byte
 * < line of a reply; an asterisk stands for anything
 * data> bytes to send over a new connection to the last passive port, which is then ended
 * data<        opens a new connection to the last passive port
 * data= text   everything that came over it until its end; \r \n \xNN are bytes
 * closed       the server closes the control connection
 * ```
 */
import { readdir, readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import type { Authenticator } from '../../src/gridftp/auth.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { openData, type RawFtp, readAll } from '../support/raw-ftp.ts'

const FOLDER = join(import.meta.dirname, '../fixtures/gridftp')

const people: Authenticator = {
  authenticate: async ({ name, password }) => {
    if (name === 'anonymous') return { name, root: '/', mayWrite: true }
    if (password !== 'right') return undefined
    return { name, root: `/home/${name}`, mayWrite: name !== 'reader' }
  }
}

test.each((await readdir(FOLDER)).toSorted())('%s', async (file) => {
  const script = await readFile(join(FOLDER, file), 'utf8')
  await using stage = await GridFtpStage.open({ authenticator: people })
  stage.storage.put('/home/ada/notes.txt', Buffer.from('hello\n'))
  stage.storage.put('/home/reader/notes.txt', Buffer.from('hello\n'))
  stage.storage.put('/images/disk one.raw', Buffer.from('0123456789'))

  const seen = await play(script, await stage.connect())

  expect(seen).toBe(script.trimEnd())
  expect([stage.storage.openUploads, stage.storage.openReads]).toEqual([0, 0])
})

interface Played {
  readonly raw: RawFtp
  /** Lines of the last reply that the script has not named yet. */
  lines: string[]
  passivePort: number
  content: Promise<Buffer> | undefined
}

async function play(script: string, raw: RawFtp): Promise<string> {
  const played: Played = { raw, lines: [], passivePort: 0, content: undefined }
  const seen: string[] = []
  for (const line of script.trimEnd().split('\n')) seen.push(await step(line, played))
  return seen.join('\n')
}

/** Does what a line says. @returns what the line should have been. */
async function step(line: string, played: Played): Promise<string> {
  if (line.startsWith('> ')) played.raw.send(bytesOf(`${line.slice(2)}\\x0d\\x0a`))
  else if (line.startsWith('< ')) return `< ${await replyLine(line.slice(2), played)}`
  else if (line.startsWith('data> ')) (await open(played)).end(bytesOf(line.slice(6)))
  else if (line === 'data<') played.content = readAll(await open(played))
  else if (line.startsWith('data=')) return `data= ${textOf(await played.content)}`.trimEnd()
  else if (line === 'closed') return (await played.raw.replyOrClose()) ?? line
  return line
}

async function replyLine(expected: string, played: Played): Promise<string> {
  if (played.lines.length === 0) played.lines = (await played.raw.reply()).split('\n')
  const actual = played.lines.shift() ?? ''
  const passive = /\((?:\d+,){4}(\d+),(\d+)\)|\(\|\|\|(\d+)\|\)/.exec(actual)
  if (passive !== null) {
    const [, high, low, port] = passive
    played.passivePort = Number(port ?? Number(high) * 256 + Number(low))
  }
  const parts = expected.split('*').map((part) => part.replaceAll(/[.?+^$[\]\\(){}|-]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`).test(actual) ? expected : actual
}

async function open({ passivePort }: Played): Promise<Socket> {
  return await openData(passivePort)
}

function bytesOf(text: string): Buffer {
  const parts = text.split(/\\x([0-9a-f]{2})/)
  return Buffer.concat(
    parts.map((part, index) => Buffer.from(part, index % 2 === 1 ? 'hex' : 'utf8'))
  )
}

function textOf(content: Buffer | undefined): string {
  return (content?.toString() ?? '').replaceAll('\r', '\\r').replaceAll('\n', '\\n')
}
