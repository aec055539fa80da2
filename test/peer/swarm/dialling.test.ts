import { expect, test } from '@jest/globals'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { nextTurn } from '../../../src/lib/turn.ts'
import { Bans } from '../../../src/peer/bans.ts'
import type { ExchangedPeer } from '../../../src/peer/protocols/swarm.ts'
import { Dialling, type DiallingHost } from '../../../src/peer/swarm/dialling.ts'
import type { ImageDirectory } from '../../../src/peer/types.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'

const ROOT = new Uint8Array(32)

/** An agent in rack 1 that meets whomever it dials. */
class Scene implements DiallingHost {
  readonly root = ROOT
  readonly zone = 'rack 1'
  readonly clock = new ManualClock()
  readonly met = new Set<string>()
  /** Everybody who was ever met. */
  readonly visited: string[] = []
  /** When the directory was asked. */
  readonly askedMs: number[] = []
  readonly bans = new Bans()
  readonly dialling: Dialling
  /** How long it takes to meet somebody. */
  connectMs = 0
  readonly #network = new MemoryNetwork()

  constructor() {
    const directory: ImageDirectory = {
      announce: () => {},
      withdraw: () => {},
      find: () => {
        this.askedMs.push(this.clock.monotonic())
        return nobody()
      }
    }
    this.dialling = new Dialling({
      host: this,
      node: this.#network.node('self'),
      directory,
      clock: this.clock,
      random: seededRandom(1),
      bans: this.bans,
      log: noLogger.forComponent('test')
    })
  }

  /** How many of those met are in a rack. */
  metIn(rack: number): number {
    return Array.from(this.met).filter((peer) => rackOf(peer) === `rack ${rack}`).length
  }

  async tick(): Promise<void> {
    this.dialling.tick()
    await nextTurn()
  }

  /** Until as many are neighbours as are looked for. */
  async tickForSeconds(seconds: number): Promise<void> {
    for (let ticks = 0; ticks < seconds * 4; ticks++) {
      await this.tick()
      this.clock.advance(250)
    }
  }

  isNeighbour(peerId: string): boolean {
    return this.met.has(peerId)
  }

  /** Connects to agents, which are not met thereby. */
  connectTo(agents: readonly ExchangedPeer[]): void {
    for (const { peerId } of agents) this.#network.node(peerId)
  }

  async visit(peerId: string): Promise<void> {
    if (this.connectMs > 0) await this.clock.sleep(this.connectMs)
    this.met.add(peerId)
    this.visited.push(peerId)
    this.dialling.joined(peerId, rackOf(peerId))
  }

  /** Whatever a source has is here as soon as it is asked. */
  dismissUseless(): void {
    const useless = Array.from(this.met).find((peer) => peer.startsWith('source'))
    if (useless === undefined) return
    this.met.delete(useless)
    this.dialling.left(useless, 30_000)
  }
}

async function* nobody(): AsyncGenerator<string> {
  yield* []
}

/** `2:5` is agent 5 in rack 2. */
function rackOf(peer: string): string {
  return `rack ${peer.split(':')[0]}`
}

function agentsOf(rack: number, count: number): ExchangedPeer[] {
  return Array.from({ length: count }, (_, n) => {
    return { peerId: `${rack}:${n}`, addresses: [], zone: `rack ${rack}` }
  })
}

test('meets the first three at once and the others one after the other', async () => {
  const scene = new Scene()
  scene.dialling.exchanged(agentsOf(2, 40))

  const counts: number[] = []
  for (let ticks = 0; ticks < 12; ticks++) {
    await scene.tick()
    counts.push(scene.met.size)
    scene.clock.advance(250)
  }

  expect(counts).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12, 12])
})

test('leaves hosts more time that are slow to connect', async () => {
  const scene = new Scene()
  scene.connectMs = 500
  scene.dialling.exchanged(agentsOf(2, 40))

  await scene.tickForSeconds(2.5)

  expect(scene.met.size).toBe(5)
})

test('meets those at once that it is connected to', async () => {
  const scene = new Scene()
  scene.connectTo(agentsOf(1, 20))
  scene.dialling.exchanged(agentsOf(1, 40))

  await scene.tick()

  expect(scene.met.size).toBe(12)
})

test('half of the neighbours are of the same zone, the others of any', async () => {
  const scene = new Scene()
  scene.dialling.exchanged([...agentsOf(2, 40), ...agentsOf(3, 40), ...agentsOf(1, 40)])

  await scene.tickForSeconds(5)

  expect(scene.met.size).toBe(12)
  expect(scene.metIn(1)).toBeGreaterThanOrEqual(6)
  expect(scene.metIn(2) + scene.metIn(3)).toBeGreaterThan(0)
})

test('takes others when nobody of the zone is known, and more when somebody is', async () => {
  const scene = new Scene()
  scene.dialling.exchanged(agentsOf(2, 40))
  await scene.tickForSeconds(5)
  const before = [scene.metIn(1), scene.metIn(2)]

  scene.dialling.exchanged(agentsOf(1, 40))
  await scene.tickForSeconds(5)

  expect(before).toEqual([0, 12])
  expect([scene.metIn(1), scene.metIn(2)]).toEqual([6, 12])
})

test('learns zones from those it meets', async () => {
  const scene = new Scene()
  scene.dialling.add(
    agentsOf(1, 30).map(({ peerId }) => peerId),
    'directory'
  )

  await scene.tickForSeconds(5)

  expect(scene.met.size).toBe(12)
})

test('meets eight sources at a time, and all of many in turn', async () => {
  const scene = new Scene()
  const sources = Array.from({ length: 40 }, (_, n) => `source:${n}`)
  scene.dialling.add(sources, 'source')

  const counts: number[] = []
  for (let ticks = 0; ticks < 40; ticks++) {
    await scene.tick()
    counts.push(scene.met.size)
  }

  expect(Math.min(...counts)).toBeGreaterThanOrEqual(7)
  expect(Math.max(...counts)).toBeLessThanOrEqual(8)
  expect(new Set(scene.visited)).toEqual(new Set(sources))
})

test('asks the directory at once, and ever more rarely while it finds nobody', async () => {
  const scene = new Scene()

  for (let ms = 0; ms <= 8000; ms += 250) {
    await scene.tick()
    scene.clock.advance(250)
  }

  expect(scene.askedMs).toEqual([0, 500, 1500, 3500, 7500])
})

test('one that was of no use is dialled when its ban is over, or nobody else is of use', async () => {
  const scene = new Scene()
  for (const peer of ['source waits', 'source is pardoned']) scene.bans.suspend(peer, 30_000)
  scene.bans.add('source lied', 600_000)
  scene.dialling.add(['source waits', 'source lied'], 'source')
  await scene.tick()
  scene.clock.advance(30_000)
  await scene.tick()
  expect(scene.visited).toEqual(['source waits'])

  scene.dialling.add(['source is pardoned'], 'source')
  scene.bans.suspend('source is pardoned', 90_000)
  await scene.tick()
  scene.dialling.hurry()
  await scene.tick()

  expect(scene.visited).toEqual(['source waits', 'source is pardoned'])
})
