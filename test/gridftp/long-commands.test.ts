import { createHash } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { StorageUnavailableError } from '../../src/gridftp/errors.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'
import { block, openData, readAll } from '../support/raw-ftp.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')

/** A storage whose reads wait until they are let go. */
function waitingStorage(): { storage: MemoryDsi; started: Promise<void>; letGo: () => void } {
  const started = Promise.withResolvers<void>()
  const gate = Promise.withResolvers<void>()
  const beforeRead = async (): Promise<void> => {
    started.resolve()
    await gate.promise
  }
  return {
    storage: new MemoryDsi({ beforeRead }),
    started: started.promise,
    letGo: () => gate.resolve()
  }
}

async function fail(path: string): Promise<void> {
  throw new StorageUnavailableError(path, 'disk failed')
}

describe('CKSM', () => {
  test('of a file that needs a thread', async () => {
    await using stage = await GridFtpStage.open()
    const bytes = sampleBytes(3_000_000)
    stage.storage.put('/image', bytes)
    const raw = await stage.login()

    const whole = await raw.command('CKSM MD5 0 -1 image')
    const part = await raw.command('CKSM MD5 1000000 1500000 image')

    expect(whole).toBe(`213 ${md5(bytes)}`)
    expect(part).toBe(`213 ${md5(bytes.subarray(1_000_000, 2_500_000))}`)
    expect(stage.storage.openReads).toBe(0)
  })

  test('is ended by ABOR, and other sessions go on meanwhile', async () => {
    const { storage, started, letGo } = waitingStorage()
    await using stage = await GridFtpStage.open({ storage })
    storage.put('/image', sampleBytes(2_000_000))
    const [raw, other] = [await stage.login(), await stage.login()]
    raw.send('CKSM SHA1 0 -1 image\r\nCKSM SHA1 0 -1 image\r\n')
    await started

    raw.send('ABOR\r\n')
    const meanwhile = await other.command('NOOP') // the server has read ABOR by then
    letGo()

    expect(meanwhile).toBe('200 OK.')
    expect(await raw.reply()).toBe('426 transfer aborted: ABOR')
    expect(await raw.reply()).toBe('426 Aborted before it began.')
    expect(await raw.reply()).toBe('226 Abort successful.')
    expect(await raw.command('CKSM MD5 0 0 image')).toMatch(/^213 /)
    expect(storage.openReads).toBe(0)
  })

  test('of a file that cannot be read is an error and no sum', async () => {
    await using stage = await GridFtpStage.open({ storage: new MemoryDsi({ beforeRead: fail }) })
    stage.storage.put('/image', Buffer.from('abc'))
    const raw = await stage.login()

    const answer = await raw.command('CKSM MD5 0 -1 image')

    expect(answer).toBe('451 /image: storage is unavailable: disk failed')
  })

  test('sends status markers where OPTS asked for them', async () => {
    const clock = new ManualClock()
    const { storage, started, letGo } = waitingStorage()
    await using stage = await GridFtpStage.open({ storage, clock })
    storage.put('/image', Buffer.from('abc'))
    const raw = await stage.login()
    await raw.command('OPTS CKSM markers=2;')
    raw.send('CKSM MD5 0 -1 image\r\n')
    await started

    clock.advance(2000)
    const marker = await raw.reply()
    letGo()

    expect(marker.split('\n')).toEqual([
      '113-Status Marker',
      expect.stringMatching(/^ Timestamp: \d+\.\d$/),
      ' Bytes Processed: 0',
      '113 End.'
    ])
    expect(await raw.reply()).toBe(`213 ${md5(Buffer.from('abc'))}`)
  })
})

describe('SCKS with extended blocks', () => {
  test.each([
    ['right', Buffer.from('abcdef'), /^226 /],
    ['wrong', Buffer.from('abcdeF'), /^550 INCORRECT_CHECKSUM: MD5 is e80b5017/]
  ])('out of order that are %s', async (_name, announced, expected) => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    await raw.command('MODE E')
    await raw.command('ALLO 6')
    await raw.command(`SCKS MD5 ${md5(announced)}`)
    const data = await openData(await raw.passive())
    raw.send('STOR image\r\n')

    data.write(Buffer.concat([block(0, 4, 'ef'), block(0, 0, 'abcd'), block(0x48, 1)]))
    await raw.reply() // 150

    expect(await raw.finalReply()).toMatch(expected)
    expect(stage.storage.openUploads).toBe(0)
  })
})

