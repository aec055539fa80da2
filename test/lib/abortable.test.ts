import { expect, test } from '@jest/globals'
import { abortable } from '../../src/lib/abortable.ts'

test('gives what the promise gives when nobody aborts', async () => {
  const { signal } = new AbortController()

  expect(await abortable(Promise.resolve(7), signal)).toBe(7)
  expect(await abortable(Promise.resolve(8))).toBe(8)
  await expect(abortable(Promise.reject(new Error('broken')), signal)).rejects.toThrow('broken')
})

test('rejects with the reason when aborted before or while waiting', async () => {
  const abort = new AbortController()
  const waiting = abortable(new Promise(() => {}), abort.signal)

  abort.abort(new Error('enough'))

  await expect(waiting).rejects.toThrow('enough')
  await expect(abortable(new Promise(() => {}), abort.signal)).rejects.toThrow('enough')
})

test('nobody hears of a failure after the abort', async () => {
  const { promise, reject } = Promise.withResolvers<void>()
  const signal = AbortSignal.abort(new Error('enough'))

  await expect(abortable(promise, signal)).rejects.toThrow('enough')
  reject(new Error('too late'))
  await expect(promise).rejects.toThrow('too late')
})
