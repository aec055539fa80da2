import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { Authority } from '../../src/peer/authority.ts'
import { NotMemberError } from '../../src/peer/errors.ts'
import {
  type MembershipCertificate,
  memberOf,
  signCertificate,
  verifyCertificate,
  verifyValidity
} from '../../src/peer/membership-certificate.ts'
import { verifyMetadataList } from '../../src/peer/metadata-list.ts'
import { ManualClock } from '../support/manual-clock.ts'

const key = new Ed25519Key(new Uint8Array(32).fill(1))
const other = new Ed25519Key(new Uint8Array(32).fill(2))
const certificate: MembershipCertificate = {
  clusterId: key.publicKey,
  peerId: '12D3KooWexample',
  roles: ['metadata', 'provider'],
  rights: ['read', 'write'],
  issuedMs: 1_000_000,
  expiresMs: 2_000_000,
  serial: new Uint8Array(16).fill(5)
}

describe('a certificate', () => {
  test('says after verification what was signed', () => {
    const bytes = signCertificate(key, certificate)

    expect(verifyCertificate(key.publicKey, bytes)).toEqual(certificate)
  })

  test('makes a member with roles, rights and an end', () => {
    const member = memberOf(certificate)

    expect(member.roles.has('metadata')).toBe(true)
    expect(member.roles.has('versionManager')).toBe(false)
    expect(member.rights).toEqual(new Set(['read', 'write']))
    expect(member.expiresMs).toBe(2_000_000)
  })

  test('of another cluster is refused', () => {
    const foreign = signCertificate(other, { ...certificate, clusterId: other.publicKey })

    expect(() => verifyCertificate(key.publicKey, foreign)).toThrow(NotMemberError)
  })

  test('signed by somebody else is refused', () => {
    const forged = signCertificate(other, certificate)

    expect(() => verifyCertificate(key.publicKey, forged)).toThrow(NotMemberError)
  })

  test('does not hold when a single bit of it is changed', () => {
    const bytes = signCertificate(key, certificate)
    fc.assert(
      fc.property(fc.nat(bytes.byteLength * 8 - 1), (bit) => {
        const changed = Uint8Array.from(bytes)
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        expect(() => verifyCertificate(key.publicKey, changed)).toThrow()
      })
    )
  })

  test('cannot be made of a metadata list', () => {
    const authority = new Authority(new Uint8Array(32).fill(1), new ManualClock())
    const list = authority.signMetadataList(1, [])

    expect(() => verifyCertificate(key.publicKey, list)).toThrow(MalformedError)
  })

  test('holds from its issue, give or take the clocks, until it expires', () => {
    expect(() => verifyValidity(certificate, 1_999_999)).not.toThrow()
    expect(() => verifyValidity(certificate, 1_000_000 - 600_000)).not.toThrow()
    expect(() => verifyValidity(certificate, 2_000_000)).toThrow(NotMemberError)
    expect(() => verifyValidity(certificate, 1_000_000 - 600_001)).toThrow(NotMemberError)
  })

  test('throws nothing unexpected on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => verifyCertificate(key.publicKey, bytes)).toThrow(MalformedError)
      })
    )
  })
})

describe('a metadata list', () => {
  const authority = new Authority(new Uint8Array(32).fill(1), new ManualClock())

  test('says after verification what was signed, providers in order of their ids', () => {
    const bytes = authority.signMetadataList(7, [
      { peerId: 'b', addresses: [] },
      { peerId: 'a', addresses: ['/ip4/127.0.0.1/tcp/1'] }
    ])

    const list = verifyMetadataList(authority.clusterId, bytes)

    expect(list.number).toBe(7)
    expect(list.providers.map(({ peerId }) => peerId)).toEqual(['a', 'b'])
  })

  test('of another authority is refused', () => {
    const foreign = new Authority(new Uint8Array(32).fill(2), new ManualClock())
    const bytes = foreign.signMetadataList(7, [])

    expect(() => verifyMetadataList(authority.clusterId, bytes)).toThrow(MalformedError)
  })
})
