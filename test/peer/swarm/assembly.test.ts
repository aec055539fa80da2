import { expect, test } from '@jest/globals'
import type { ChunkMessage } from '../../../src/peer/protocols/swarm.ts'
import { Assembly } from '../../../src/peer/swarm/assembly.ts'

const part = (offset: number, bytes: readonly number[], totalBytes = 4): ChunkMessage => ({
  type: 'chunk',
  request: 1,
  index: 0,
  encoding: 0,
  totalBytes,
  offset,
  part: Uint8Array.from(bytes)
})

test('puts parts together', () => {
  const assembly = new Assembly('a', 4)

  expect(assembly.add(part(0, [1, 2, 3]))).toBeUndefined()
  expect(assembly.add(part(3, [4]))).toEqual(Uint8Array.of(1, 2, 3, 4))
})

test('does not copy a chunk that comes in one part', () => {
  const whole = part(0, [1, 2, 3, 4])

  expect(new Assembly('a', 4).add(whole)).toBe(whole.part)
})

test('refuses a part that is not the next one, and a length that is not the chunk’s', () => {
  const violation = expect.objectContaining({ code: 'ERR_PROTOCOL_VIOLATION' })

  expect(() => new Assembly('a', 4).add(part(1, [2]))).toThrow(violation)
  expect(() => new Assembly('a', 4).add(part(0, [1], 5))).toThrow(violation)
})
