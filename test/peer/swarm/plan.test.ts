import { expect, test } from '@jest/globals'
import { Bitfield } from '../../../src/chunks/bitfield.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { SWARM_PROTOCOL } from '../../../src/peer/protocols/swarm.ts'
import { ChunkTable } from '../../../src/peer/swarm/chunk-table.ts'
import { SwarmLink } from '../../../src/peer/swarm/link.ts'
import { Neighbour } from '../../../src/peer/swarm/neighbour.ts'
import { DownloadPlan, type DownloadPlanOptions } from '../../../src/peer/swarm/plan.ts'
import type { PendingRequest } from '../../../src/peer/swarm/requests.ts'
import { channelPair, testMember } from '../../support/channel-pair.ts'
import { imageOf } from '../../support/simulated-agent.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const CHUNK_BYTES = 64
const letters = 'abcdefghijklmnopqrstuvwxyz'

class Stage {
  readonly plan: DownloadPlan
  readonly table: ChunkTable
  readonly stored = new Set<number>()

  constructor(table: ChunkTable, options: DownloadPlanOptions) {
    this.table = table
    const isStored = (chunk: number): boolean => this.stored.has(chunk)
    const plan = { sharedCreditChunks: 0, ...options }
    this.plan = new DownloadPlan({ table, random: seededRandom(3), isStored }, plan)
    for (const chunk of table.distinct()) this.plan.want(chunk)
    this.plan.begin(0)
  }

  static async of(chunkCount: number, options: DownloadPlanOptions = {}): Promise<Stage> {
    const { manifest } = imageOf(letters.slice(0, chunkCount), CHUNK_BYTES)
    return new Stage(await ChunkTable.build(manifest), options)
  }

  /** Adds a neighbour that holds some chunks; by default a source of everything. */
  neighbour(peerId: string, holds?: readonly number[], creditChunks = 3): Neighbour {
    const bitfield = new Bitfield(this.table.count)
    for (const chunk of holds ?? []) bitfield.set(chunk)
    const [channel] = channelPair(testMember('me'), testMember(peerId), SWARM_PROTOCOL)
    const incoming = channel.messages()[Symbol.asyncIterator]()
    const link = new SwarmLink({ channel, incoming }, new VirtualClock())
    const handshake = {
      type: 'handshake' as const,
      root: this.table.manifest.root,
      wants: holds !== undefined,
      holdsAll: holds === undefined,
      pagesOnly: false,
      chunkCount: this.table.count,
      addresses: [],
      bitfield: holds === undefined ? undefined : bitfield.encode()
    }
    const options = { creditBytes: creditChunks * CHUNK_BYTES }
    const neighbour = new Neighbour({ link, opener: 'me', handshake }, this.table, options)
    this.plan.joined(neighbour)
    return neighbour
  }

  /** Everything that a neighbour is asked for now. */
  ask(neighbour: Neighbour, nowMs = 0): PendingRequest[] {
    const asked: PendingRequest[] = []
    for (;;) {
      const planned = this.plan.next(neighbour, nowMs)
      if (planned === undefined) return asked
      asked.push(planned.request)
    }
  }

  answer(neighbour: Neighbour, request: PendingRequest, nowMs = 0): PendingRequest[] {
    const needless = this.plan.arrived(neighbour, request, nowMs)
    const { chunk = -1 } = request
    this.stored.add(chunk)
    this.plan.stored(chunk)
    return needless
  }
}

test('asks a neighbour for no more than its credit', async () => {
  const stage = await Stage.of(10)
  const neighbour = stage.neighbour('a', [0, 1, 2, 3, 4, 5])

  const first = stage.ask(neighbour)
  stage.answer(neighbour, first[0] as PendingRequest)

  expect(first).toHaveLength(3)
  expect(stage.ask(neighbour)).toHaveLength(1)
})

test('neighbours share what is asked for before rates are known, a chunk each at least', async () => {
  const stage = await Stage.of(20, { sharedCreditChunks: 6 })
  const chunks = Array.from({ length: 20 }, (_, chunk) => chunk)
  const counts: number[] = []

  for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) {
    counts.push(stage.ask(stage.neighbour(name, chunks, 0)).length)
  }

  expect(counts).toEqual([6, 3, 2, 1, 1, 1, 1])
})

