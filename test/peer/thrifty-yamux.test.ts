import { expect, test } from '@jest/globals'
import type { MultiaddrConnection } from '@libp2p/interface'
import { multiaddrConnectionPair } from '@libp2p/utils'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { readBounded } from '../../src/peer/stream-reading.ts'
import { type StreamBytes, writeAll } from '../../src/peer/stream-writing.ts'
import { thriftyYamux } from '../../src/peer/thrifty-yamux.ts'

const LIMITS = {
  enableKeepAlive: false,
  streamOptions: { initialStreamWindowSize: 256 * KIB, maxStreamWindowSize: MIB }
}

/** Sends so many bytes through a stream of a muxer at each end. @returns grants, and bytes that came. */
async function transfer(totalBytes: number): Promise<{ grants: number; came: number }> {
  const [near, far] = multiaddrConnectionPair()
  let grants = 0
  countGrants(far, () => grants++)
  const [sender, receiver] = [near, far].map((connection) =>
    thriftyYamux(LIMITS)().createStreamMuxer(connection)
  )
  const arrived = Promise.withResolvers<number>()
  receiver?.addEventListener('stream', ({ detail: stream }) => {
    void countBytes(readBounded(stream)).then(arrived.resolve, arrived.reject)
  })
  const stream = await sender?.createStream()
  if (stream === undefined) throw new Error('no stream')
  const piece = new Uint8Array(32 * KIB)
  await writeAll(
    stream,
    Array.from({ length: totalBytes / piece.byteLength }, () => piece)
  )
  await stream.close()
  const came = await arrived.promise
  near.abort(new Error('the test is over'))
  return { grants, came }
}

function countGrants(connection: MultiaddrConnection, onGrant: () => void): void {
  const send = connection.send.bind(connection)
  connection.send = (bytes: StreamBytes) => {
    if (bytes.byteLength === 12 && bytes.subarray()[1] === 1 && bytes.subarray()[3] === 0) onGrant()
    return send(bytes)
  }
}

async function countBytes(source: AsyncIterable<StreamBytes>): Promise<number> {
  let bytes = 0
  for await (const { byteLength } of source) bytes += byteLength
  return bytes
}

test('carries far more than a window, with a grant for every half of one', async () => {
  const { grants, came } = await transfer(4 * MIB)

  expect(came).toBe(4 * MIB)
  expect(grants).toBeGreaterThan(0)
  expect(grants).toBeLessThanOrEqual(32)
})

test('grants nothing for a few bytes', async () => {
  expect(await transfer(64 * KIB)).toEqual({ grants: 0, came: 64 * KIB })
})
