import type { Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'
import { openSockets, untilOnlyOpen } from '../support/open-sockets.ts'
import { block, openData, type RawFtp, untilClosed, untilCutOff } from '../support/raw-ftp.ts'

const EOD = block(MODE_E_EOD, 0)
const eof = (count: number): Buffer => block(MODE_E_EOF + MODE_E_EOD, count)

/** A header whose count and offset any u64 can be. */
function header(flags: number, count: bigint, offset: bigint): Buffer {
  const bytes = Buffer.alloc(17)
  bytes.writeUInt8(flags)
  bytes.writeBigUInt64BE(count, 1)
  bytes.writeBigUInt64BE(offset, 9)
  return bytes
}

let known: string[]
let clock: ManualClock
let stage: GridFtpStage
let raw: RawFtp
let port: number

beforeEach(async () => {
  known = openSockets()
  clock = new ManualClock()
  const storage = new MemoryDsi({ maxBytes: 16 * MIB })
  stage = await GridFtpStage.open({ storage, clock, dataTimeoutMs: 1000 })
  raw = await stage.login()
  await raw.command('MODE E')
  port = await raw.passive()
})
afterEach(async () => {
  await stage[Symbol.asyncDispose]()
  await untilOnlyOpen(known)
})

/** Begins an upload of which the first block has arrived. */
async function begin(): Promise<Socket> {
  const data = await openData(port)
  await raw.command('STOR image')
  data.write(block(0, 0, 'hello '))
  await untilMoved(6)
  return data
}

/** Resolves when so many bytes of the upload have arrived. */
async function untilMoved(bytes: number): Promise<void> {
  for (;;) {
    raw.send('STAT\r\n')
    const status = await raw.finalReply()
    if (Number(/: (\d+) bytes so far/.exec(status)?.[1]) >= bytes) return
  }
}

function content(path = '/image'): string | undefined {
  const bytes = stage.storage.content(path)
  return bytes === undefined ? undefined : Buffer.from(bytes).toString()
}

const metric = (what: string): number | undefined =>
  stage.metrics.values.get(`blobswarm_gridftp_refusals_total{what=${what}}`)

describe('somebody at the data port who is not the sender, but comes from its machine', () => {
  const RUBBISH: readonly (readonly [string, Buffer])[] = [
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['a TLS hello', Buffer.from('1603010200010001fc0303f1d2c3b4a5968778695a4b3c2d1e0f', 'hex')],
    ['the banner of SSH', Buffer.from('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n')],
    ['one bit everywhere', Buffer.alloc(64, 0xff)],
    ['a block of 2^64 - 1 bytes', header(0, 2n ** 64n - 1n, 0n)],
    ['a block that ends beyond 2^53', header(0, 2n ** 52n, 2n ** 53n - 1n)]
  ]

  test.each(RUBBISH)('sends %s: it is cut off, and the upload goes on', async (_name, bytes) => {
    const data = await begin()

    const stranger = await openData(port)
    const cutOff = untilClosed(stranger)
    stranger.write(bytes)
    await cutOff
    data.write(Buffer.concat([block(0, 6, 'world'), eof(1)]))

    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(content()).toBe('hello world')
    expect(metric('stranger')).toBe(1)
    expect(stage.logger.lines.join('\n')).toMatch(/data connection from 127\.0\.0\.1 dropped: /)
  })

  test('comes before the upload begins, with rubbish or without a word', async () => {
    const strangers = await Promise.all([openData(port), openData(port), openData(port)])
    const cutOff = untilClosed(strangers[0])
    strangers[0].write('HELO example.org, this is long enough\r\n')
    strangers[1].end()

    const data = await begin()
    await cutOff
    data.write(Buffer.concat([block(0, 6, 'world'), eof(1)]))

    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(content()).toBe('hello world')
  })

  test('sends half a header and goes, or stays', async () => {
    const data = await begin()

    const [goes, stays] = [await openData(port), await openData(port)]
    goes.end(EOD.subarray(0, 5))
    stays.write(EOD.subarray(0, 5))
    await untilClosed(goes)
    data.write(Buffer.concat([block(0, 6, 'world'), eof(1)]))

    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(content()).toBe('hello world')
  })

  test('comes from another machine, again and again, and takes no place of the client', async () => {
    const data = await begin()

    for (let times = 0; times < 70; times += 1) await untilCutOff(port, '127.0.0.2')
    data.write(Buffer.concat([block(0, 6, 'world'), eof(1)]))

    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(metric('stranger')).toBe(70)
    expect(stage.logger.lines.join('\n')).toContain(
      'data connection from 127.0.0.2 refused: the client is 127.0.0.1'
    )
  })
})

describe('a sender that is out of its mind is told 426, nothing is published and the session goes on', () => {
  const NONSENSE: readonly (readonly [string, Buffer, RegExp])[] = [
    ['a count of 2^64 - 1', header(0, 2n ** 64n - 1n, 0n), /count is not a safe integer/],
    ['a count of 2^53', header(0, 2n ** 53n, 0n), /count is not a safe integer/],
    ['an offset of 2^64 - 1', header(0, 1n, 2n ** 64n - 1n), /offset is not a safe integer/],
    ['a block that ends beyond 2^53', header(0, 2n ** 52n, 2n ** 53n - 1n), /ends beyond/],
    ['an EOF for no EOD', eof(0), /EOF announces 0 EODs/],
    ['an EOF for more EODs than there may be connections', eof(65), /EOF announces 65 EODs/],
    ['an EOF for 2^53 - 1 EODs', eof(2 ** 53 - 1), /EOF announces 9007199254740991 EODs/],
    ['two EOFs', Buffer.concat([block(MODE_E_EOF, 2), block(MODE_E_EOF, 2)]), /second EOF/]
  ]

  test.each(NONSENSE)('%s', async (_name, bytes, reason) => {
    const data = await begin()
    const closed = untilClosed(data)

    data.write(bytes)

    const ended = await raw.finalReply()
    await closed
    expect(ended).toMatch(/^426 /)
    expect(ended).toMatch(reason)
    expect(content()).toBeUndefined()
    expect(stage.storage.openUploads).toBe(0)
    expect(await raw.command('NOOP')).toBe('200 OK.')
  })

  test.each([
    ['an EOD without an EOF', EOD],
    ['an EOF that announces one EOD too many', eof(2)],
    ['an EOF without an EOD', block(MODE_E_EOF, 1)],
    ['half a header', eof(1).subarray(0, 16)],
    ['half a block', block(0, 6, 'world').subarray(0, -1)],
    ['a block of 8 PiB that never comes', header(0, 2n ** 53n - 1n, 0n)]
  ])('%s, when the time limit is over', async (_name, bytes) => {
    const data = await begin()
    data.write(bytes)
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)

    clock.advance(1000)

    expect(await raw.finalReply()).toMatch(/^426 Nothing moved for 1000 ms/)
    expect(content()).toBeUndefined()
    expect(stage.storage.openUploads).toBe(0)
  })

  test('one EOD too many', async () => {
    const data = await begin()
    const [second, third] = [await openData(port), await openData(port)]

    second.write(Buffer.concat([block(0, 6, 'x'), EOD]))
    await untilMoved(7)
    third.write(block(0, 7, 'y'))
    await untilMoved(8)
    data.write(eof(1))

    expect(await raw.finalReply()).toMatch(/^426 .*(EODs|announced)/)
    expect(content()).toBeUndefined()
  })

  test('more than there is room for: 552', async () => {
    const data = await begin()

    data.write(block(0, 16 * MIB, 'x'))

    expect(await raw.finalReply()).toBe('552 /image: no space left')
    expect(content()).toBeUndefined()
    expect(await raw.command('NOOP')).toBe('200 OK.')
  })
})

