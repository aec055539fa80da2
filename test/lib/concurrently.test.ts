import { expect, test } from '@jest/globals'
import { forEachConcurrently } from '../../src/lib/concurrently.ts'

test('keeps at most so many calls open', async () => {
  let open = 0
  let most = 0
  await forEachConcurrently([1, 2, 3, 4, 5, 6, 7], 3, async () => {
    most = Math.max(most, ++open)
    await Promise.resolve()
    open--
  })

  expect([open, most]).toEqual([0, 3])
})

test('throws the first failure after the others were aborted and have ended', async () => {
  const ended: number[] = []
  const run = forEachConcurrently([1, 2, 3, 4], 2, async (item, signal) => {
    if (item === 2) throw new Error('two')
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve())
    })
    ended.push(item)
  })

  await expect(run).rejects.toThrow('two')
  expect(ended).toEqual([1])
})

test('ends with the reason of its signal', async () => {
  const controller = new AbortController()
  const run = forEachConcurrently([1, 2, 3], 1, async () => controller.abort(new Error('enough')), {
    signal: controller.signal
  })

  await expect(run).rejects.toThrow('enough')
})
