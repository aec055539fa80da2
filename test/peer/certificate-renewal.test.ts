import { afterEach, describe, expect, test } from '@jest/globals'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { Authority } from '../../src/peer/authority.ts'
import { CertificateRenewal } from '../../src/peer/certificate-renewal.ts'
import { NotMemberError } from '../../src/peer/errors.ts'
import { MemberRegister } from '../../src/peer/member-register.ts'
import { Membership, type MembershipDocuments } from '../../src/peer/membership.ts'
import { TokenIssuer } from '../../src/peer/token-issuer.ts'
import { MemoryTokenTable } from '../../src/peer/token-table.ts'
import { ManualClock } from '../support/manual-clock.ts'

const DAY_MS = 24 * 3_600_000
const LIFE_MS = 30 * DAY_MS
const GRANT = { roles: ['deploy' as const], rights: ['read' as const] }

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** Lets what was begun come to its end. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** A member with a certificate of 30 days, and an authority that can be away. */
function stage() {
  const clock = new ManualClock()
  const authority = new Authority(new Uint8Array(32).fill(1), clock)
  const { clusterId } = authority
  const tokens = new MemoryTokenTable()
  const members = new MemberRegister()
  const issuer = new TokenIssuer({ authority, tokens, clock, members })
  const membership = new Membership('me', clock)
  membership.enter({ clusterId, certificate: authority.issue('me', GRANT) })
  const logger = new MemoryLogger()
  const saved: MembershipDocuments[] = []
  const state = { isAway: false, asked: 0 }
  const renewal = new CertificateRenewal({
    membership,
    renew: async () => {
      state.asked += 1
      if (state.isAway) return undefined
      return issuer.renew(membership.documents().certificate, 'me')
    },
    save: async (documents) => void saved.push(documents),
    clock,
    random: () => 0.5,
    log: logger.forComponent('certificate')
  })
  stops.push(async () => renewal.stop())
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 3_600_000) {
      clock.advance(Math.min(left, 3_600_000))
      await settle()
    }
  }
  const levels = (): string[] => [...new Set(logger.lines.map(({ level }) => level))]
  return {
    clock,
    authority,
    issuer,
    members,
    membership,
    renewal,
    saved,
    state,
    logger,
    pass,
    levels
  }
}

describe('renewal', () => {
  test('comes after two thirds of the lifetime, is kept, and then comes again', async () => {
    const { renewal, pass, saved, membership, members } = stage()
    renewal.start()

    await pass(20 * DAY_MS)
    expect(saved).toHaveLength(0)
    await pass(2 * DAY_MS)

    expect(saved.map(({ certificate }) => certificate)).toEqual([
      membership.documents().certificate
    ])
    expect(membership.self?.expiresMs).toBeGreaterThan(LIFE_MS + 20 * DAY_MS)
    expect(membership.self?.rights).toEqual(new Set(['read']))
    expect(members.find('me')?.expiresMs).toBe(membership.self?.expiresMs)
    await pass(22 * DAY_MS)
    expect(saved).toHaveLength(2)
  })

  test('is tried again and again while the authority is away, ever louder', async () => {
    const { renewal, pass, state, levels, saved, logger } = stage()
    renewal.start()
    state.isAway = true

    await pass(23 * DAY_MS)
    expect(levels()).toEqual(['info'])
    expect(state.asked).toBeGreaterThan(10)
    await pass(3 * DAY_MS)
    expect(levels()).toEqual(['info', 'error'])
    await pass(5 * DAY_MS)
    expect(logger.lines.at(-1)?.format).toContain('has expired')
    state.isAway = false
    await pass(3_600_000)

    expect(saved).toHaveLength(1)
  })

  test('refuses a certificate that is not its own, and keeps the old one', async () => {
    const { clock, authority, membership, logger } = stage()
    const renewal = new CertificateRenewal({
      membership,
      renew: async () => authority.issue('somebody else', GRANT),
      save: async () => {
        throw new Error('kept')
      },
      clock,
      random: () => 0.5,
      log: logger.forComponent('certificate')
    })
    const before = membership.documents()

    await expect(renewal.renewNow()).rejects.toBeInstanceOf(NotMemberError)

    expect(membership.documents()).toBe(before)
  })

  test('does not spin when it is given the same certificate again', async () => {
    const { clock, membership, logger } = stage()
    let asked = 0
    const renewal = new CertificateRenewal({
      membership,
      renew: async () => {
        asked += 1
        return membership.documents().certificate
      },
      save: async () => {},
      clock,
      random: () => 1,
      log: logger.forComponent('certificate')
    })
    stops.push(async () => renewal.stop())
    renewal.start()

    for (let hour = 0; hour < 23 * 24; hour++) {
      clock.advance(3_600_000)
      await settle()
    }

    expect(asked).toBeGreaterThan(0)
    expect(asked).toBeLessThan(30)
  })
})

const certificateOf = ({ membership }: ReturnType<typeof stage>) =>
  membership.documents().certificate

describe('the authority', () => {
  test('gives the same certificate while it is young', async () => {
    const at = stage()
    at.clock.advance(DAY_MS)

    expect(await at.issuer.renew(certificateOf(at), 'me')).toBe(certificateOf(at))
  })

  test('renews an expired certificate for as long again as it held', async () => {
    const at = stage()

    at.clock.advance(2 * LIFE_MS - 1)
    const renewed = await at.issuer.renew(certificateOf(at), 'me')
    expect(at.authority.read(renewed)).toMatchObject({ roles: ['deploy'], rights: ['read'] })

    at.clock.advance(1)
    await expect(at.issuer.renew(certificateOf(at), 'me')).rejects.toThrow('too long ago')
  })

  test('renews nobody with the certificate of another, of another cluster, or void', async () => {
    const { clock, authority, members, membership } = stage()
    clock.advance(25 * DAY_MS)
    const { certificate } = membership.documents()
    const foreign = new Authority(new Uint8Array(32).fill(2), clock).issue('me', GRANT)
    const revocation = { peerId: 'me', atMs: 5, untilMs: LIFE_MS, reason: 'stolen' }
    const revoker = { find: () => revocation, revocationOf: () => revocation }
    const tokens = new MemoryTokenTable()
    const common = { authority, tokens, clock, members }
    const issuer = new TokenIssuer(common)

    await expect(issuer.renew(certificate, 'thief')).rejects.toThrow('that of me')
    await expect(issuer.renew(foreign, 'me')).rejects.toThrow('another cluster')
    const strict = new TokenIssuer({ ...common, revoker })
    await expect(strict.renew(certificate, 'me')).rejects.toThrow('stolen')
  })
})
