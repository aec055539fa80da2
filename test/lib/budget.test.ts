import { expect, test } from '@jest/globals'
import { Budget } from '../../src/lib/budget.ts'

test('gives to waiters in order, the large one before later small ones', async () => {
  const budget = new Budget(10)
  const order: string[] = []
  await budget.acquire(8)
  const large = budget.acquire(6).then(() => order.push('large'))
  const small = budget.acquire(1).then(() => order.push('small'))

  budget.release(8)
  await Promise.all([large, small])

  expect(order).toEqual(['large', 'small'])
  expect(budget.used).toBe(7)
})

test('an aborted waiter takes nothing and lets the next one pass', async () => {
  const budget = new Budget(4)
  await budget.acquire(3)
  const abort = new AbortController()
  const first = budget.acquire(4, { signal: abort.signal })
  const second = budget.acquire(1)

  abort.abort(new Error('gone'))

  await expect(first).rejects.toThrow('gone')
  await second
  expect(budget.used).toBe(4)
})

test('refuses what can never be free', async () => {
  await expect(new Budget(4, 'memory').acquire(5)).rejects.toMatchObject({
    code: 'ERR_LIMIT_EXCEEDED'
  })
})
