import { once } from 'node:events'
import { describe, expect, test } from '@jest/globals'
import { NoSpaceError, StorageUnavailableError } from '../../src/gridftp/errors.ts'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'
import { openData, readAll, untilCutOff } from '../support/raw-ftp.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

/** A promise that the test settles, to hold a storage still. */
const gate = (): PromiseWithResolvers<void> => Promise.withResolvers<void>()

describe('upload', () => {
  test.each([0, 1, 65_535, 3_000_000])('stores %d bytes and gives them back', async (length) => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const bytes = sampleBytes(length)

    const upload = await openData(await raw.passive())
    await raw.command('STOR image')
    upload.end(bytes)
    const stored = await raw.reply()
    const download = readAll(await openData(await raw.passive()))
    await raw.command('RETR image')

    expect(stored).toMatch(/^226 /)
    expect(sha256(await download)).toBe(sha256(bytes))
    expect(await raw.reply()).toMatch(/^226 /)
  })

  test('over an active connection', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const listener = await raw.active()

    raw.send('STOR image\r\n')
    await raw.reply()
    const [data] = await listener.connections(1)
    data?.end('content')

    expect(await raw.reply()).toMatch(/^226 /)
    expect(stage.storage.content('/image')?.toString()).toBe('content')
  })

  test('publishes nothing when the data connection breaks', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    data.write(sampleBytes(100_000))

    data.resetAndDestroy()

    expect(await raw.reply()).toMatch(/^426 Data connection broke after \d+ bytes/)
    expect(stage.storage.content('/image')).toBeUndefined()
    expect(stage.storage.openUploads).toBe(0)
    expect(await raw.command('NOOP')).toMatch(/^200 /)
  })

  test('publishes nothing when the client is killed, which ends both connections in order', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    const logged = stage.logger.next(/STOR .* failed/)

    raw.socket.end()
    data.end(sampleBytes(1000))
    await logged

    expect(stage.storage.content('/image')).toBeUndefined()
    expect(stage.storage.openUploads).toBe(0)
  })

  test('publishes when the client said QUIT before it went', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')

    raw.send('QUIT\r\n')
    raw.socket.end()
    data.end('all of it')

    expect(await raw.reply()).toMatch(/^226 /)
    expect(await raw.reply()).toMatch(/^221 /)
    expect(stage.storage.content('/image')?.toString()).toBe('all of it')
  })

  test('takes data from the client only; a stranger is cut off and nothing else happens', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const port = await raw.passive()
    await raw.command('STOR image')

    await untilCutOff(port, '127.0.0.2')
    const data = await openData(port)
    data.end('wanted')

    expect(await raw.reply()).toMatch(/^226 /)
    expect(stage.storage.content('/image')?.toString()).toBe('wanted')
  })

  test('ends with the reply of what the storage refuses', async () => {
    const storage = new MemoryDsi({
      beforeWrite: async ({ path, offset }) => {
        if (offset > 100_000) throw new NoSpaceError(path)
      }
    })
    await using stage = await GridFtpStage.open({ storage })
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')

    data.end(sampleBytes(MIB))

    expect(await raw.reply()).toBe('552 /image: no space left')
    expect(storage.content('/image')).toBeUndefined()
    expect(storage.openUploads).toBe(0)
  })

  test('refuses what is announced too large before any data moves', async () => {
    await using stage = await GridFtpStage.open({ storage: new MemoryDsi({ maxBytes: 1000 }) })
    const raw = await stage.login()
    await raw.passive()
    await raw.command('ALLO 1001')

    expect(await raw.command('STOR image')).toBe('552 /image: no space left')
  })

  test('stops reading when the queue is full, and goes on when the storage does', async () => {
    const { promise, resolve } = gate()
    const storage = new MemoryDsi({ beforeWrite: async () => await promise })
    const clock = new ManualClock()
    await using stage = await GridFtpStage.open({ storage, clock, queueBytes: 256 * KIB })
    const raw = await stage.login()
    const bytes = sampleBytes(32 * MIB)
    const data = await openData(await raw.passive())
    await raw.command('STOR image')

    data.end(bytes)
    const stat = await untilStill(async () => await raw.command('STAT'))
    const heldBack = data.writableLength
    resolve()

    expect(stat).toBe('213 STOR /image: 0 bytes so far.')
    expect(heldBack).toBeGreaterThan(16 * MIB)
    expect(await raw.reply()).toMatch(/^226 /)
    expect(sha256(storage.content('/image') ?? new Uint8Array())).toBe(sha256(bytes))
  })
})

