import { once } from 'node:events'
import { describe, expect, test } from '@jest/globals'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'
import { openData, RawFtp } from '../support/raw-ftp.ts'

describe('commands sent ahead', () => {
  test('are carried out in order, however many', async () => {
    await using stage = await GridFtpStage.open({ maxQueuedCommands: 4 })
    const raw = await stage.login()
    const names = Array.from({ length: 1000 }, (_, index) => `folder ${index}`)

    raw.send(names.map((name) => `MKD ${name}\r\n`).join(''))
    const replies: string[] = []
    while (replies.length < names.length) replies.push(await raw.reply())

    expect(replies).toEqual(names.map((name) => `257 "/${name}" created.`))
  })

  test('are left unread while too many wait, and nothing is lost', async () => {
    await using stage = await GridFtpStage.open({ maxQueuedCommands: 4 })
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')

    raw.send('NOOP\r\n'.repeat(500))
    data.end('x')
    const stored = await raw.reply()
    const replies: string[] = []
    while (replies.length < 500) replies.push(await raw.reply())

    expect(stored).toMatch(/^226 /)
    expect(new Set(replies)).toEqual(new Set(['200 OK.']))
  })

  test('are left unread when they are long, too', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')

    raw.send(`MKD ${'x'.repeat(8000)}\r\n`.repeat(1500))
    for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate)
    const unread = raw.socket.writableLength
    data.end('x')
    const stored = await raw.reply()
    const replies = new Set<string>()
    for (let left = 1500; left > 0; left -= 1) replies.add(await raw.reply())

    expect(unread).toBeGreaterThan(0)
    expect(stored).toMatch(/^226 /)
    expect(replies.size).toBe(1)
  })

  test('QUIT waits for the transfer', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')

    raw.send('QUIT\r\n')
    data.end('x')

    expect(await raw.reply()).toMatch(/^226 /)
    expect(await raw.reply()).toMatch(/^221 /)
    expect(await raw.replyOrClose()).toBeUndefined()
  })

  test('are carried out when the client has closed its side behind them', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()

    raw.send('MKD a\r\nMKD b\r\n')
    raw.socket.end()

    expect(await raw.reply()).toBe('257 "/a" created.')
    expect(await raw.reply()).toBe('257 "/b" created.')
    expect(await raw.replyOrClose()).toBeUndefined()
  })
})

test('a command line of a mebibyte is refused and costs nothing', async () => {
  await using stage = await GridFtpStage.open()
  const raw = await stage.login()

  raw.send(`STOR ${'x'.repeat(1024 * 1024)}\r\n`)

  expect(await raw.reply()).toBe('500 Line exceeds 8192 bytes.')
  expect(await raw.command('NOOP')).toBe('200 OK.')
})

test.each([
  ['5,000 characters', `STOR /${'x'.repeat(5000)}`, /^553 invalid path: it exceeds 4096 bytes/],
  ['a name of 256 bytes', `STOR /${'x'.repeat(256)}`, /^553 invalid path: a name in it exceeds/],
  ['..', 'SIZE ../../../../etc/passwd', /^550 \/etc\/passwd: no such file/]
])('a path of %s is refused', async (_name, line, expected) => {
  await using stage = await GridFtpStage.open()
  const raw = await stage.login()
  await raw.passive()

  expect(await raw.command(line)).toMatch(expected)
})

