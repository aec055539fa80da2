import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { GridFtpClient } from '../../src/gridftp/client.ts'
import { FileDsi } from '../../src/gridftp/file-dsi.ts'
import { MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { type Range, RangeSet } from '../../src/lib/range-set.ts'
import { beginStore, storeBytes, untilStored } from '../support/ftp-upload.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'
import { block, openData, type RawFtp } from '../support/raw-ftp.ts'
import { RestartableDsi } from '../support/restartable-dsi.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

/** Replies up to the last one of a transfer, without performance markers. */
async function repliesOf(raw: RawFtp): Promise<string[]> {
  const replies: string[] = []
  for (;;) {
    const reply = await raw.reply()
    if (!reply.startsWith('112')) replies.push(reply)
    if (!reply.startsWith('11')) return replies
  }
}

async function openStage(options: object = {}) {
  const storage = new RestartableDsi()
  const stage = await GridFtpStage.open({ storage, ...options })
  return { stage, storage, [Symbol.asyncDispose]: async () => stage[Symbol.asyncDispose]() }
}

describe('an upload in extended blocks', () => {
  test('tells every interval what has become durable', async () => {
    const clock = new ManualClock()
    await using setUp = await openStage({ clock, markerIntervalMs: 5000 })
    const raw = await setUp.stage.login()
    const data = await beginStore(raw, 'a', 'E')
    await raw.reply() // the first 112

    data.write(block(0, 10, 'hello'))
    await untilStored(raw, 5)
    clock.advance(5000)
    const [first, second] = [await raw.reply(), await raw.reply()]
    clock.advance(5000)
    const third = await raw.reply()
    data.write(block(MODE_E_EOD | MODE_E_EOF, 1))

    expect([first, second].toSorted()).toEqual([
      '111 Range Marker 10-15',
      expect.stringContaining('112')
    ])
    expect(third).toMatch(/^112/)
    expect(await repliesOf(raw)).toEqual(['226 Transfer complete.'])
  })

  test('goes at the pace that TREV sets', async () => {
    const clock = new ManualClock()
    await using setUp = await openStage({ clock })
    const raw = await setUp.stage.login()
    await raw.command('TREV RESTART 1')
    const data = await beginStore(raw, 'a', 'E')
    await raw.reply()

    data.write(block(0, 0, 'hello'))
    await untilStored(raw, 5)
    clock.advance(1000)

    expect(await raw.reply()).toBe('111 Range Marker 0-5')
  })

  test('that is aborted is kept, and numbered as its blocks are', async () => {
    await using setUp = await openStage()
    const { stage, storage } = setUp
    storage.put('/a', Buffer.from('0123456789'))
    const raw = await stage.login()
    await raw.command('MODE E')
    const data = await openData(await raw.passive())
    await raw.command('ESTO A 4 a')
    data.write(block(0, 2, 'gh'))
    await untilStored(raw, 2)

    raw.send('ABOR\r\n')
    const broken = [await raw.reply(), await raw.reply(), await raw.reply()]
    const port = await raw.passive()
    await raw.command('REST 2-4')
    const more = await openData(port)
    await raw.command('ESTO A 4 a')
    more.write(block(0, 0, 'ef'))
    more.write(block(MODE_E_EOD | MODE_E_EOF, 1))
    const ended = await repliesOf(raw)

    expect(
      broken.map((line) => line.slice(0, 24)).filter((line) => !line.startsWith('112'))
    ).toEqual(['111 Range Marker 2-4', '426 transfer aborted: AB', '226 Abort successful.'])
    expect(ended).toEqual(['111 Range Marker 0-2', '226 Transfer complete.'])
    expect(Buffer.from(storage.content('/a') ?? []).toString()).toBe('0123efgh89')
  })

  test('is kept when its client goes away, and the log says so', async () => {
    await using setUp = await openStage()
    const { stage, storage } = setUp
    const raw = await stage.login()
    const data = await beginStore(raw, 'a', 'E')
    data.write(block(0, 0, 'hello'))
    await untilStored(raw, 5)

    const logged = stage.logger.next(/STOR \/a broke and is kept: 5 bytes/)
    raw.close()
    await logged

    expect(storage.keptPaths).toEqual(['/a'])
    expect(storage.openUploads).toBe(0)
  })

  test('that brought nothing is not kept', async () => {
    await using setUp = await openStage()
    const { stage, storage } = setUp
    const raw = await stage.login()
    const data = await beginStore(raw, 'a', 'E')

    data.write(block(0, 0))
    data.end()
    const replies = await repliesOf(raw)

    expect(replies).toEqual(['426 Data connection ended before its EOD'])
    expect(storage.keptPaths).toEqual([])
  })

  test('counts what had arrived before, where ALLO tells the size', async () => {
    await using setUp = await openStage()
    const { stage, storage } = setUp
    const raw = await stage.login()
    const data = await beginStore(raw, 'a', 'E')
    data.write(block(0, 0, 'hello'))
    data.end()
    await repliesOf(raw)

    const outcomes: string[] = []
    for (const part of ['', ' world']) {
      const port = await raw.passive()
      await raw.command('ALLO 11')
      await raw.command('REST 0-5')
      const more = await openData(port)
      await raw.command('STOR a')
      more.write(block(0, 5, part))
      more.write(block(MODE_E_EOD | MODE_E_EOF, 1))
      outcomes.push((await repliesOf(raw)).at(-1)?.slice(0, 40) ?? '')
    }

    expect(outcomes).toEqual(['426 5 bytes arrived where ALLO announced', '226 Transfer complete.'])
    expect(Buffer.from(storage.content('/a') ?? []).toString()).toBe('hello world')
  })

  test('is not kept where it goes to the end of a file, or on from an offset', async () => {
    await using setUp = await openStage()
    const { stage, storage } = setUp
    storage.put('/a', Buffer.from('0123456789'))
    const raw = await stage.login()
    await raw.command('MODE E')

    for (const commands of [['APPE a'], ['REST 5', 'STOR a']]) {
      const port = await raw.passive()
      const data = await openData(port)
      for (const command of commands) await raw.command(command)
      data.write(block(0, 5, 'hello'))
      data.end()
      expect(await repliesOf(raw)).toEqual(['426 Data connection ended before its EOD'])
    }

    expect(storage.keptPaths).toEqual([])
    expect(storage.checkpoints).toBe(0)
  })

  test('has no checkpoint if it takes less than an interval', async () => {
    await using setUp = await openStage()
    const raw = await setUp.stage.login()

    const reply = await storeBytes(raw, 'a', Buffer.from('hello'), 'E')

    expect(reply).toBe('226 Transfer complete.')
    expect(setUp.storage.checkpoints).toBe(0)
  })
})

test('a storage that keeps nothing gets no promise, and its uploads are gone when they break', async () => {
  await using stage = await GridFtpStage.open({ storage: new MemoryDsi() })
  const raw = await stage.login()
  const data = await beginStore(raw, 'a', 'E')

  data.write(block(0, 0, 'hello'))
  data.end()

  expect(await repliesOf(raw)).toEqual(['426 Data connection ended before its EOD'])
  expect(stage.storage.openUploads).toBe(0)
})

test('plain files say that they keep nothing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-restart-'))
  const storage = await FileDsi.open(folder)
  const continuing = [{ start: 0, end: 5 }]

  const opened = storage.openWrite('/a', { mode: 'replace', isRestartable: true, continuing })

  await expect(opened).rejects.toMatchObject({
    code: 'ERR_FTP_UPLOAD_LOST',
    message: expect.stringContaining('plain files keep nothing of broken uploads')
  })
  await rm(folder, { recursive: true })
})

