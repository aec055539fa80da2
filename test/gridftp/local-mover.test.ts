import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { LocalMover, type LocalMoverOptions } from '../../src/gridftp/local-mover.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import type { BlobDescription } from '../../src/metadata/types.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { block, DataListener, openData, untilClosed } from '../support/raw-ftp.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'

const ACCESS = { clientHost: '127.0.0.1', maxSockets: 4, idleMs: 1000 }

let run: TestRepository
let description: BlobDescription

beforeAll(async () => {
  run = await startTestRepository({ chunkBytes: 65_536 })
  const upload = await run.repository.openStripedWrite('/image', { mode: 'replace' })
  description = upload.description
})

afterAll(async () => {
  await run.stop()
})

function moverOn(clock: ManualClock, options: Partial<LocalMoverOptions> = {}): LocalMover {
  const components = { storage: run.repository, clock, random: seededRandom(1), logger: noLogger }
  return new LocalMover('mover', components, { host: '127.0.0.1', ...options })
}

describe('a data mover', () => {
  test('ends a transfer of a front that says nothing while nothing moves', async () => {
    const clock = new ManualClock()
    const mover = moverOn(clock)
    const session = await mover.open(ACCESS)
    const { port } = await session.listen(1)
    const socket = await openData(port)
    const closed = untilClosed(socket)
    const receiving = session.receive({
      description,
      blockOffset: 0,
      baseOffset: 0,
      isRestartable: false
    })
    receiving.catch(() => {}) // looked at below

    clock.advance(900)
    await session.progress()
    clock.advance(900)
    const { movedBytes } = await session.progress()
    clock.advance(1000)

    await expect(receiving).rejects.toMatchObject({ code: 'ERR_FTP_DATA_CHANNEL', replyCode: 426 })
    expect(movedBytes).toBe(0)
    await mover.stop()
    await closed
  })

  test('has no more sessions than it may, and forgets those that ended', async () => {
    const mover = moverOn(new ManualClock(), { maxSessions: 1 })
    const first = await mover.open(ACCESS)

    await expect(mover.open(ACCESS)).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' })
    await first.close()
    const second = await mover.open(ACCESS)

    expect(mover.sessionCount).toBe(1)
    await second.close()
    await second.close()
    expect(mover.sessionCount).toBe(0)
    await expect(first.listen(1)).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
  })

  test('has no more connections to all targets together than its session may', async () => {
    const mover = moverOn(new ManualClock())
    const session = await mover.open(ACCESS)
    const listeners = [await DataListener.open(), await DataListener.open()]
    const targets = listeners.map(({ port }) => ({ host: '127.0.0.1', port }))

    const connected = await session.connect({ targets, parallelism: 9 })
    const again = await session.connect({ targets, parallelism: 1 })

    expect(connected).toEqual({ counts: [2, 2], isReused: false })
    expect(again).toEqual({ counts: [2, 2], isReused: true })
    await mover.stop()
    for (const listener of listeners) listener.close()
  })

  test('connects to nobody but the client, and to no privileged port', async () => {
    const mover = moverOn(new ManualClock())
    const session = await mover.open(ACCESS)
    const connect = async (host: string, port: number): Promise<unknown> =>
      await session.connect({ targets: [{ host, port }], parallelism: 1 })

    await expect(connect('127.0.0.9', 5000)).rejects.toMatchObject({ code: 'ERR_FTP_REFUSED' })
    await expect(connect('127.0.0.1', 80)).rejects.toMatchObject({ code: 'ERR_FTP_REFUSED' })
    await mover.stop()
  })

  test('tells the address that it is told to', async () => {
    const mover = moverOn(new ManualClock(), { advertisedHost: '192.0.2.7' })
    const session = await mover.open(ACCESS)

    const address = await session.listen(1)

    expect(address.host).toBe('192.0.2.7')
    await expect(session.listen(2)).rejects.toThrow('not of protocol family 2')
    await mover.stop()
  })

  test('fails a stripe whose connection says nonsense, and keeps the session', async () => {
    const mover = moverOn(new ManualClock())
    const session = await mover.open(ACCESS)
    const { port } = await session.listen(1)
    const socket = await openData(port)
    const receiving = session.receive({
      description,
      blockOffset: 0,
      baseOffset: 0,
      isRestartable: false
    })

    socket.write(block(0, 0, 'good'))
    socket.write(block(0x48, 0))

    await expect(receiving).rejects.toMatchObject({ code: 'ERR_FTP_DATA_CHANNEL' })
    expect((await session.listen(1)).port).toBeGreaterThan(0)
    await mover.stop()
  })
})