test('asks a neighbour for more when the rest of its chunk will soon have come', async () => {
  const stage = await Stage.of(10)
  const neighbour = stage.neighbour('a', [0, 1, 2, 3, 4, 5], 1)
  for (let ms = 0; ms < 10_000; ms += 100) neighbour.scorecard.received(CHUNK_BYTES / 4, ms)
  stage.ask(neighbour, 10_000)

  stage.plan.ledger.touch('a', 10_100, CHUNK_BYTES / 2)
  const early = stage.ask(neighbour, 10_100)
  stage.plan.ledger.touch('a', 10_200, CHUNK_BYTES / 4 + 4)
  const inTime = stage.ask(neighbour, 10_200)

  expect(early).toEqual([])
  expect(inTime).toHaveLength(1)
})

test('after a demand, the others leave the way down nearly free for a while', async () => {
  const stage = await Stage.of(10, { leastBackgroundBytes: CHUNK_BYTES })
  const neighbours = ['a', 'b', 'c'].map((name) => stage.neighbour(name, [0, 1, 2, 3, 4, 5], 1))
  stage.plan.picker.prioritise([0], 'demand')
  const [demanded] = neighbours.flatMap((neighbour) => stage.ask(neighbour))

  stage.answer(neighbours[0] as Neighbour, demanded as PendingRequest, 20)
  const soon = neighbours.flatMap((neighbour) => stage.ask(neighbour, 30))
  const later = neighbours.flatMap((neighbour) => stage.ask(neighbour, 2031))

  expect(soon).toHaveLength(1)
  expect(later).toHaveLength(2)
})

test('lets the only source choose, and asks nobody for the same chunk twice', async () => {
  const stage = await Stage.of(4)
  const source = stage.neighbour('source')
  const peer = stage.neighbour('peer', [2])

  const fromPeer = stage.ask(peer)
  const fromSource = stage.ask(source)

  expect(fromPeer.map(({ chunk }) => chunk)).toEqual([2])
  expect(fromSource.map(({ chunk }) => chunk)).toEqual([undefined, undefined, undefined])
})

test('asks several sources by index, each for something else', async () => {
  const stage = await Stage.of(6)
  const sources = [stage.neighbour('s1'), stage.neighbour('s2')]

  const asked = sources.flatMap((source) => stage.ask(source)).map(({ chunk }) => chunk)

  expect(new Set(asked)).toEqual(new Set([0, 1, 2, 3, 4, 5]))
})

test('asks a source for what has spread when nobody else has been there for a second', async () => {
  const stage = await Stage.of(2)
  const source = stage.neighbour('source')
  for (const request of stage.ask(source)) stage.plan.rejected(request, 'spread', 500)

  expect(stage.ask(source, 900)).toEqual([])
  expect(stage.ask(source, 1001).map(({ chunk }) => chunk)).toHaveLength(2)
})

test('does not ask a source for what others hold until patience is over', async () => {
  const stage = await Stage.of(3, { patienceMs: 500, secondCopyBytes: 2 * CHUNK_BYTES })
  const source = stage.neighbour('source')
  stage.neighbour('peer', [0, 1, 2], 1)

  stage.plan.tick(400, 0)
  const early = stage.ask(source, 400)
  stage.plan.tick(501, 0)
  const late = stage.ask(source, 501)

  expect(early).toEqual([])
  expect(late).toHaveLength(2)
})

test('believes a source for a while that its chunks are on their way to others', async () => {
  const stage = await Stage.of(5)
  const source = stage.neighbour('source')
  const [request] = stage.ask(source)

  stage.plan.rejected(request as PendingRequest, 'spread', 0)

  expect(stage.ask(source, 999)).toEqual([])
  expect(stage.ask(source, 1000)).toHaveLength(1)
})

test('asks for a chunk elsewhere that a neighbour did not have', async () => {
  const stage = await Stage.of(2)
  const [a, b] = [stage.neighbour('a', [0]), stage.neighbour('b', [0])]
  const [request] = stage.ask(a)
  expect(stage.ask(b)).toEqual([])

  stage.plan.rejected(request as PendingRequest, 'notHeld', 0)
  if (a.lacks(0)) stage.plan.lost(a, 0)

  expect(stage.ask(a)).toEqual([])
  expect(stage.ask(b)).toMatchObject([{ chunk: 0 }])
})

test('gives the chunks of a neighbour that went to others', async () => {
  const stage = await Stage.of(3)
  const gone = stage.neighbour('gone', [0, 1, 2])
  const peer = stage.neighbour('peer', [0, 1, 2])
  stage.ask(gone)
  expect(stage.ask(peer)).toEqual([])

  stage.plan.left(gone, 0)

  expect(stage.ask(peer)).toHaveLength(3)
})

