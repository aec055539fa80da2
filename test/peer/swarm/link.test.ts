import { expect, test } from '@jest/globals'
import { SWARM_PROTOCOL, type SwarmMessage } from '../../../src/peer/protocols/swarm.ts'
import { decodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'
import { SwarmLink, type SwarmLinkOptions } from '../../../src/peer/swarm/link.ts'
import type { Channel } from '../../../src/peer/types.ts'
import { channelPair, testMember } from '../../support/channel-pair.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

interface Stage {
  readonly clock: VirtualClock
  readonly link: SwarmLink
  readonly far: Channel
  /** Messages that arrived at the far end. */
  readonly arrived: SwarmMessage[]
}

function stageOf(options: SwarmLinkOptions = {}, bufferBytes?: number): Stage {
  const clock = new VirtualClock()
  const pair = bufferBytes === undefined ? {} : { bufferBytes }
  const [near, far] = channelPair(testMember('near'), testMember('far'), SWARM_PROTOCOL, pair)
  const incoming = near.messages()[Symbol.asyncIterator]()
  return {
    clock,
    link: new SwarmLink({ channel: near, incoming }, clock, options),
    far,
    arrived: []
  }
}

async function collect({ far, arrived }: Stage): Promise<void> {
  for await (const bytes of far.messages()) arrived.push(decodeSwarmMessage(bytes))
  await far.close()
}

const chunkMessage = (request: number): SwarmMessage => {
  const part = Uint8Array.of(1)
  return { type: 'chunk', request, index: 0, encoding: 0, totalBytes: 1, offset: 0, part }
}

test('small messages overtake chunks that wait', async () => {
  const stage = stageOf()
  const collected = collect(stage)
  const running = stage.link.run(() => {})
  const sent = Promise.all([1, 2].map(async (request) => stage.link.send(chunkMessage(request))))
  stage.link.post({ type: 'cancel', request: 9 })
  await sent
  stage.link.close('leaving')
  await Promise.all([running, collected])

  expect(stage.arrived.map(({ type }) => type)).toEqual(['cancel', 'chunk', 'chunk', 'goodbye'])
})

test('announcements are collected, and the first one goes at once', async () => {
  const stage = stageOf({ haveIntervalMs: 50, fewHavesIntervalMs: 50 })
  const collected = collect(stage)
  const running = stage.link.run(() => {})

  stage.link.announce([1])
  await stage.clock.advance(10)
  stage.link.announce([2])
  stage.link.announce([3, 4])
  await stage.clock.advance(20)
  expect(stage.arrived).toEqual([{ type: 'have', indexes: [1] }])
  await stage.clock.advance(60)
  stage.link.close('leaving')
  await Promise.all([running, collected])

  expect(stage.arrived[1]).toEqual({ type: 'have', indexes: [2, 3, 4] })
})

test('eight announcements wait less than a few, and what the remote does not want waits longest', async () => {
  const stage = stageOf()
  const collected = collect(stage)
  const running = stage.link.run(() => {})
  const sinceStart = (): number => stage.clock.monotonic() - startMs
  const startMs = stage.clock.monotonic()
  const arrivals: number[] = []
  const announced = async (chunks: readonly number[], wanted: boolean): Promise<void> => {
    const before = stage.arrived.length
    stage.link.announce(chunks, wanted)
    while (stage.arrived.length === before) await stage.clock.advance(10)
    arrivals.push(sinceStart())
  }

  await announced([0], true)
  await announced([1, 2, 3, 4, 5, 6, 7, 8], true)
  await announced([9], true)
  await announced([10, 11, 12, 13, 14, 15, 16, 17, 18], false)
  stage.link.close('leaving')
  await Promise.all([running, collected])

  const waits = arrivals.map((atMs, index) => atMs - (arrivals[index - 1] ?? 0))
  expect(waits.map((waitMs) => Math.round(waitMs / 100) * 100)).toEqual([0, 200, 500, 5000])
})

test('announcements ride along with a chunk', async () => {
  const stage = stageOf({ haveIntervalMs: 1000 })
  const collected = collect(stage)
  const running = stage.link.run(() => {})
  stage.link.announce([1])
  await stage.clock.settle()

  stage.link.announce([2])
  await stage.link.send(chunkMessage(1))
  stage.link.close('leaving')
  await Promise.all([running, collected])

  expect(stage.arrived.map(({ type }) => type)).toEqual(['have', 'have', 'chunk', 'goodbye'])
})

test('a remote that lets messages pile up loses the channel', async () => {
  const stage = stageOf({ maxQueued: 10 }, 1)
  const running = stage.link.run(() => {})

  for (let request = 0; request < 20; request++) stage.link.post({ type: 'cancel', request })

  await expect(running).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
  expect(stage.link.hasEnded).toBe(true)
})

test('a handler that throws ends the link with what it threw', async () => {
  const stage = stageOf()
  const running = stage.link.run(() => {
    throw new Error('not like this')
  })

  await stage.far.send([Uint8Array.of(12, 1)])

  await expect(running).rejects.toThrow('not like this')
  expect(stage.far.ended.aborted).toBe(true)
})

test('bytes that are no message end the link', async () => {
  const stage = stageOf()
  const running = stage.link.run(() => {})

  await stage.far.send([Uint8Array.of(99)])

  await expect(running).rejects.toMatchObject({ code: 'ERR_MALFORMED' })
})

test('what waits to be sent fails when the link ends', async () => {
  const stage = stageOf({}, 1)
  const running = stage.link.run(() => {})
  const sends = [stage.link.send(chunkMessage(1)), stage.link.send(chunkMessage(2))]

  stage.far.abort(new Error('gone'))

  const settled = await Promise.allSettled([...sends, running])
  expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  await expect(stage.link.send(chunkMessage(3))).rejects.toMatchObject({
    code: 'ERR_PEER_UNREACHABLE'
  })
})

test('knows since when a remote does not read', async () => {
  const stage = stageOf({}, 1)
  const running = stage.link.run(() => {})
  await stage.clock.advance(100)

  stage.link.post({ type: 'cancel', request: 1 })
  await stage.clock.advance(500)

  expect(stage.link.sendingSinceMs).toBe(100)
  stage.far.abort(new Error('enough'))
  await expect(running).rejects.toThrow('enough')
})
