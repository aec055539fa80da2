import { expect, test } from '@jest/globals'
import { KeyedWaiters } from '../../src/lib/keyed-waiters.ts'
import { Wakeup } from '../../src/lib/wakeup.ts'

test('a wake-up ends the wait that runs, and one that comes early is kept', async () => {
  const wakeup = new Wakeup()
  const waiting = wakeup.wait()
  wakeup.wake()
  await waiting

  wakeup.wake()
  wakeup.wake()
  await wakeup.wait()

  const again = wakeup.wait()
  await expect(Promise.race([again, Promise.resolve('still waiting')])).resolves.toBe(
    'still waiting'
  )
  wakeup.wake()
  await again
})

test('only one task may wait for a wake-up', async () => {
  const wakeup = new Wakeup()
  const waiting = wakeup.wait()

  await expect(wakeup.wait()).rejects.toThrow('waits for this already')
  wakeup.wake()
  await waiting
})

test('waiters for a key go together, those for another stay', async () => {
  const waiters = new KeyedWaiters<string>()
  const [one, two] = [waiters.wait('a'), waiters.wait('a')]
  const abort = new AbortController()
  const other = waiters.wait('b', { signal: abort.signal })

  waiters.resolve('a')
  await Promise.all([one, two])
  abort.abort(new Error('gone'))

  await expect(other).rejects.toThrow('gone')
})
