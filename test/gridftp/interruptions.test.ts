import { once } from 'node:events'
import type { Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { HeldDsi } from '../support/held-dsi.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { openSockets, untilOnlyOpen } from '../support/open-sockets.ts'
import { block, closeAllData, openData, type RawFtp } from '../support/raw-ftp.ts'

const EOD = block(MODE_E_EOD, 0)
const eof = (count: number): Buffer => block(MODE_E_EOF + MODE_E_EOD, count)

let known: string[]
let storage: HeldDsi
let stage: GridFtpStage
let raw: RawFtp
let clock: ManualClock

beforeEach(async () => {
  known = openSockets()
  storage = new HeldDsi()
  clock = new ManualClock()
  stage = await GridFtpStage.open({ storage, clock, dataTimeoutMs: 1000 })
  raw = await stage.login()
})
afterEach(async () => {
  await stage[Symbol.asyncDispose]()
  await untilOnlyOpen(known)
})

async function passive(mode: 'S' | 'E'): Promise<number> {
  await raw.command(`MODE ${mode}`)
  return await raw.passive()
}

/** Begins an upload over one data connection. */
async function store(mode: 'S' | 'E'): Promise<Socket> {
  const data = await openData(await passive(mode))
  await raw.command('STOR new')
  return data
}

/** Begins an upload that stands still in the storage. */
async function storeHeld(mode: 'S' | 'E', held: HeldDsi['held']): Promise<void> {
  storage.held = held
  const data = await openData(await passive(mode))
  raw.send('STOR new\r\n')
  if (mode === 'S') data.end('content')
  else data.write(Buffer.concat([block(0, 0, 'content'), eof(1)]))
  await storage.reached()
}

/** Begins a download whose client reads nothing. */
async function retrieve(line: string, mode: 'S' | 'E'): Promise<void> {
  if (mode === 'S') await openData(await passive(mode))
  else {
    await raw.command('MODE E')
    await raw.command('OPTS RETR Parallelism=2,2,2;')
    await raw.active()
  }
  await raw.command(line)
}

/** Lets what was sent arrive. */
async function arrive(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
}

/** What a session is in the middle of, and how the session gets there. */
const MOMENTS: readonly (readonly [string, () => Promise<unknown>])[] = [
  [
    'STOR that waits for its connection, MODE S',
    async () => [await passive('S'), await raw.command('STOR new')]
  ],
  [
    'STOR that waits for its connection, MODE E',
    async () => [await passive('E'), await raw.command('STOR new')]
  ],
  ['STOR over a silent connection, MODE S', async () => store('S')],
  ['STOR over a silent connection, MODE E', async () => store('E')],
  ['STOR that moves, MODE S', async () => (await store('S')).write(Buffer.alloc(MIB))],
  [
    'STOR in the middle of a block',
    async () => (await store('E')).write(block(0, 0, Buffer.alloc(MIB)).subarray(0, -1))
  ],
  ['STOR in the middle of a header', async () => (await store('E')).write(EOD.subarray(0, 9))],
  [
    'STOR after one EOD of two',
    async () => (await store('E')).write(Buffer.concat([block(0, 0, 'x'), eof(2)]))
  ],
  ['STOR that opens, MODE S', async () => storeHeld('S', 'open')],
  ['STOR that opens, MODE E', async () => storeHeld('E', 'open')],
  ['STOR that waits for the storage, MODE S', async () => storeHeld('S', 'write')],
  ['STOR that waits for the storage, MODE E', async () => storeHeld('E', 'write')],
  ['STOR that is published, MODE S', async () => storeHeld('S', 'publish')],
  ['STOR that is published, MODE E', async () => storeHeld('E', 'publish')],
  [
    'RETR that waits for its connection',
    async () => [await passive('S'), raw.send('RETR large\r\n')]
  ],
  ['RETR that nobody reads, MODE S', async () => retrieve('RETR large', 'S')],
  ['RETR that nobody reads, MODE E', async () => retrieve('RETR large', 'E')],
  [
    'RETR that waits for the storage',
    async () => {
      storage.held = 'read'
      await retrieve('RETR large', 'S')
    }
  ],
  [
    'MLSD that waits for its connection',
    async () => [await passive('S'), raw.send('MLSD endless\r\n')]
  ],
  ['MLSD that nobody reads, MODE S', async () => retrieve('MLSD endless', 'S')],
  ['MLSD that nobody reads, MODE E', async () => retrieve('MLSD endless', 'E')]
]

/** Next reply that is neither a marker nor the start of a transfer. */
async function answer(): Promise<string> {
  for (;;) {
    const reply = await raw.reply()
    if (!reply.startsWith('1')) return reply
  }
}

function expectNothingLeft(): void {
  expect([storage.openUploads, storage.openReads]).toEqual([0, 0])
  expect(storage.content('/new')).toBeUndefined()
}

describe.each(MOMENTS)('in the middle of %s', (_name, reach) => {
  test('ABOR ends it with 426, then 226, and the session is as good as new', async () => {
    await reach()
    await arrive()

    raw.send('ABOR\r\n')

    expect(await answer()).toMatch(/^426 transfer aborted: ABOR/)
    expect(await answer()).toBe('226 Abort successful.')
    expectNothingLeft()
    storage.held = undefined
    expect(await raw.command('STOR again')).toMatch(/^425 /)
    const data = await openData(await passive('S'))
    await raw.command('STOR again')
    data.end('whole')
    expect(await answer()).toMatch(/^226 /)
    expect(await raw.command('SIZE again')).toBe('213 5')
  })

  test('a client that vanishes leaves nothing', async () => {
    await reach()
    await arrive()

    raw.socket.resetAndDestroy()
    while (stage.server.sessionCount > 0) await new Promise(setImmediate)

    expectNothingLeft()
  })

  test('the server can stop', async () => {
    await reach()
    await arrive()

    await stage.server.stop()

    expect(await answer()).toMatch(/^426 transfer aborted: Server is stopping/)
    expect(await raw.reply()).toBe('421 Server is stopping.')
    expectNothingLeft()
  })
})

/** To publish takes as long as it takes. */
const LIMITED = MOMENTS.filter(([name]) => !name.includes('published'))

test.each(LIMITED)(
  'QUIT waits for the end of a %s, which the time limit brings',
  async (_name, reach) => {
    await reach()
    await arrive()

    raw.send('QUIT\r\n')
    clock.advance(1000)

    const ended = await answer()
    expect(ended).toMatch(/^4(25|26|51) /)
    expect(await raw.reply()).toBe('221 Goodbye.')
    expect(await raw.replyOrClose()).toBeUndefined()
    expectNothingLeft()
  }
)

test.each(['S', 'E'] as const)(
  'a client that reads nothing in mode %s costs little',
  async (mode) => {
    await retrieve('RETR large', mode)
    for (let turn = 0; turn < 300; turn += 1) await new Promise(setImmediate)

    const moved = stage.metrics.values.get('blobswarm_gridftp_data_bytes{direction=download}')

    expect(moved).toBeLessThan(24 * MIB) // what two sockets hold, of 32
  }
)

test('ABOR with nothing to abort is 226, and gives the passive port back', async () => {
  expect(await raw.command('ABOR')).toBe('226 Abort successful.')
  await raw.passive()
  expect(await raw.command('ABOR')).toBe('226 Abort successful.')
  expect(await raw.command('STOR new')).toMatch(/^425 /)
})

test('ABOR behind a transfer that has just ended is 226 and 226', async () => {
  const data = await store('S')
  data.end('content')
  expect(await answer()).toMatch(/^226 /)

  expect(await raw.command('ABOR')).toBe('226 Abort successful.')
  expect(Buffer.from(storage.content('/new') ?? []).toString()).toBe('content')
})

test.each([
  ['as lftp and ftplib send it', Buffer.from('ABOR\r')],
  [
    'as the BSD ftp sends it: IAC IP, urgent IAC, data mark',
    Buffer.from('fff4f241424f520d0a', 'hex')
  ],
  ['after IAC IP IAC DM', Buffer.from('fff4fff241424f520d0a', 'hex')],
  ['in lower case', Buffer.from('abor\r\n')]
])('ABOR is understood %s', async (_name, bytes) => {
  await store('S')

  raw.send(bytes)

  expect(await answer()).toMatch(/^426 /)
  expect(await answer()).toMatch(/^226 /)
})

test('ABOR in two pieces, and a client that goes right behind it', async () => {
  await store('E')
  raw.send('AB')
  await arrive()

  raw.send('OR\r\n')
  raw.socket.end()

  expect(await answer()).toMatch(/^426 /)
  expect(await answer()).toMatch(/^226 /)
  await once(raw.socket, 'close')
  expectNothingLeft()
})

test('what was sent for an upload that never began is not taken for the next', async () => {
  const port = await passive('E')
  const data = await openData(port)
  data.write(Buffer.concat([block(0, 0, 'stale'), eof(1)]))
  await arrive()

  const refused = await raw.command(`STOR ${'x'.repeat(300)}`)
  const next = await raw.command('STOR new')

  expect(refused).toMatch(/^553 /)
  expect(next).toMatch(/^425 /)
  closeAllData()
})

test('STAT of a running transfer is answered at once, STAT of a path in its turn', async () => {
  const data = await store('S')

  const now = await raw.command('STAT')
  raw.send('STAT /endless/file\r\n')
  data.end('content')

  expect(now).toBe('213 STOR /new: 0 bytes so far.')
  expect(await raw.reply()).toMatch(/^226 /)
  expect(await raw.reply()).toMatch(/^213-status of \/endless\/file/)
})
