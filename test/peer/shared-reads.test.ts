import { once } from 'node:events'
import type net from 'node:net'
import { afterEach, expect, test } from '@jest/globals'
import { readIntoShared } from '../../src/peer/shared-reads.ts'
import { SocketPairs } from '../support/socket-pair.ts'

const pairs = new SocketPairs()

afterEach(() => pairs.close())

/** Collects what a socket reads; resolves when it has ended. */
function collect(socket: net.Socket): { isShared: boolean; ended: Promise<Buffer> } {
  const pieces: Buffer[] = []
  const isShared = readIntoShared(socket, (bytes) => void pieces.push(Buffer.from(bytes)))
  socket.resume()
  return { isShared, ended: once(socket, 'end').then(() => Buffer.concat(pieces)) }
}

test('reads sockets that were accepted and that were connected, at the same time', async () => {
  const [near, far] = await pairs.connect()
  const [one, other] = [collect(near), collect(far)]
  const bytes = Buffer.alloc(1_000_000, 'abcdefg')

  near.end(bytes)
  far.end(bytes.toReversed())

  // What this stands on is no documented part of Node.js: a version without it is noticed here.
  expect([one.isShared, other.isShared]).toEqual([true, true])
  expect(bytes.equals(await other.ended)).toBe(true)
  expect((await one.ended).byteLength).toBe(bytes.byteLength)
})

test('reads nothing while the socket is paused', async () => {
  const [near, far] = await pairs.connect()
  const { ended } = collect(near)
  near.pause()

  far.end('later')
  await once(far, 'finish')
  const before = near.bytesRead
  near.resume()

  expect(before).toBe(0)
  expect((await ended).toString()).toBe('later')
})

test('leaves a socket alone that has bytes queued', async () => {
  const [near, far] = await pairs.connect()
  far.write('first')
  await once(near, 'readable')

  expect(readIntoShared(near, () => {})).toBe(false)

  expect(near.read()?.toString()).toBe('first')
})
