import { afterEach, expect, test } from '@jest/globals'
import { sendable, WorkerCaller, workerUrl } from '../../src/lib/worker-call.ts'
import type { EchoMethods } from '../support/echo-worker.ts'

let caller: WorkerCaller<EchoMethods> | undefined

afterEach(async () => {
  await caller?.stop()
})

function start(): WorkerCaller<EchoMethods> {
  const url = workerUrl('../support/echo-worker', import.meta.url)
  caller = new WorkerCaller<EchoMethods>(url, { name: 'echo' })
  return caller
}

test('answers calls in their order', async () => {
  const worker = start()
  const order: number[] = []

  const calls = [1, 2, 3].map(async (number) => {
    order.push(await worker.call('echo', number))
  })
  await Promise.all(calls)

  expect(order).toEqual([1, 2, 3])
})

test('passes on message and code of what a method throws, and goes on', async () => {
  const worker = start()

  const failed = worker.call('fail', 'disk on fire')

  await expect(failed).rejects.toMatchObject({ message: 'disk on fire', code: 'ERR_ON_FIRE' })
  expect(await worker.call('echo', 4)).toBe(4)
})

test('fails what was called, and whatever comes later, when the thread dies', async () => {
  const worker = start()

  const pending = worker.call('die', undefined)

  await expect(pending).rejects.toMatchObject({ code: 'ERR_WORKER_FAILED' })
  await expect(worker.call('echo', 1)).rejects.toMatchObject({ code: 'ERR_WORKER_FAILED' })
})

test('lets calls finish before it stops, and refuses later ones', async () => {
  const worker = start()
  const pending = worker.call('echo', 5)

  await worker.stop()

  expect(await pending).toBe(5)
  await expect(worker.call('echo', 1)).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
})

test('stands beside its module, as TypeScript or as JavaScript', () => {
  expect(workerUrl('x-worker', 'file:///src/a/x.ts').href).toBe('file:///src/a/x-worker.ts')
  expect(workerUrl('x-worker', 'file:///dist/a/x.js').href).toBe('file:///dist/a/x-worker.js')
})

test('a view is copied out of its array before it is sent', () => {
  const large = new Uint8Array(1000).fill(7)
  const own = new Uint8Array(3)

  expect(sendable(large.subarray(5, 8)).buffer.byteLength).toBe(3)
  expect(sendable(own)).toBe(own)
})

test('gives a part of a larger buffer an array of its own', () => {
  const larger = Buffer.alloc(100_000, 1)

  const own = sendable(larger.subarray(10, 20))

  expect(own.buffer.byteLength).toBe(10)
  expect(sendable(own)).toBe(own)
})
