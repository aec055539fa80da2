import { afterEach, expect, test } from '@jest/globals'
import { Bitfield } from '../../../src/chunks/bitfield.ts'
import { MemoryStore } from '../../../src/chunks/memory-store.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import {
  ANY_COPIES,
  type RequestClass,
  SWARM_PROTOCOL,
  type SwarmMessage
} from '../../../src/peer/protocols/swarm.ts'
import { decodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'
import { ChunkTable } from '../../../src/peer/swarm/chunk-table.ts'
import { SwarmLink } from '../../../src/peer/swarm/link.ts'
import { Spread } from '../../../src/peer/swarm/spread.ts'
import { UploadSlot } from '../../../src/peer/swarm/upload-slot.ts'
import {
  type UploadRequest,
  Uploads,
  type UploadsOptions
} from '../../../src/peer/swarm/uploads.ts'
import { channelPair, testMember } from '../../support/channel-pair.ts'
import { imageOf } from '../../support/simulated-agent.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const CHUNK_BYTES = 64
const stops: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

interface Stage {
  readonly slot: UploadSlot
  readonly store: MemoryStore
  readonly spread: Spread
  readonly clock: VirtualClock
  readonly lost: number[]
  /** Messages that the neighbour got, a chunk as `chunk 3+64` with its offset. */
  readonly answers: string[]
}

/** An agent that holds `abcdefgh`, and a neighbour that reads what it is sent. */
async function stageOf(options: UploadsOptions = {}): Promise<Stage> {
  const clock = new VirtualClock()
  const image = imageOf('abcdefgh', CHUNK_BYTES)
  const table = await ChunkTable.build(image.manifest)
  const spread = new Spread(table.count, seededRandom(1))
  const store = new MemoryStore()
  await store.start()
  for (const [index, bytes] of image.chunks.entries()) {
    await store.put(image.manifest.chunkId(index), bytes)
    spread.hold(index)
  }
  const [near, far] = channelPair(testMember('me'), testMember('peer'), SWARM_PROTOCOL)
  const incoming = near.messages()[Symbol.asyncIterator]()
  const link = new SwarmLink({ channel: near, incoming }, clock)
  const [lost, answers]: [number[], string[]] = [[], []]
  const uploads = new Uploads({ store, clock, logger: noLogger }, options)
  const host = { table, spread, isHeld: () => true, lost: (c: number) => lost.push(c), sent() {} }
  const slot = new UploadSlot(uploads, host, link, () => false)
  const running = Promise.allSettled([link.run(() => {}), collect(far.messages(), answers)])
  stops.push(async () => {
    far.abort(new Error('the test is over'))
    await running
    await slot.stopped()
  })
  return { slot, store, spread, clock, lost, answers }
}

async function collect(messages: AsyncIterable<Uint8Array>, answers: string[]): Promise<void> {
  for await (const bytes of messages) answers.push(describe(decodeSwarmMessage(bytes)))
}

function describe(message: SwarmMessage): string {
  if (message.type === 'chunk') return `chunk ${message.index}+${message.offset}`
  if (message.type === 'reject') return `${message.request} ${message.reason}`
  return message.type
}

const ask = (index: number, requestClass: RequestClass = 'rest'): UploadRequest => ({
  type: 'request',
  request: 100 + index,
  requestClass,
  maxCopies: ANY_COPIES,
  index
})

test('serves the most urgent class first, in order of arrival inside a class', async () => {
  const { slot, answers, clock } = await stageOf({ bytesPerSecond: 640 })
  slot.ask(ask(0))
  for (const [index, requestClass] of [
    [1, 'rest'],
    [2, 'profile'],
    [3, 'demand'],
    [4, 'readAhead'],
    [5, 'demand']
  ] as const) {
    slot.ask(ask(index, requestClass))
  }

  await clock.advance(2000)

  expect(answers).toEqual([
    'chunk 0+0',
    'chunk 3+0',
    'chunk 5+0',
    'chunk 4+0',
    'chunk 2+0',
    'chunk 1+0'
  ])
})

test('sends a chunk in parts', async () => {
  const { slot, answers, clock } = await stageOf({ partBytes: 30 })

  slot.ask(ask(7))
  await clock.settle()

  expect(answers).toEqual(['chunk 7+0', 'chunk 7+30', 'chunk 7+60'])
  expect(slot.sentBytes).toBe(CHUNK_BYTES)
})

test('answers a cancelled request with a reject, and the chunk counts as not spread', async () => {
  const { slot, spread, answers, clock } = await stageOf({ bytesPerSecond: 64 })
  spread.join('peer', new Bitfield(8))
  slot.ask(ask(0))
  slot.ask(ask(1))
  slot.ask(ask(2))

  slot.cancel(102)
  await clock.settle()

  expect(answers).toContain('102 cancelled')
  expect(spread.copiesBeside('other', 2)).toBe(0)
  expect(spread.copiesBeside('other', 1)).toBe(1)
})

test('says that a chunk has spread when the asker wants fresh ones only', async () => {
  const { slot, spread, answers, clock } = await stageOf()
  const other = new Bitfield(8)
  for (let chunk = 0; chunk < 7; chunk++) other.set(chunk)
  spread.join('other', other)
  spread.join('peer', new Bitfield(8))

  slot.ask({ ...ask(0), maxCopies: 0 })
  slot.ask({ type: 'any', request: 1, requestClass: 'rest', maxCopies: 0 })
  slot.ask({ type: 'any', request: 2, requestClass: 'rest', maxCopies: 0 })
  await clock.settle()

  expect(answers.toSorted((left, right) => left.localeCompare(right))).toEqual([
    '100 spread',
    '2 spread',
    'chunk 7+0'
  ])
})

test('a chunk that is gone from the store is answered and reported', async () => {
  const { slot, store, lost, answers, clock } = await stageOf()
  const { manifest } = imageOf('abcdefgh', CHUNK_BYTES)
  await store.delete(manifest.chunkId(3))

  slot.ask(ask(3))
  slot.ask(ask(4))
  await clock.settle()

  expect(answers.toSorted((left, right) => left.localeCompare(right))).toEqual([
    '103 notHeld',
    'chunk 4+0'
  ])
  expect(lost).toEqual([3])
})

test('refuses to let requests pile up', async () => {
  const { slot } = await stageOf({ maxPending: 3, bytesPerSecond: 1 })
  for (const index of [0, 1, 2]) slot.ask(ask(index))

  expect(() => slot.ask(ask(3))).toThrow(
    expect.objectContaining({ code: 'ERR_PROTOCOL_VIOLATION' })
  )
})