test('a download sends performance markers where OPTS asked for them', async () => {
  await using stage = await GridFtpStage.open()
  stage.storage.put('/image', Buffer.from('abc'))
  const raw = await stage.login()
  await raw.command('OPTS RETR markers=1;')
  const content = readAll(await openData(await raw.passive()))

  raw.send('RETR image\r\n')
  const replies = [await raw.reply(), await raw.reply(), await raw.reply(), await raw.reply()]

  expect(replies.map((reply) => reply.slice(0, 3))).toEqual(['150', '112', '112', '226'])
  expect(replies[2]).toMatch(/Stripe Bytes Transferred: 3\n/)
  expect((await content).toString()).toBe('abc')
})

test('a long MLSC comes in several replies', async () => {
  await using stage = await GridFtpStage.open()
  for (let index = 0; index < 1200; index += 1) stage.storage.put(`/many/${index}`, Buffer.alloc(0))
  const raw = await stage.login()
  await raw.command('OPTS MLST Type;')

  const replies = [await raw.command('MLSC many'), await raw.reply(), await raw.reply()]

  expect(replies.map((reply) => reply.slice(0, 4))).toEqual(['150-', '150-', '250-'])
  expect(replies.map((reply) => reply.split('\n').length - 2)).toEqual([500, 500, 202])
  expect(new Set(replies.flatMap((reply) => reply.split('\n').slice(1, -1))).size).toBe(1202)
})

test('SITE RDEL is ended by ABOR and keeps what it has not reached', async () => {
  const storage = new MemoryDsi()
  const gate = Promise.withResolvers<void>()
  const started = Promise.withResolvers<void>()
  const removeFile = storage.removeFile.bind(storage)
  storage.removeFile = async (path) => {
    started.resolve()
    await gate.promise
    await removeFile(path)
  }
  await using stage = await GridFtpStage.open({ storage })
  for (const name of ['a', 'b', 'c']) storage.put(`/folder/${name}`, Buffer.alloc(0))
  const [raw, other] = [await stage.login(), await stage.login()]
  raw.send('SITE RDEL folder\r\n')
  await started.promise

  raw.send('ABOR\r\n')
  await other.command('NOOP') // the server has read ABOR by then
  gate.resolve()

  expect(await raw.reply()).toBe('426 transfer aborted: ABOR')
  expect(await raw.reply()).toMatch(/^226 /)
  expect(await raw.command('SIZE folder/c')).toBe('213 0')
})

test('REIN gives as long to log in again as a new connection has', async () => {
  const clock = new ManualClock()
  await using stage = await GridFtpStage.open({ clock, loginTimeoutMs: 1000, idleTimeoutMs: 1e9 })
  const raw = await stage.login()
  clock.advance(5000)
  await raw.command('REIN')

  clock.advance(1000)

  expect(await raw.reply()).toBe('421 Login took too long.')
})

test('commands of every kind may be sent ahead by the thousand', async () => {
  await using stage = await GridFtpStage.open({ maxQueuedCommands: 16 })
  stage.storage.put('/image', Buffer.from('abc'))
  const raw = await stage.login()
  const lines = ['CKSM MD5 0 -1 image', 'MLSC', 'SITE CHMOD 644 image', 'SIZE image']

  raw.send(Array.from({ length: 2400 }, (_, at) => `${lines[at % 4]}\r\n`).join(''))
  const codes: string[] = []
  while (codes.length < 2400) codes.push((await raw.reply()).slice(0, 3))

  expect(codes.slice(0, 4)).toEqual(['213', '250', '250', '213'])
  expect(codes.every((code, at) => code === codes[at % 4])).toBe(true)
})

test('paths with line separators of Unicode are paths like others', async () => {
  await using stage = await GridFtpStage.open()
  const name = 'line\u2028separator'
  stage.storage.put(`/${name}`, Buffer.from('abc'))
  const raw = await stage.login()

  const codes: string[] = []
  for (const command of ['CKSM MD5 0 -1', 'MFMT 20200102030405', 'SITE CHMOD 644', 'SITE TRNC 3']) {
    codes.push((await raw.command(`${command} ${name}`)).slice(0, 3))
  }

  expect(codes).toEqual(['213', '213', '250', '250'])
})
