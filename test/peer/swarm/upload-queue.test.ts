import { expect, test } from '@jest/globals'
import { Bitfield } from '../../../src/chunks/bitfield.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { ANY_COPIES, type RequestClass } from '../../../src/peer/protocols/swarm.ts'
import { Spread } from '../../../src/peer/swarm/spread.ts'
import { type UploadAsk, UploadQueue } from '../../../src/peer/swarm/upload-queue.ts'

const CHUNKS = 8

function queueOf(options: { holds?: readonly number[]; maxPending?: number } = {}) {
  const { holds = [0, 1, 2, 3, 4, 5, 6, 7], ...rest } = options
  const spread = new Spread(CHUNKS, seededRandom(1))
  for (const chunk of holds) spread.hold(chunk)
  spread.join('peer', new Bitfield(CHUNKS))
  spread.join('other', new Bitfield(CHUNKS))
  const remote = new Set<number>()
  const isHeld = (chunk: number): boolean => holds.includes(chunk)
  const remoteHolds = (chunk: number): boolean => remote.has(chunk)
  const queue = new UploadQueue({ peer: 'peer', spread, isHeld, remoteHolds }, rest)
  return { queue, spread, remote }
}

function ask(
  request: number,
  chunk?: number,
  requestClass: RequestClass = 'rest',
  maxCopies = ANY_COPIES
): UploadAsk {
  return { request, requestClass, maxCopies, chunk }
}

test('the most urgent class is next, in order of arrival inside a class', () => {
  const { queue } = queueOf()
  queue.ask(ask(1, 1))
  queue.ask(ask(2, 2, 'profile'))
  queue.ask(ask(3, 3, 'demand'))
  queue.ask(ask(4, 4, 'readAhead'))
  queue.ask(ask(5, 5, 'demand'))

  const order = Array.from({ length: 6 }, () => queue.take()?.request)

  expect(order).toEqual([3, 5, 4, 2, 1, undefined])
})

test('refuses what it does not hold, and what has spread when only fresh chunks are wanted', () => {
  const { queue, spread } = queueOf({ holds: [0, 1] })
  spread.add('other', 1)

  expect(queue.ask(ask(1, 5))).toBe('notHeld')
  expect(queue.ask(ask(2, 1, 'rest', 0))).toBe('spread')
  expect(queue.ask(ask(3, 1, 'rest', 1))).toBeUndefined()
  expect(queue.pendingCount).toBe(1)
})

test('chooses what has spread least, and each chunk once as long as there are fresh ones', () => {
  const { queue } = queueOf({ holds: [2, 5] })
  for (const request of [1, 2, 3]) queue.ask(ask(request, undefined, 'rest', 0))

  const chosen = [1, 2, 3].map(() => queue.choose(queue.take() as UploadAsk)?.chunk)

  expect(new Set(chosen)).toEqual(new Set([2, 5, undefined]))
})

test('a chunk counts as spread from when it is set aside until it turns out not to go', () => {
  const { queue, spread } = queueOf()
  const copies = (): number => spread.copiesBeside('other', 3)
  queue.ask(ask(1, 3))
  expect(copies()).toBe(1)

  expect(queue.cancel(1)).toBe(true)

  expect(copies()).toBe(0)
})

test('a chunk that the neighbour got elsewhere goes on counting when its request is refused', () => {
  const { queue, spread, remote } = queueOf()
  queue.ask(ask(1, 3))
  queue.take()
  remote.add(3)

  queue.rejected(1, 3)

  expect(spread.copiesBeside('other', 3)).toBe(1)
})

test('a request whose turn has come is told apart when it is cancelled, and answered later', () => {
  const { queue } = queueOf()
  queue.ask(ask(1, 3))
  queue.take()

  expect(queue.isCancelled(1)).toBe(false)
  expect(queue.cancel(1)).toBe(false)
  expect(queue.isCancelled(1)).toBe(true)
  queue.rejected(1, 3)
  expect(queue.pendingCount).toBe(0)
})

test('takes no more than so many requests', () => {
  const { queue } = queueOf({ maxPending: 2 })
  queue.ask(ask(1, 1))
  queue.ask(ask(2, 2))
  queue.take()

  expect(() => queue.ask(ask(3, 3))).toThrow(
    expect.objectContaining({ code: 'ERR_PROTOCOL_VIOLATION' })
  )
})

test('knows of a demanded chunk from when it is asked for until it is answered', () => {
  const { queue } = queueOf()
  queue.ask(ask(1, 1))
  queue.take()
  queue.ask(ask(2, 2, 'demand'))
  queue.ask(ask(3, 3, 'demand'))
  const had = [queue.hasDemand]

  queue.sent(1)
  queue.take()
  had.push(queue.hasDemand)
  queue.cancel(3)
  had.push(queue.hasDemand)
  queue.sent(2)

  expect([...had, queue.hasDemand]).toEqual([true, true, true, false])
})

test('nothing is demanded any more when the neighbour is gone', () => {
  const { queue } = queueOf()
  queue.ask(ask(1, 1, 'demand'))
  queue.ask(ask(2, 2, 'demand'))
  queue.take()

  queue.clear()

  expect([queue.hasDemand, queue.pendingCount]).toEqual([false, 0])
})