describe('limits', () => {
  test('on sessions', async () => {
    await using stage = await GridFtpStage.open({ maxSessions: 2 })
    const first = await stage.login()
    await stage.login()
    const refused = await RawFtp.connect(stage.port)

    const answer = await refused.reply()
    const ended = await refused.replyOrClose()
    first.send('QUIT\r\n')
    await once(first.socket, 'close')
    while (stage.server.sessionCount === 2) await new Promise(setImmediate)
    const next = await stage.connect()

    expect(answer).toBe('421 Too many sessions, try again later.')
    expect(ended).toBeUndefined()
    expect(await next.command('NOOP')).toMatch(/^200 /)
  })

  test('on sessions from one address', async () => {
    await using stage = await GridFtpStage.open({ maxSessionsPerAddress: 1 })
    await stage.connect()
    const elsewhere = await stage.connect('127.0.0.2')

    const refused = await RawFtp.connect(stage.port)

    expect(await refused.reply()).toMatch(/^421 /)
    expect(await elsewhere.command('NOOP')).toMatch(/^200 /)
  })

  test('on the time before login', async () => {
    const clock = new ManualClock()
    await using stage = await GridFtpStage.open({ clock, loginTimeoutMs: 1000 })
    const raw = await stage.connect()
    await raw.command('NOOP')

    clock.advance(1000)

    expect(await raw.reply()).toBe('421 Login took too long.')
    expect(await raw.replyOrClose()).toBeUndefined()
  })

  test('on the time between commands, but not on a transfer that moves', async () => {
    const clock = new ManualClock()
    await using stage = await GridFtpStage.open({ clock, idleTimeoutMs: 1000, dataTimeoutMs: 5000 })
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    clock.advance(2000)
    data.end('x')
    const stored = await raw.reply()

    await raw.command('NOOP')
    await new Promise(setImmediate)
    clock.advance(1000)

    expect(stored).toMatch(/^226 /)
    expect(await raw.reply()).toBe('421 Idle for too long.')
  })

  test('on the time that a client may leave its replies unread', async () => {
    const clock = new ManualClock()
    const options = { clock, idleTimeoutMs: 1e12, dataTimeoutMs: 1000 }
    await using stage = await GridFtpStage.open(options)
    const raw = await stage.login()
    raw.socket.pause()

    raw.send('HELP\r\n'.repeat(40_000))
    while (stage.server.sessionCount > 0) {
      clock.advance(100)
      await new Promise(setImmediate)
    }

    expect(stage.server.sessionCount).toBe(0)
  })

  test('on passive ports', async () => {
    const probe = await GridFtpStage.open()
    const { port } = probe
    await probe[Symbol.asyncDispose]()
    await using stage = await GridFtpStage.open({ passivePorts: [port, port] })
    const [first, second] = [await stage.login(), await stage.login()]

    const given = await first.passive()
    const refused = await second.command('PASV')
    await first.command('ABOR')

    expect(given).toBe(port)
    expect(refused).toBe(
      `425 No free port for a data connection: all of ${port}-${port} are in use.`
    )
    expect(await second.passive()).toBe(port)
  })
})

test('PASV tells the advertised address', async () => {
  await using stage = await GridFtpStage.open({ advertisedAddress: '192.0.2.7' })
  const raw = await stage.login()

  expect(await raw.command('PASV')).toMatch(/^227 .*\(192,0,2,7,\d+,\d+\)/)
  expect(await raw.command('SPAS')).toMatch(/192,0,2,7,/)
})

test('data of third parties is taken when that is allowed', async () => {
  await using stage = await GridFtpStage.open({ allowsThirdParty: true })
  const raw = await stage.login()
  const data = await openData(await raw.passive(), '127.0.0.2')
  await raw.command('STOR image')

  data.end('from elsewhere')

  expect(await raw.reply()).toMatch(/^226 /)
  expect(await raw.command('PORT 127,0,0,3,200,1')).toMatch(/^200 /)
})

test('a wrong password is answered late', async () => {
  const clock = new ManualClock()
  await using stage = await GridFtpStage.open({ clock, loginDelayMs: 100 })
  const raw = await stage.connect()
  await raw.command('USER nobody')
  const refused = stage.logger.next(/login of nobody from 127.0.0.1 refused/)
  let isAnswered = false
  raw.send('PASS wrong\r\n')
  const answer = (async () => {
    const reply = await raw.reply()
    isAnswered = true
    return reply
  })()

  await refused
  await new Promise(setImmediate)
  clock.advance(99)
  await new Promise(setImmediate)
  const early = isAnswered
  clock.advance(1)

  expect(await answer).toBe('530 Login incorrect.')
  expect(early).toBe(false)
})

