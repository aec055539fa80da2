import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { DirectoryLock } from '../../src/lib/directory-lock.ts'

let folder: string

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'blobswarm-lock-')), 'lock')
})

afterEach(async () => {
  await rm(join(folder, '..'), { recursive: true, force: true })
})

const take = async (): Promise<DirectoryLock | undefined> => {
  const attempt = await DirectoryLock.tryTake(folder)
  return attempt.isTaken ? attempt.lock : undefined
}

test('is held by one at a time and can be taken after a release', async () => {
  const first = await take()
  const second = await DirectoryLock.tryTake(folder)
  await first?.release()
  await first?.release()

  expect(second).toEqual({ isTaken: false, heldByPid: process.pid })
  expect(await take()).toBeDefined()
})

test('is never given to two that try at the same moment', async () => {
  const attempts = await Promise.all(Array.from({ length: 8 }, () => take()))

  expect(attempts.filter((lock) => lock !== undefined).length).toBeLessThanOrEqual(1)
})

test.each([
  ['a process that is gone', '4194303.12345.BOOT.00000000'],
  ['an earlier process of the same number', `${process.pid}.1.BOOT.00000000`],
  ['a time before the machine was started', `${process.pid}.1.0-0.00000000`]
])('is taken over from %s', async (_, pattern) => {
  await (await take())?.release()
  const probe = await take()
  const boot = (await readdir(folder))[0]?.split('.')[2] ?? ''
  await probe?.release()
  await writeFile(join(folder, pattern.replace('BOOT', boot)), '')

  expect(await take()).toBeDefined()
  expect(await readdir(folder)).toHaveLength(1)
})

test('is held by another living process until that is killed', async () => {
  const script = `
    import { DirectoryLock } from ${JSON.stringify(new URL('../../src/lib/directory-lock.ts', import.meta.url).href)}
    await DirectoryLock.tryTake(${JSON.stringify(folder)})
    process.stdout.write('taken')
    setInterval(() => {}, 1000)
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  await once(child.stdout, 'data')

  const whileAlive = await DirectoryLock.tryTake(folder)
  child.kill('SIGKILL')
  await once(child, 'exit')

  expect(whileAlive).toEqual({ isTaken: false, heldByPid: child.pid })
  expect(await take()).toBeDefined()
})
