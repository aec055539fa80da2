import { describe, expect, test } from '@jest/globals'
import type { Connection } from '@libp2p/interface'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { Authority } from '../../src/peer/authority.ts'
import { Membership } from '../../src/peer/membership.ts'
import { MembershipGate } from '../../src/peer/membership-gate.ts'
import { MembershipWatch } from '../../src/peer/membership-watch.ts'
import { ManualClock } from '../support/manual-clock.ts'

const HOUR_MS = 3_600_000
const GRANT = { roles: ['deploy' as const], rights: ['read' as const] }

async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** A member that watches one connection; what the greeter is asked to do is noted. */
async function stage({ hasNewer = false } = {}) {
  const clock = new ManualClock()
  const authority = new Authority(new Uint8Array(32).fill(1), clock, { certificateMs: HOUR_MS })
  const { clusterId } = authority
  const membership = new Membership('me', clock)
  membership.enter({ clusterId, certificate: authority.issue('me', GRANT) })
  const gate = new MembershipGate(clock, {
    objectionTo: (member) => membership.objectionTo(member)
  })
  const connection = { id: '1', status: 'open', remotePeer: 'other' } as unknown as Connection
  const show = (): void => {
    const certificate = authority.issue('other', GRANT)
    gate.admit(connection, membership.admit('other', { clusterId, certificate }).member)
  }
  gate.opened(connection)
  show()
  const done: string[] = []
  const note = (what: string) => async (): Promise<void> => void done.push(what)
  const [logger, metrics] = [new MemoryLogger(), new MemoryMetrics()]
  const watch = new MembershipWatch({
    membership,
    gate,
    greeter: {
      greet: async () => {
        done.push('greet')
        if (!hasNewer) throw new Error('silent')
        show()
        return gate.memberOf(connection)
      },
      meetAgain: note('meet again'),
      part: note('part'),
      dismiss: (dropped, error) => {
        done.push('dismiss')
        gate.refuse(dropped, error)
      },
      spread: note('spread')
    },
    abortChannels: (peerId) => void done.push(`abort ${peerId}`),
    clock,
    log: logger.forComponent('watch'),
    metrics
  })
  watch.start()
  const pass = async (ms: number): Promise<string[]> => {
    for (let left = ms; left > 0; left -= 20_000) {
      clock.advance(Math.min(left, 20_000))
      await settle()
    }
    return done.splice(0).filter((what) => what !== 'spread')
  }
  return { authority, membership, gate, watch, done, pass, logger, metrics, clock }
}

describe('the watch over members', () => {
  test('leaves alone whose certificate holds', async () => {
    const { pass, watch } = await stage()

    expect(await pass(HOUR_MS - 60_000)).toEqual([])

    await watch.stop()
  })

  test('drops whose certificate has expired, within the interval', async () => {
    const { pass, watch, metrics, membership, authority } = await stage()
    await pass(HOUR_MS - 60_000)
    membership.enter({
      clusterId: authority.clusterId,
      certificate: authority.issue('me', GRANT)
    })

    const before = await pass(40_000)
    const after = await pass(40_000)

    expect(before).not.toContain('dismiss')
    expect(after).toContain('dismiss')
    expect(after).toContain('abort other')
    expect(metrics.values.get('blobswarm_peer_members_dropped_total{reason=expired}')).toBe(1)
    await watch.stop()
  })

  test('asks for a newer certificate before, and keeps who has one', async () => {
    const { pass, watch, gate } = await stage({ hasNewer: true })

    const done = await pass(2 * HOUR_MS)

    expect(done).toContain('greet')
    expect(done).not.toContain('dismiss')
    expect(gate.members()).toHaveLength(1)
    await watch.stop()
  })

  test('drops who is revoked at once, with all that it has open', async () => {
    const { authority, membership, done, watch } = await stage()
    const revoked = [{ peerId: 'other', atMs: 5, untilMs: HOUR_MS, reason: 'stolen' }]

    membership.offerRevocations(authority.signRevocations(1, revoked))

    expect(done.slice(0, 2)).toEqual(['abort other', 'part'])
    await watch.stop()
  })

  test('says so loudly when this agent itself was revoked', async () => {
    const { authority, membership, logger, watch } = await stage()
    const revoked = [{ peerId: 'me', atMs: 5, untilMs: HOUR_MS, reason: 'stolen' }]

    membership.offerRevocations(authority.signRevocations(1, revoked))

    expect(logger.lines.map(({ level }) => level)).toEqual(['error'])
    await watch.stop()
  })

  test('looks at nothing once it was stopped', async () => {
    const { watch, pass } = await stage()

    await watch.stop()

    expect(await pass(2 * HOUR_MS)).toEqual([])
  })
})
