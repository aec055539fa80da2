import { expect, test } from '@jest/globals'
import { noLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { IdleConnections, type WatchedConnection } from '../../src/peer/idle-connections.ts'
import type { Role } from '../../src/peer/types.ts'
import { testMember } from '../support/channel-pair.ts'
import { ManualClock } from '../support/manual-clock.ts'

interface Line {
  readonly peerId: string
  readonly direction: 'inbound' | 'outbound'
  readonly role?: Role
  streams?: number
}

/** Connections to some members, ten at most, watched for a while. */
class Scene {
  readonly clock = new ManualClock()
  readonly closed: string[] = []
  readonly lines: readonly Line[]
  readonly kept = new Set<string>()
  readonly #idle: IdleConnections

  constructor(lines: readonly Line[]) {
    this.lines = lines
    const connections = lines.map((line) => ({
      connection: this.#connection(line),
      member: testMember(line.peerId, { roles: new Set([line.role ?? 'deploy']) })
    }))
    this.#idle = new IdleConnections(
      {
        clock: this.clock,
        log: noLogger.forComponent('test'),
        connections: () => connections.filter(({ member }) => !this.closed.includes(member.peerId)),
        isKept: (peerId) => this.kept.has(peerId)
      },
      { maxConnections: 10, idleMs: 60_000, crowdedIdleMs: 15_000 }
    )
    this.#idle.start()
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms)
    await nextTurn()
  }

  #connection(line: Line): WatchedConnection {
    const { closed } = this
    return {
      direction: line.direction,
      get streams() {
        return Array.from<WatchedConnection['streams'][number]>({ length: line.streams ?? 0 })
      },
      close: async () => {
        closed.push(line.peerId)
      },
      abort: () => {}
    }
  }
}

test('a connection that this agent made and nobody uses goes, one that is used stays', async () => {
  const scene = new Scene([
    { peerId: 'idle', direction: 'outbound' },
    { peerId: 'used', direction: 'outbound', streams: 1 },
    { peerId: 'came', direction: 'inbound' }
  ])

  await scene.pass(50_000)
  expect(scene.closed).toEqual([])
  await scene.pass(30_000)

  expect(scene.closed).toEqual(['idle'])
})

test('use makes it young again', async () => {
  const line: Line = { peerId: 'idle', direction: 'outbound' }
  const scene = new Scene([line])
  await scene.pass(50_000)
  line.streams = 1
  await scene.pass(10_000)
  line.streams = 0

  await scene.pass(50_000)

  expect(scene.closed).toEqual([])
})

test('connections that everybody needs are kept', async () => {
  const scene = new Scene([
    { peerId: 'metadata', direction: 'outbound', role: 'metadata' },
    { peerId: 'manager', direction: 'outbound', role: 'versionManager' },
    { peerId: 'bootstrap', direction: 'outbound' }
  ])
  scene.kept.add('bootstrap')

  await scene.pass(600_000)

  expect(scene.closed).toEqual([])
})

test('when there is hardly room, those that have been idle longest make some', async () => {
  const young: Line = { peerId: 'young', direction: 'inbound', streams: 1 }
  const old = ['a', 'b'].map((peerId): Line => ({ peerId, direction: 'inbound' }))
  const busy = Array.from(
    { length: 6 },
    (_, n): Line => ({ peerId: `busy${n}`, direction: 'inbound', streams: 1 })
  )
  const scene = new Scene([...old, young, ...busy])
  await scene.pass(20_000)
  young.streams = 0

  await scene.pass(20_000)

  expect(scene.closed).toEqual(['a'])
})