test('asks for the last chunks twice, and says which request is needless then', async () => {
  const stage = await Stage.of(2, { endgameDelayMs: 250 })
  const [slow, fast] = [stage.neighbour('slow', [0, 1]), stage.neighbour('fast', [0, 1])]
  const first = stage.ask(slow, 0)
  expect(stage.ask(fast, 200)).toEqual([])

  const doubled = stage.ask(fast, 251)
  const needless = stage.answer(fast, doubled[0] as PendingRequest, 300)

  expect(doubled.map(({ chunk }) => chunk)).toEqual(first.map(({ chunk }) => chunk))
  expect(needless.map(({ peer }) => peer)).toEqual(['slow'])
})

test('asks for nothing else while a demanded chunk is under way, and doubles it when it is late', async () => {
  const stage = await Stage.of(5, { demandMs: 100 })
  const [a, b] = [stage.neighbour('a', [0, 1, 2]), stage.neighbour('b', [0, 1, 2])]
  stage.plan.picker.prioritise([1], 'demand')

  expect(stage.ask(a, 0)).toMatchObject([{ chunk: 1, requestClass: 'demand' }])
  expect(stage.ask(b, 50)).toEqual([])
  expect(stage.ask(b, 101)).toMatchObject([{ chunk: 1 }])
})

test('keeps what is asked for and not stored under its limit', async () => {
  const stage = await Stage.of(10, { maxInFlightBytes: 4 * CHUNK_BYTES })
  const neighbours = ['a', 'b', 'c'].map((peer) => stage.neighbour(peer, [0, 1, 2, 3, 4, 5, 6]))

  const asked = neighbours.flatMap((neighbour) => stage.ask(neighbour))
  const [first] = asked
  stage.plan.arrived(neighbours[0] as Neighbour, first as PendingRequest, 0)

  expect(asked).toHaveLength(4)
  expect(stage.ask(neighbours[0] as Neighbour)).toEqual([])
})

test('nobody can stand in for the only one that holds a chunk, whatever those claim that fail or gave nothing', async () => {
  const stage = await Stage.of(4)
  const source = stage.neighbour('source')
  const [first] = stage.ask(source)
  stage.answer(source, first as PendingRequest)
  source.scorecard.received(CHUNK_BYTES, 0)
  const failing = stage.neighbour('failing')
  failing.scorecard.received(CHUNK_BYTES, 0)
  failing.scorecard.failed()
  stage.neighbour('claims all')

  expect(stage.plan.isReplaceable(source)).toBe(false)
  expect(stage.plan.isReplaceable(failing)).toBe(true)
  failing.scorecard.received(CHUNK_BYTES, 0)
  expect(stage.plan.isReplaceable(source)).toBe(true)
})

test('one that is borne with is asked for a chunk at a time', async () => {
  const stage = await Stage.of(8)
  const slow = stage.neighbour('slow')

  stage.plan.ledger.bearWith('slow', 0)

  expect(stage.ask(slow)).toHaveLength(1)
})

test('takes back no more than is to be taken', async () => {
  const stage = await Stage.of(8)
  const asked = stage.ask(stage.neighbour('a'))

  const taken = stage.plan.giveUp('a', 0, ({ id }) => id !== asked[0]?.id)

  expect(taken).toEqual(asked.slice(1))
  expect(stage.plan.ledger.pendingOf('a')).toEqual(asked.slice(0, 1))
})

test('asks a neighbour for what somebody waits for at once, however much it still has to send', async () => {
  const stage = await Stage.of(26, { sharedCreditChunks: 16 })
  const source = stage.neighbour('source')
  expect(stage.ask(source)).toHaveLength(16)

  stage.plan.picker.prioritise([20, 21], 'demand')
  const asked = stage.ask(source)

  expect(asked.map(({ chunk, requestClass }) => [chunk, requestClass])).toEqual([
    [20, 'demand'],
    [21, 'demand']
  ])
})

test('asks a neighbour for no more than eight chunks at a time that somebody waits for', async () => {
  const stage = await Stage.of(26)
  const source = stage.neighbour('source')
  stage.plan.picker.prioritise(stage.table.distinct(), 'demand')

  expect(stage.ask(source)).toHaveLength(8)
})
