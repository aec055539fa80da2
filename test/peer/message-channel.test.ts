import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import type { Channel, ProtocolSpec } from '../../src/peer/types.ts'
import { CONTRACT_SPEC, type OpenedChannels, testChannel, untilQuiet } from '../contract/channel.ts'
import { addressOf, PeerCluster } from '../support/peer-cluster.ts'

const cluster = new PeerCluster()
let left: Libp2pNode
let right: Libp2pNode
let served = Promise.withResolvers<Channel>()

beforeAll(async () => {
  left = await cluster.member()
  right = await cluster.member()
  await left.connect(addressOf(right))
  await right.serve({ ...CONTRACT_SPEC, maxStreams: 64 }, async (channel) => {
    served.resolve(channel)
    const { promise, resolve } = Promise.withResolvers<void>()
    channel.ended.addEventListener('abort', () => resolve(), { once: true })
    await promise
  })
})

afterAll(async () => cluster.stop())

async function openChannels(): Promise<OpenedChannels> {
  served = Promise.withResolvers<Channel>()
  const opened = await left.open(right.peerId, { ...CONTRACT_SPEC, maxStreams: 64 })
  const close = async (): Promise<void> => opened.abort(new Error('the test is over'))
  return { left: opened, right: await served.promise, close }
}

testChannel('a channel over libp2p', openChannels)

test('keeps little in memory however slow the reader is', async () => {
  const opened = await openChannels()
  const totalBytes = 128 * MIB
  const message = new Uint8Array(256 * KIB)
  let sentBytes = 0
  let readBytes = 0
  let mostQueued = 0
  const sending = (async () => {
    for (; sentBytes < totalBytes; sentBytes += message.byteLength) {
      mostQueued = Math.max(mostQueued, sentBytes + message.byteLength - readBytes)
      await opened.left.send([message])
    }
    await opened.left.close()
  })()
  await untilQuiet(() => sentBytes)

  for await (const { byteLength } of opened.right.messages()) {
    readBytes += byteLength
    await nextTurn()
    await nextTurn()
  }
  await opened.right.close()
  await sending

  expect(readBytes).toBe(totalBytes)
  expect(mostQueued).toBeLessThanOrEqual(3 * MIB)
})

test('keeps little in memory when another stream of the connection is busy', async () => {
  const stuck = await openChannels()
  const busy = await openChannels()
  const message = new Uint8Array(256 * KIB)
  let stuckBytes = 0
  const stuckSending = (async () => {
    for (; stuckBytes < 100 * MIB; stuckBytes += message.byteLength) {
      await stuck.left.send([message])
    }
  })()
  const busySending = (async () => {
    for (let count = 0; count < 64; count++) await busy.left.send([message])
    await busy.left.close()
  })()

  let busyBytes = 0
  for await (const { byteLength } of busy.right.messages()) busyBytes += byteLength
  await busy.right.close()
  await busySending
  await stuck.close()

  await expect(stuckSending).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
  expect(busyBytes).toBe(16 * MIB)
  expect(stuckBytes).toBeLessThanOrEqual(3 * MIB)
})

test('tells a lost connection from an orderly end', async () => {
  const spec: ProtocolSpec = { id: '/blobswarm/lost/1', maxMessageBytes: 1000 }
  const victim = await cluster.member()
  await victim.serve(spec, async (channel) => {
    for await (const _ of channel.messages()) {
      // waits for what never comes
    }
  })
  await left.connect(addressOf(victim))
  const channel = await left.open(victim.peerId, spec)
  const reading = (async () => {
    for await (const _ of channel.messages()) throw new Error('nothing was sent')
  })()

  await Promise.all([
    expect(reading).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' }),
    victim.stop()
  ])
})