test('our client hears what is durable, and goes on from there', async () => {
  await using setUp = await openStage({ markerIntervalMs: 5 })
  const client = new GridFtpClient({ clock: systemClock })
  await client.connect({ host: '127.0.0.1', port: setUp.stage.port })
  await client.login()
  const image = sampleBytes(100_000)
  const told = new RangeSet()
  const half = Promise.withResolvers<void>()
  const onDurable = ({ start, end }: Range): void => {
    told.add(start, end)
    if (told.size >= 50_000) half.resolve()
  }
  const sent: number[] = []
  const sourceOf = (limit: number) => ({
    bytes: image.byteLength,
    read: async (offset: number, length: number) => {
      sent.push(offset)
      if (offset + length <= limit) return image.slice(offset, offset + length)
      await half.promise
      throw new Error('bad sector')
    }
  })

  const options = { blockBytes: 10_000, streams: 1, onDurable }
  await expect(client.put(sourceOf(50_000), '/a', options)).rejects.toThrow('bad sector')
  const arrived = Array.from(told)
  sent.length = 0
  await client.put(sourceOf(100_000), '/a', { ...options, arrived })
  await client.quit()

  expect(arrived).toEqual([{ start: 0, end: 50_000 }])
  expect(sent).toEqual([50_000, 60_000, 70_000, 80_000, 90_000])
  expect(Array.from(told)).toEqual([{ start: 0, end: 100_000 }])
  expect(Buffer.from(setUp.storage.content('/a') ?? []).equals(image)).toBe(true)
})
