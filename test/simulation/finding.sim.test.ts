import { expect, test } from '@jest/globals'
import { noLogger } from '../../src/lib/logger.ts'
import { type Random, seededRandom } from '../../src/lib/random.ts'
import { KadImageDirectory } from '../../src/peer/discovery.ts'
import { testMember } from '../support/channel-pair.ts'
import { MemoryDht } from '../support/memory-dht.ts'
import { peerIds } from '../support/peer-ids.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const ROOT = new Uint8Array(32).fill(7)
const MINUTE_MS = 60_000
const NEIGHBOURS = 12
const MAX_NEIGHBOURS = 20

/** Agents that announce one image at one server of the DHT, and nothing else. */
class Announcers {
  readonly clock = new VirtualClock()
  readonly random: Random
  readonly dht: MemoryDht
  readonly peers: readonly string[]
  readonly directories: readonly KadImageDirectory[]

  constructor(count: number, seed: number) {
    this.random = seededRandom(seed)
    const { clock, random } = this
    this.dht = new MemoryDht(this)
    const server = testMember(this.dht.peerId, { roles: new Set(['metadata']) })
    this.peers = peerIds(count)
    this.directories = this.peers.map((peerId) => {
      const node = { peerId, members: () => [server], onMembersChanged: () => () => {} }
      const dht = this.dht.client(peerId)
      return new KadImageDirectory({ node, dht, clock, random, logger: noLogger })
    })
  }

  /** Everybody begins within two seconds. */
  async announceAll(): Promise<void> {
    for (const directory of this.directories) {
      this.clock.schedule(() => directory.announce(ROOT), this.random() * 2000)
    }
    await this.clock.advance(2000)
  }

  async find(at: number): Promise<string[]> {
    return await Array.fromAsync(this.directories[at]?.find(ROOT) ?? [])
  }

  async findAll(): Promise<string[][]> {
    const all: string[][] = []
    for (const at of this.peers.keys()) all.push(await this.find(at))
    return all
  }
}

/** Sizes of the parts that hang together when each dials some of those it found, as far as they have room. */
function partSizes(peers: readonly string[], found: readonly string[][], random: Random): number[] {
  const links = new Map<string, Set<string>>(peers.map((peer) => [peer, new Set()]))
  for (const [at, candidates] of found.entries()) {
    const own = links.get(peers[at] ?? '')
    for (const other of candidates.toSorted(() => random() - 0.5)) {
      const theirs = links.get(other)
      if (own === undefined || own.size >= NEIGHBOURS) break
      if (theirs === undefined || theirs.size >= MAX_NEIGHBOURS) continue
      own.add(other)
      theirs.add(peers[at] ?? '')
    }
  }
  const sizes: number[] = []
  while (links.size > 0) {
    const next = links.keys().take(1).toArray()
    let size = 0
    for (const peer of next) {
      const neighbours = links.get(peer)
      if (neighbours === undefined) continue
      links.delete(peer)
      size += 1
      next.push(...neighbours)
    }
    sizes.push(size)
  }
  return sizes
}

// 10,000 take half a minute: SIM_AGENTS=10000.
const { SIM_AGENTS = '1000' } = process.env
for (const count of [10, Number(SIM_AGENTS)]) {
  test(`of ${count} agents each finds enough others, at once and later, and all hang together`, async () => {
    const announcers = new Announcers(count, 1)
    const { clock, dht, peers, random } = announcers
    await announcers.announceAll()
    const wanted = Math.min(count - 1, NEIGHBOURS)

    for (const laterMs of [0, 20 * MINUTE_MS]) {
      await clock.advance(laterMs)
      const askedBefore = dht.asked
      const found = await announcers.findAll()

      const counts = found.map(({ length }) => length)
      expect(Math.min(...counts)).toBeGreaterThanOrEqual(wanted)
      expect(Math.max(...counts)).toBeLessThanOrEqual(100)
      expect(dht.asked - askedBefore).toBeLessThanOrEqual(3 * count)
      expect(partSizes(peers, found, random)).toEqual([count])
    }
  }, 600_000)
}

test('nobody is named much more often than others, however many there are', async () => {
  const announcers = new Announcers(500, 5)
  await announcers.announceAll()
  await announcers.clock.advance(30 * MINUTE_MS)

  const found = await announcers.findAll()

  const named = new Map<string, number>()
  for (const peer of found.flat()) named.set(peer, (named.get(peer) ?? 0) + 1)
  const mean = found.flat().length / announcers.peers.length
  expect(named.size).toBe(announcers.peers.length)
  expect(Math.max(...named.values())).toBeLessThan(8 * mean)
})

test('an agent that is gone is not found for longer than servers keep its announcement', async () => {
  const announcers = new Announcers(3, 6)
  const [gone, other] = announcers.directories
  await announcers.announceAll()

  other?.withdraw(ROOT)
  await announcers.clock.settle()
  const soon = await announcers.find(2)
  announcers.dht.records.put = async (key) => key // nobody reaches the server any more
  await gone?.stop()
  await announcers.clock.advance(16 * MINUTE_MS)
  const late = await announcers.find(2)

  expect(soon).toEqual([announcers.peers[0]])
  expect(late).toEqual([])
})
