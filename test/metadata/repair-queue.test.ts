import { describe, expect, test } from '@jest/globals'
import { chunkId, chunkKey } from '../../src/chunks/chunk-id.ts'
import { CopyQueue, RecentCopies, type WantedCopies } from '../../src/metadata/repair-queue.ts'

function wanted(name: string, copies: number, sources = 'a'): WantedCopies {
  return {
    id: chunkId(Buffer.from(name)),
    count: 1,
    copies,
    sources: sources.split(''),
    beside: [],
    pages: new Set([name]),
    isShort: false,
    isLost: false,
    tries: 0
  }
}

/** Names of the chunks. */
function names(all: readonly WantedCopies[]): string {
  return all.flatMap(({ pages }) => [...pages]).join(' ')
}

describe('the queue of copies', () => {
  test('gives out what has the fewest copies first, all from the same sources', () => {
    const queue = new CopyQueue(100)
    for (const [name, copies, sources] of [
      ['two', 2, 'a'],
      ['one', 1, 'a'],
      ['other', 1, 'b'],
      ['also', 1, 'a']
    ] as const) {
      queue.add(wanted(name, copies, sources))
    }

    const taken = [queue.take(10), queue.take(10), queue.take(10), queue.take(10)].map(names)

    expect(taken).toEqual(['one also', 'other', 'two', ''])
    expect(queue.size).toBe(0)
  })

  test('gives out no more than asked for', () => {
    const queue = new CopyQueue(100)
    for (const name of ['1', '2', '3']) queue.add(wanted(name, 1))

    expect(queue.take(2)).toHaveLength(2)
    expect(queue.size).toBe(1)
  })

  test('drops the less urgent when it is full, or else what comes', () => {
    const queue = new CopyQueue(2)
    queue.add(wanted('one', 1))
    queue.add(wanted('two', 2))

    const dropped = [wanted('also one', 1), wanted('late one', 1), wanted('late two', 2)].map(
      (chunk) => queue.add(chunk)?.pages.values().next().value
    )

    expect(dropped).toEqual(['two', 'late one', 'late two'])
    expect(names(queue.clear())).toBe('one also one')
    expect(queue.size).toBe(0)
  })
})

test('copies that were just made are remembered, the last of them', () => {
  const recent = new RecentCopies(2)
  const ids = ['1', '2', '3'].map((name) => chunkId(Buffer.from(name)))
  for (const id of ids) recent.note(id, ['a'])
  recent.note(ids[2] ?? new Uint8Array(), ['b'])

  expect(ids.map((id) => recent.of(chunkKey(id)).join(''))).toEqual(['', 'a', 'ab'])
})
