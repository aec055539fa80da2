import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { LimitExceededError, MalformedError } from '../../src/lib/errors.ts'
import { Authority } from '../../src/peer/authority.ts'
import {
  MAX_REVOKED,
  type Revocation,
  signRevocationList,
  verifyRevocationList
} from '../../src/peer/revocation-list.ts'
import { Revoker } from '../../src/peer/revoker.ts'
import { ManualClock } from '../support/manual-clock.ts'

const key = new Ed25519Key(new Uint8Array(32).fill(1))
const clusterId = key.publicKey
const HOUR_MS = 3_600_000

const revocation = fc.record({
  peerId: fc.string({ minLength: 1, maxLength: 64 }),
  atMs: fc.nat(),
  untilMs: fc.nat(),
  reason: fc.string({ maxLength: 100 })
})
const revocations = fc.uniqueArray(revocation, { selector: ({ peerId }) => peerId, maxLength: 8 })

describe('a revocation list', () => {
  test('says after verification what was signed, in order of peer ids', () => {
    fc.assert(
      fc.property(revocations, fc.nat(), (revoked, number) => {
        const bytes = signRevocationList(key, { clusterId, number, revoked })

        const list = verifyRevocationList(clusterId, bytes)

        expect(list.number).toBe(number)
        expect(list.revoked).toEqual(revoked.toSorted((a, b) => (a.peerId < b.peerId ? -1 : 1)))
      }),
      { numRuns: 50 }
    )
  })

  test('does not hold when a single bit of it is changed', () => {
    const revoked = [{ peerId: 'a', atMs: 5, untilMs: 9, reason: 'gone' }]
    const bytes = signRevocationList(key, { clusterId, number: 1, revoked })
    fc.assert(
      fc.property(fc.nat(bytes.byteLength * 8 - 1), (bit) => {
        const changed = Uint8Array.from(bytes)
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        expect(() => verifyRevocationList(clusterId, changed)).toThrow(MalformedError)
      })
    )
  })

  test('made of any bytes, of another authority or of another kind is refused', () => {
    const other = new Ed25519Key(new Uint8Array(32).fill(2))
    const authority = new Authority(new Uint8Array(32).fill(1), new ManualClock())
    const refused = [
      signRevocationList(other, { clusterId, number: 1, revoked: [] }),
      signRevocationList(key, { clusterId: other.publicKey, number: 1, revoked: [] }),
      authority.signMetadataList(1, []),
      authority.issue('somebody', { roles: [], rights: [] })
    ]

    for (const bytes of refused) {
      expect(() => verifyRevocationList(clusterId, bytes)).toThrow(MalformedError)
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => verifyRevocationList(clusterId, bytes)).toThrow(MalformedError)
      })
    )
  })
})

/** A revoker beside an authority, and what it has saved. */
function stage() {
  const clock = new ManualClock()
  clock.advance(1000)
  const authority = new Authority(new Uint8Array(32).fill(1), clock)
  const saved: Uint8Array[] = []
  const save = async (list: Uint8Array): Promise<void> => void saved.push(list)
  const revoker = new Revoker({ authority, clock, save })
  const revoke = async (peerId: string, changes: Partial<Revocation & { issuedMs: number }> = {}) =>
    revoker.revoke({ peerId, issuedMs: 500, untilMs: HOUR_MS, reason: 'lost', ...changes })
  const newest = () => verifyRevocationList(clusterId, saved.at(-1) ?? new Uint8Array())
  return { clock, authority, revoker, saved, save, revoke, newest }
}

describe('the revoker', () => {
  test('voids what was issued until now, and nothing later', async () => {
    const { revoke, revoker, newest } = stage()

    const { revocation: given } = await revoke('a')

    expect(given).toEqual({ peerId: 'a', atMs: 1000, untilMs: HOUR_MS, reason: 'lost' })
    expect(newest()).toMatchObject({ number: 1, revoked: [given] })
    expect(revoker.revocationOf('a', 1000)).toEqual(given)
    expect(revoker.revocationOf('a', 1001)).toBeUndefined()
    expect(revoker.revocationOf('b', 0)).toBeUndefined()
  })

  test('voids also a certificate that the clock says is of the future', async () => {
    const { revoke, revoker } = stage()

    await revoke('a', { issuedMs: 9000 })

    expect(revoker.revocationOf('a', 9000)).toBeDefined()
  })

  test('counts, does nothing twice, and drops what has run out', async () => {
    const { revoke, clock, newest, saved } = stage()
    await Promise.all([revoke('a', { untilMs: 5000 }), revoke('b'), revoke('a')])
    expect(newest().revoked.map(({ peerId }) => peerId)).toEqual(['a', 'b'])
    expect(saved).toHaveLength(2)

    clock.advance(5000)
    const { list } = await revoke('c')

    expect(list).toEqual(saved[2])
    expect(newest().number).toBe(3)
    expect(newest().revoked.map(({ peerId }) => peerId)).toEqual(['b', 'c'])
    expect((await revoke('c')).list).toBeUndefined()
  })

  test('changes nothing when the list could not be saved', async () => {
    const { authority, clock, save, saved } = stage()
    let isFull = true
    const revoker = new Revoker({
      authority,
      clock,
      save: async (list) => {
        if (isFull) throw new Error('disk full')
        await save(list)
      }
    })
    const request = { peerId: 'a', issuedMs: 0, untilMs: HOUR_MS, reason: '' }

    await expect(revoker.revoke(request)).rejects.toThrow('disk full')
    expect(revoker.revocationOf('a', 0)).toBeUndefined()
    isFull = false
    await revoker.revoke(request)

    expect(verifyRevocationList(clusterId, saved[0] ?? new Uint8Array()).number).toBe(1)
  })

  test('goes on from the list of an earlier start, or a newer one that others know', async () => {
    const { authority, revoker, revoke, newest } = stage()
    const older = { peerId: 'old', atMs: 1, untilMs: HOUR_MS, reason: '' }

    revoker.adopt(authority.signRevocations(7, [older]))
    revoker.adopt(authority.signRevocations(6, []))
    await revoke('a')

    expect(newest().number).toBe(8)
    expect(newest().revoked.map(({ peerId }) => peerId)).toEqual(['a', 'old'])
  })

  test('refuses more than the list may hold', async () => {
    const { authority, revoker, revoke } = stage()
    const full = Array.from({ length: MAX_REVOKED }, (_, at) => ({
      peerId: `peer ${at}`,
      atMs: 1,
      untilMs: HOUR_MS,
      reason: ''
    }))
    revoker.adopt(authority.signRevocations(1, full))

    await expect(revoke('one more')).rejects.toBeInstanceOf(LimitExceededError)
  })
})
