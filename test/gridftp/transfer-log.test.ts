import type { Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'
import { block, openData, RawFtp, readAll } from '../support/raw-ftp.ts'

let clock: ManualClock
let stage: GridFtpStage
let raw: RawFtp

beforeEach(async () => {
  clock = new ManualClock()
  const storage = new MemoryDsi({ maxBytes: 1000 })
  storage.put('/file', Buffer.alloc(700))
  const limits = { dataTimeoutMs: 2000, idleTimeoutMs: 9000, loginTimeoutMs: 5000 }
  stage = await GridFtpStage.open({ storage, clock, ...limits, maxSessions: 3 })
  raw = await stage.login()
})
afterEach(async () => stage[Symbol.asyncDispose]())

/** What the log says about the transfer that `run` makes, without when it was and what it is of. */
async function logged(run: () => Promise<unknown>): Promise<string> {
  const line = stage.logger.next(/ MiB\/s, mode /)
  await run()
  await line
  const found = stage.logger.lines.findLast((text) => text.includes(' MiB/s, mode '))
  return found?.replace('blobswarm:gridftp:transfers ', '') ?? ''
}

async function store(line = 'STOR /new'): Promise<Socket> {
  const data = await openData(await raw.passive())
  await raw.command(line)
  return data
}

test('one line tells user, address, path, bytes, time, rate, mode and connections', async () => {
  const stored = await logged(async () => (await store()).end('content'))
  await raw.reply()
  const sent = await logged(async () => {
    const data = await openData(await raw.passive())
    raw.send('RETR /file\r\n')
    await readAll(data)
  })

  const how = 'by anonymous from 127.0.0.1:'
  const rate = '0.000 s, 0.0 MiB/s, mode S, 1 connection'
  expect(stored).toBe(`STOR /new ${how} 7 bytes in ${rate}`)
  expect(sent).toBe(`RETR /file ${how} 700 bytes in ${rate}`)
})

test('connections of extended block mode are counted', async () => {
  await raw.command('MODE E')
  const port = await raw.passive()
  const line = await logged(async () => {
    const [one, two] = [await openData(port), await openData(port)]
    one.write(Buffer.concat([block(0, 0, 'content'), block(MODE_E_EOD, 0)]))
    two.write(block(MODE_E_EOF + MODE_E_EOD, 2))
    await raw.command('STOR /new')
  })

  expect(line).toMatch(/7 bytes in .* mode E, 2 connections$/)
})

const ENDINGS: readonly (readonly [string, () => Promise<unknown>, RegExp])[] = [
  [
    'the time limit',
    async () => [await store(), clock.advance(2000)],
    /ERR_FTP_DATA_CHANNEL Nothing moved for 2000 ms/
  ],
  [
    'no connection',
    async () => {
      await raw.passive()
      await raw.command('STOR /new')
      clock.advance(2000)
    },
    /ERR_FTP_DATA_CHANNEL No data connection within 2000 ms/
  ],
  [
    'a connection that broke',
    async () => (await store()).resetAndDestroy(),
    /ERR_FTP_DATA_CHANNEL Data connection broke after 0 bytes: /
  ],
  [
    'ABOR',
    async () => [await store(), raw.send('ABOR\r\n')],
    /ERR_FTP_TRANSFER_ABORTED transfer aborted: ABOR$/
  ],
  [
    'a client that has gone',
    async () => [await store(), raw.socket.destroy()],
    /transfer aborted: the client has gone$/
  ],
  [
    'a server that stops',
    async () => [await store(), await stage.server.stop()],
    /transfer aborted: Server is stopping/
  ],
  [
    'no room',
    async () => (await store()).end(Buffer.alloc(1001)),
    /ERR_FTP_NO_SPACE \/new: no space left$/
  ],
  [
    'fewer bytes than announced',
    async () => {
      await raw.command('ALLO 8')
      ;(await store()).end('content')
    },
    /ERR_FTP_INCOMPLETE 7 bytes arrived where ALLO announced 8/
  ],
  [
    'nothing there',
    async () => raw.command('RETR /nothing'),
    /ERR_FTP_NOT_FOUND \/nothing: no such file/
  ]
]

test.each(ENDINGS)('an end by %s is told with its reason', async (_name, run, reason) => {
  const line = await logged(run)

  expect(line).toMatch(
    / by anonymous from 127\.0\.0\.1: \d+ bytes in .* mode S, [01] connections?, failed: /
  )
  expect(line).toMatch(reason)
})

test('sessions that the server ends are told with user, address and reason', async () => {
  const stranger = await stage.connect()
  await stranger.command('NOOP')
  clock.advance(5000)
  await stranger.reply()
  await raw.command('NOOP')
  await new Promise(setImmediate)
  clock.advance(9000)
  await raw.reply()

  const lines = stage.logger.lines.filter((line) => line.includes(' ended: '))
  expect(lines).toEqual([
    'blobswarm:gridftp session of nobody from 127.0.0.1 ended: Login took too long.',
    'blobswarm:gridftp session of anonymous from 127.0.0.1 ended: Idle for too long.'
  ])
})

test('sessions beyond a limit are told and counted', async () => {
  await stage.connect()
  await stage.connect()

  const refused = await RawFtp.connect(stage.port)

  expect(await refused.reply()).toBe('421 Too many sessions, try again later.')
  expect(stage.logger.lines.at(-1)).toBe(
    'blobswarm:gridftp session of 127.0.0.1 refused: maxSessions (3) are open'
  )
  expect(stage.metrics.values.get('blobswarm_gridftp_refusals_total{what=session}')).toBe(1)
  refused.close()
})

test('a server stops though a client does not read its replies', async () => {
  raw.socket.pause()
  raw.send('HELP\r\n'.repeat(40_000))
  for (let turn = 0; turn < 500; turn += 1) await new Promise(setImmediate)

  const stopped = stage.server.stop()
  await new Promise(setImmediate)
  clock.advance(1000)

  await stopped
  expect(stage.server.sessionCount).toBe(0)
})