test('where blocks overlap the later one wins', async () => {
  const data = await begin()

  data.write(Buffer.concat([block(0, 4, 'XYZ'), block(0, 6, 'w'), block(0, 5, '-'), eof(1)]))

  expect(await raw.finalReply()).toMatch(/^226 /)
  expect(content()).toBe('hellX-w')
})

test('what follows an EOD waits for the next file, however much it is, unread', async () => {
  const data = await begin()
  data.write(Buffer.concat([eof(1), header(0, BigInt(12 * MIB), 0n), Buffer.alloc(12 * MIB)]))
  const stored = await raw.finalReply()
  for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate)

  const unsent = data.writableLength
  const started = await raw.command('STOR second')
  data.write(eof(1))

  expect(stored).toMatch(/^226 /)
  expect(unsent).toBeGreaterThan(0)
  expect(started).toMatch(/^125 /)
  expect(await raw.finalReply()).toMatch(/^226 /)
  expect(stage.storage.content('/second')?.byteLength).toBe(12 * MIB)
})

test('any bytes whatever in any pieces: one reply, nothing open, and the session goes on', async () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc
      .tuple(
        fc.constantFrom(0, 0x08, 0x40, 0x48, 0x4c, 0x10, 0xff),
        fc.bigInt(0n, 2n ** 64n - 1n),
        fc.bigInt(0n, 2n ** 64n - 1n)
      )
      .map(([flags, count, offset]) => header(flags, count % 70n, offset % 70n)),
    fc.constant(eof(1))
  )
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(piece, { maxLength: 6 }), { maxLength: 4 }), async (all) => {
      const to = await raw.passive()
      const sockets = await Promise.all(all.map(async () => openData(to)))
      await raw.command('STOR image')

      for (const [index, pieces] of all.entries()) {
        for (const bytes of pieces) sockets[index]?.write(bytes)
        sockets[index]?.end()
      }
      for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
      clock.advance(1000)

      expect(await raw.finalReply()).toMatch(/^(226|425|426|552) /)
      expect(await raw.command('NOOP')).toBe('200 OK.')
      expect([stage.storage.openUploads, stage.storage.openReads]).toEqual([0, 0])
      for (const socket of sockets) socket.destroy()
    }),
    { numRuns: 40 }
  )
})