test('a login that takes too long for want of the right password is 421, once', async () => {
  const clock = new ManualClock()
  const limits = { loginDelayMs: 5000, loginTimeoutMs: 1000 }
  await using stage = await GridFtpStage.open({ clock, ...limits })
  const raw = await stage.connect()
  await raw.command('USER nobody')
  const refused = stage.logger.next(/login of nobody .* refused/)
  raw.send('PASS wrong\r\n')
  await refused
  await new Promise(setImmediate)

  clock.advance(1000)

  expect(await raw.reply()).toBe('421 Login took too long.')
  expect(await raw.replyOrClose()).toBeUndefined()
})

test('passwords never reach the log', async () => {
  await using stage = await GridFtpStage.open()
  const raw = await stage.connect()
  await raw.command('USER nobody')
  await raw.command('PASS secret-word')

  expect(stage.logger.lines.join('\n')).not.toContain('secret-word')
})

test('transfers and logins are logged and counted', async () => {
  await using stage = await GridFtpStage.open()
  const raw = await stage.login()
  const data = await openData(await raw.passive())
  await raw.command('STOR image')
  data.end('12345')
  await raw.reply()
  await raw.command('RETR nothing')

  expect(stage.logger.lines.filter((line) => line.includes('transfers'))).toEqual([
    expect.stringMatching(/login of anonymous from 127.0.0.1 succeeded/),
    expect.stringMatching(/STOR \/image by anonymous from 127.0.0.1: 5 bytes in [\d.]+ s, /),
    expect.stringMatching(/RETR \/nothing by .* failed: ERR_FTP_NOT_FOUND \/nothing: no such/)
  ])
  expect(Object.fromEntries(stage.metrics.values)).toEqual({
    'blobswarm_gridftp_logins_total{outcome=done}': 1,
    'blobswarm_gridftp_data_bytes{direction=upload}': 5,
    'blobswarm_gridftp_transfers_total{direction=upload,outcome=done}': 1,
    'blobswarm_gridftp_transfers_total{direction=download,outcome=failed}': 1
  })
})

describe('stopping', () => {
  test('fails what runs, tells the client why and leaves nothing', async () => {
    const storage = new MemoryDsi()
    const stage = await GridFtpStage.open({ storage })
    const raw = await stage.login()
    const idle = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    data.write('x')

    await Promise.all([stage.server.stop(), stage.server.stop()])

    expect(await raw.reply()).toBe('426 transfer aborted: Server is stopping.')
    expect(await raw.reply()).toBe('421 Server is stopping.')
    expect(await idle.reply()).toBe('421 Server is stopping.')
    expect(storage.openUploads).toBe(0)
    expect(storage.content('/image')).toBeUndefined()
    expect(stage.server.sessionCount).toBe(0)
    expect(stage.server.address).toBeUndefined()
  })

  test('a client that never stops to send commands does not keep its session', async () => {
    await using stage = await GridFtpStage.open({ maxQueuedCommands: 4 })
    const raw = await stage.login()
    const flood = async (): Promise<void> => {
      while (!raw.socket.closed) {
        raw.send('NOOP\r\n'.repeat(20))
        await new Promise(setImmediate)
      }
    }

    const flooding = flood()
    await raw.reply()
    await stage.server.stop()
    await flooding

    expect(stage.server.sessionCount).toBe(0)
  })

  test('may come before starting, and starting is once only', async () => {
    const stage = await GridFtpStage.open()

    await expect(stage.server.start()).rejects.toThrow(/running/)
    await stage.server.stop()
    await expect(stage.server.start()).rejects.toThrow(/stopped/)
  })
})

test.each([
  ['a time limit of nothing', { idleTimeoutMs: 0 }],
  ['no sessions', { maxSessions: 0 }],
  ['ports in the wrong order', { passivePorts: [5000, 4000] as const }],
  ['privileged ports', { passivePorts: [20, 21] as const }],
  ['no number', { queueBytes: Number.NaN }]
])('refuses options with %s', async (_name, options) => {
  await expect(GridFtpStage.open(options)).rejects.toThrow(RangeError)
})
