import { once } from 'node:events'
import { afterEach, expect, test } from '@jest/globals'
import { Uint8ArrayList } from 'uint8arraylist'
import { KIB } from '../../src/lib/bytes.ts'
import { writeBatched } from '../../src/peer/batched-writes.ts'
import { markDisposable } from '../../src/peer/disposable-memory.ts'
import { SocketPairs } from '../support/socket-pair.ts'

const pairs = new SocketPairs()

afterEach(() => pairs.close())

test('sends what was written in one turn, in order and together', async () => {
  const [near, far] = await pairs.connect()

  for (let n = 0; n < 50; n++) writeBatched(near, new Uint8ArrayList(Buffer.from(`${n},`)))
  const sentAtOnce = near.bytesWritten - near.writableLength
  const [came] = (await once(far, 'data')) as [Buffer]

  expect(sentAtOnce).toBe(0)
  expect(came.toString()).toBe(Array.from({ length: 50 }, (_, n) => `${n},`).join(''))
})

test('says when no more may follow, and a drain event comes then', async () => {
  const [near, far] = await pairs.connect()
  let cameBytes = 0
  far.on('data', ({ byteLength }) => {
    cameBytes += byteLength
  })
  const piece = new Uint8ArrayList(new Uint8Array(20 * KIB), new Uint8Array(40), new Uint8Array(3))

  let written = 0
  let result = { sentBytes: 0, canSendMore: true }
  while (result.canSendMore) {
    result = writeBatched(near, piece)
    written += result.sentBytes
  }
  await once(near, 'drain')

  expect(written).toBeLessThan(200 * KIB)
  near.end()
  await once(far, 'end')
  expect(cameBytes).toBe(written)
})

test('frees memory that was marked when it has been written, and no other', async () => {
  const [near, far] = await pairs.connect()
  const marked = markDisposable(new Uint8Array(20 * KIB).fill(1))
  const other = new Uint8Array(20 * KIB).fill(2)
  far.resume()

  writeBatched(near, new Uint8ArrayList(marked, other))
  const beforeBytes = marked.byteLength
  near.end()
  await once(near, 'finish')

  expect([beforeBytes, marked.byteLength, other.byteLength]).toEqual([20 * KIB, 0, 20 * KIB])
})