/** Asks until the answers have been the same for a while. */
async function untilStill(ask: () => Promise<string>): Promise<string> {
  let last = ''
  for (let same = 0; same < 50; same += 1) {
    const answer = await ask()
    if (answer !== last) same = 0
    last = answer
  }
  return last
}

describe('time limits', () => {
  test('no data connection', async () => {
    const clock = new ManualClock()
    await using stage = await GridFtpStage.open({ clock, dataTimeoutMs: 1000 })
    const raw = await stage.login()
    await raw.passive()
    await raw.command('STOR image')

    clock.advance(1000)

    expect(await raw.reply()).toBe('425 No data connection within 1000 ms.')
    expect(await raw.command('NOOP')).toMatch(/^200 /)
  })

  test('a data connection on which nothing moves', async () => {
    const clock = new ManualClock()
    await using stage = await GridFtpStage.open({ clock, dataTimeoutMs: 1000 })
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    data.write('x')
    await untilStill(async () => await raw.command('STAT'))

    clock.advance(1000)

    expect(await raw.reply()).toBe('426 Nothing moved for 1000 ms.')
    expect(stage.storage.openUploads).toBe(0)
  })

  test('a storage that takes nothing', async () => {
    const { promise, reject } = gate()
    const clock = new ManualClock()
    const storage = new MemoryDsi({ beforeWrite: async () => await promise })
    await using stage = await GridFtpStage.open({ storage, clock, dataTimeoutMs: 1000 })
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    data.end('x')
    await untilStill(async () => await raw.command('STAT'))

    clock.advance(1000)
    reject(new StorageUnavailableError('/image', 'gone'))

    expect(await raw.reply()).toBe('451 storage stood still for 1000 ms')
  })
})

describe('download', () => {
  test('ends with 426 when the client closes the data connection, and the session goes on', async () => {
    const storage = new MemoryDsi()
    storage.put('/image', sampleBytes(8 * MIB))
    await using stage = await GridFtpStage.open({ storage })
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('RETR image')

    await once(data, 'data')
    data.destroy()

    expect(await raw.reply()).toMatch(/^426 Data connection broke/)
    expect(storage.openReads).toBe(0)
    expect(await raw.command('ABOR')).toMatch(/^226 /)
  })

  test('resets the data connection when the storage fails, so that nobody takes it for the end', async () => {
    const storage = new MemoryDsi({
      beforeRead: async () => {
        throw new StorageUnavailableError('/image', 'providers are gone')
      }
    })
    storage.put('/image', sampleBytes(1000))
    await using stage = await GridFtpStage.open({ storage })
    const raw = await stage.login()
    const content = readAll(await openData(await raw.passive()))
    content.catch(() => {})

    await raw.command('RETR image')

    expect(await raw.reply()).toBe('451 /image: storage is unavailable: providers are gone')
    await expect(content).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  test('a missing file leaves the passive port for the next one', async () => {
    const storage = new MemoryDsi()
    storage.put('/image', Buffer.from('content'))
    await using stage = await GridFtpStage.open({ storage })
    const raw = await stage.login()
    const content = readAll(await openData(await raw.passive()))

    const missing = await raw.command('RETR nothing')
    await raw.command('RETR image')

    expect(missing).toBe('550 /nothing: no such file or directory')
    expect((await content).toString()).toBe('content')
  })
})

describe('ABOR and STAT while a transfer runs', () => {
  test('ABOR ends an upload; it is answered after it', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')
    data.write('x')

    raw.send(Buffer.from('\xff\xf4\xff\xf2ABOR\r\n', 'latin1'))

    expect(await raw.reply()).toBe('426 transfer aborted: ABOR')
    expect(await raw.reply()).toMatch(/^226 /)
    expect(stage.storage.openUploads).toBe(0)
    expect(await raw.command('NOOP')).toMatch(/^200 /)
  })

  test('ABOR ends transfers that wait for their turn, too', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    await raw.passive()

    await raw.command('STOR one')
    raw.send('STOR two\r\nNOOP\r\nABOR\r\n')
    const replies = [await raw.reply(), await raw.reply(), await raw.reply(), await raw.reply()]

    expect(replies.map((reply) => reply.slice(0, 3))).toEqual(['426', '426', '200', '226'])
  })

  test('STAT is answered at once', async () => {
    await using stage = await GridFtpStage.open()
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    await raw.command('STOR image')

    const stat = await raw.command('STAT')
    data.end()

    expect(stat).toBe('213 STOR /image: 0 bytes so far.')
    expect(await raw.reply()).toMatch(/^226 /)
  })
})
