import { describe, expect, test } from '@jest/globals'
import { multiaddr } from '@multiformats/multiaddr'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { originOf } from '../../src/peer/addresses.ts'
import { Crowd } from '../../src/peer/crowd.ts'
import {
  HANDSHAKE_MS,
  InboundConnections,
  type InboundConnectionsOptions
} from '../../src/peer/inbound-connections.ts'
import { Refusals } from '../../src/peer/refusals.ts'
import { ManualClock } from '../support/manual-clock.ts'

/** Connections that come, each of which goes on with its handshake until it is told how that ends. */
class Stage {
  readonly clock = new ManualClock()
  readonly metrics = new MemoryMetrics()
  readonly log = new MemoryLogger()
  readonly inbound: InboundConnections

  constructor(options: InboundConnectionsOptions = {}) {
    const { clock, metrics } = this
    const refusals = new Refusals({ clock, metrics, log: this.log.forComponent('doors') })
    this.inbound = new InboundConnections({ clock, refusals }, options)
  }

  /** A connection that has begun with noise, or one that says nothing. */
  come(from: string, hasBegun = true) {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const connection = { remoteAddr: multiaddr(from), abort: reject }
    const admission = this.inbound.admit(connection, async () => {
      if (hasBegun) this.inbound.begin(connection)
      await promise
    })
    return { outcome: admission.then(() => 'in', String), done: resolve, fail: reject }
  }

  times(reason: string): number {
    return (
      this.metrics.values.get(`blobswarm_peer_connections_refused_total{reason=${reason}}`) ?? 0
    )
  }
}

const HERE = '/ip4/10.0.0.1/tcp/1'
const THERE = '/ip4/10.0.0.2/tcp/1'

describe('connections that are let in', () => {
  test('make room by the eldest of the address that most come from', async () => {
    const stage = new Stage({ maxBegun: 3 })
    const [first, second, third] = [stage.come(THERE), stage.come(HERE), stage.come(HERE)]

    const fourth = stage.come(HERE)

    expect(await second.outcome).toMatch(/others came/)
    expect(stage.inbound.pendingCount).toBe(3)
    for (const { done } of [first, third, fourth]) done()
    expect(await Promise.all([first.outcome, third.outcome, fourth.outcome])).toEqual([
      'in',
      'in',
      'in'
    ])
    expect([stage.times('crowded'), stage.inbound.pendingCount]).toEqual([1, 0])
  })

  test('that say nothing make room for each other, and never come in the way of a handshake', async () => {
    const stage = new Stage({ maxPending: 2 })
    const handshake = stage.come(HERE)
    const silent = Array.from({ length: 5 }, () => stage.come(HERE, false))

    const cut = await Promise.all(silent.slice(0, 3).map(async ({ outcome }) => outcome))
    handshake.done()

    expect(cut).toEqual(cut.map(() => expect.stringMatching(/others came/)))
    expect([await handshake.outcome, stage.inbound.pendingCount]).toEqual(['in', 2])
  })

  test('may be many at once from one address, and then so many a second', async () => {
    const stage = new Stage({ burst: 5, perSecond: 10 })
    const inTime = (): Promise<string>[] =>
      Array.from({ length: 20 }, () => {
        const { outcome, done } = stage.come(HERE)
        done()
        return outcome
      })

    const atOnce = await Promise.all(inTime())
    const elsewhere = stage.come(THERE)
    elsewhere.done()
    stage.clock.advance(300)
    const later = await Promise.all(inTime())

    expect(atOnce.filter((outcome) => outcome === 'in')).toHaveLength(5)
    expect(await elsewhere.outcome).toBe('in')
    expect(later.filter((outcome) => outcome === 'in')).toHaveLength(3)
    expect(stage.times('tooFast')).toBe(32)
  })

  test('are counted by why they fail', async () => {
    const stage = new Stage()
    const [broken, full, silent] = [stage.come(HERE), stage.come(HERE), stage.come(HERE)]

    broken.fail(new Error('not noise'))
    full.fail(Object.assign(new Error('denied'), { name: 'ConnectionDeniedError' }))
    await Promise.all([broken.outcome, full.outcome])
    stage.clock.advance(HANDSHAKE_MS)
    silent.fail(new Error('took too long'))
    await silent.outcome

    const reasons = ['broken', 'full', 'silent']
    expect(reasons.map((reason) => stage.times(reason))).toEqual([1, 1, 1])
  })

  test('are told of in the log once a minute and reason, with how many there were', async () => {
    const stage = new Stage({ burst: 1, perSecond: 0.001 })
    const refuse = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n++) await stage.come(HERE).outcome
    }
    stage.come(HERE).done()

    await refuse(100)
    stage.clock.advance(60_000)
    await refuse(1)

    expect(stage.log.lines.map(({ values }) => values)).toEqual([
      [1, 'connections', 'tooFast', '10.0.0.1'],
      [100, 'connections', 'tooFast', '10.0.0.1']
    ])
  })
})

test('a crowd parts with the eldest of the largest group, and forgets who has gone', () => {
  const crowd = new Crowd<string>()
  for (const item of ['a1', 'b1', 'b2', 'b3', 'a2']) crowd.add(item.charAt(0), item)
  crowd.delete('b', 'b1')
  crowd.delete('c', 'c1')

  expect([crowd.size, crowd.eldestOfMost]).toEqual([4, 'a1'])
  crowd.add('b', 'b4')
  expect(crowd.eldestOfMost).toBe('b2')
})

test.each([
  ['/ip4/192.0.2.7/tcp/4001', '192.0.2.7'],
  ['/ip6/2001:db8:1:2:3:4:5:6/tcp/4001', '2001:db8:1:2'],
  ['/ip6/2001:db8::6/tcp/4001', '2001:db8:0:0'],
  ['/ip6/::1/tcp/4001', '0:0:0:0'],
  ['/dns4/host/tcp/4001', '']
])('the origin of %s is %s', (address, origin) => {
  expect(originOf(multiaddr(address))).toBe(origin)
})
