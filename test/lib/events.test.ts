import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { FileEventLog } from '../../src/lib/events.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()

test('writes one JSON object a line, in order, all of them before it is closed', async () => {
  const path = join(await newFolder(), 'events')
  const log = new FileEventLog<{ event: 'a'; n: number }>(path, { self: 'me', now: () => 7 })
  for (let n = 0; n < 5000; n++) log.emit({ event: 'a', n })
  await log.close()

  const lines = (await readFile(path, 'utf8')).trim().split('\n')
  expect(lines).toHaveLength(5000)
  expect(JSON.parse(lines[4321] ?? '')).toEqual({ ts: 7, self: 'me', event: 'a', n: 4321 })
})

test('goes on where an earlier log of the same file ended', async () => {
  const path = join(await newFolder(), 'events')
  for (let run = 0; run < 2; run++) {
    const log = new FileEventLog(path, { self: 'me', now: () => run })
    log.emit({ event: 'started' })
    await log.close()
  }

  expect((await readFile(path, 'utf8')).match(/"event":"started"/g)).toHaveLength(2)
})

test('a file that cannot be written is told once and harms nobody', async () => {
  const errors: Error[] = []
  const onError = (error: Error): void => void errors.push(error)
  const folder = await newFolder()
  const log = new FileEventLog(folder, { self: 'me', now: () => 0, onError })

  for (let n = 0; n < 10; n++) log.emit({ event: 'a' })
  await log.close()

  expect(errors).toMatchObject([{ code: 'EISDIR' }])
})

test('counts what a disk that stands still makes it drop', async () => {
  const path = join(await newFolder(), 'events')
  const log = new FileEventLog<{ event: string; text: string }>(path, { self: 'me', now: () => 0 })
  const text = 'x'.repeat(1024 * 1024)
  for (let n = 0; n < 40; n++) log.emit({ event: 'large', text })
  await new Promise((resolve) => setImmediate(resolve))
  await log.close()

  const lines = (await readFile(path, 'utf8')).trim().split('\n')
  const last = JSON.parse(lines.pop() ?? '') as { event: string; count: number }
  expect(last.event).toBe('events-dropped')
  expect(lines.length + last.count).toBe(40)
  expect(lines.length).toBeLessThan(20)
})
