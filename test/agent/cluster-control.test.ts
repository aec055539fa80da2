import { readFile } from 'node:fs/promises'
import { join as joinPath } from 'node:path'
import { beforeEach, describe, expect, test } from '@jest/globals'
import { ClusterControl } from '../../src/agent/cluster-control.ts'
import { DataDirectory } from '../../src/agent/data-directory.ts'
import { admitItself, type ClusterAuthority, openAuthority } from '../../src/agent/membership.ts'
import { toHex } from '../../src/lib/bytes.ts'
import { parseJoinToken } from '../../src/peer/join-token.ts'
import { Membership } from '../../src/peer/membership.ts'
import { memberOf } from '../../src/peer/membership-certificate.ts'
import type { Member, Role } from '../../src/peer/types.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()
const HOUR_MS = 3_600_000
const SELF = '12D3KooWDFrA2CXu7AYmLNFWXg4SNP1ciSv8Z8Auuj65ajAugzhk'
const ALICE = '12D3KooWKLooFAGGFPQr856thABiKraczBjMK1tSCCiLgXWVdaQh'
const BOB = '12D3KooWNqaVigsLLEs1LWPWPzp9oP1vk6y5G3M6ZWiGH7tCGiRR'

let folder: string
beforeEach(async () => {
  folder = await newFolder()
})

/** The agent that has the authority, without a network; the same folder gives the same one again. */
async function stage(clock = new ManualClock()) {
  const data = new DataDirectory(folder)
  await data.open()
  const request = { roles: ['versionManager' as Role], certificateMs: HOUR_MS }
  const authority = (await openAuthority(data, request, clock)) as ClusterAuthority
  await data.close()
  const membership = new Membership(SELF, clock)
  const certificate = await admitItself(authority, SELF, ['versionManager'])
  membership.enter({ clusterId: authority.authority.clusterId, certificate })
  const connected: Member[] = []
  const addresses = (): string[] => [`/ip4/127.0.0.1/tcp/1/p2p/${SELF}`]
  const node = { peerId: SELF, membership, members: () => connected, addresses }
  const control = new ClusterControl({ node, authority, clock })
  const join = async (peerId: string): Promise<Member> => {
    const { token } = await control.createToken({ roles: ['deploy'] })
    const { secret } = parseJoinToken(token)
    return memberOf(authority.authority.read(await authority.issuer.redeem(secret, peerId)))
  }
  return { clock, authority, membership, connected, node, control, join }
}

const standings = (control: ClusterControl) =>
  control.members().map(({ peerId, standing }) => [peerId, standing])

describe('members', () => {
  test('are all that were admitted, connected or not, also after a restart', async () => {
    const { clock, join, connected, control } = await stage()
    connected.push(await join(ALICE))
    await join(BOB)

    expect(control.members()).toMatchObject([
      { peerId: SELF, roles: ['versionManager'], standing: 'valid', isConnected: true },
      { peerId: ALICE, roles: ['deploy'], rights: ['read'], isConnected: true },
      { peerId: BOB, standing: 'valid', isConnected: false }
    ])
    clock.advance(HOUR_MS)
    const again = await stage(clock)
    expect(standings(again.control)).toEqual([
      [SELF, 'valid'],
      [ALICE, 'expired'],
      [BOB, 'expired']
    ])
  })

  test('are known to the agent with the authority only', async () => {
    const { node, clock } = await stage()
    const control = new ClusterControl({ node, authority: undefined, clock })

    expect(() => control.members()).toThrow('only the agent that began the cluster')
    expect(() => control.tokens()).toThrow('only the agent that began the cluster')
    await expect(control.revoke(ALICE, '')).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
    await expect(control.revokeToken('a')).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' })
  })
})

describe('revoking', () => {
  test('shuts out by the start of an id, tells everybody, and outlives a restart', async () => {
    const { clock, join, control, membership } = await stage()
    const alice = await join(ALICE)
    clock.advance(1000)

    const revoked = await control.revoke(ALICE.slice(0, 12), 'disk stolen')

    expect(revoked).toMatchObject({ peerId: ALICE, standing: 'revoked', reason: 'disk stolen' })
    expect(revoked.revoked).toBe(new Date(1000).toISOString())
    expect(membership.objectionTo(alice)?.message).toContain('disk stolen')
    const again = await stage(clock)
    expect(standings(again.control)).toContainEqual([ALICE, 'revoked'])
    expect((await again.control.revoke(BOB, '')).standing).toBe('revoked')
    expect(again.membership.revocations).toMatchObject({ number: 2 })
  })

  test('is done once, until the peer has been admitted again', async () => {
    const { join, control, membership, clock } = await stage()
    await join(ALICE)
    await control.revoke(ALICE, 'first')
    expect((await control.revoke(ALICE, 'second')).reason).toBe('first')
    expect(membership.revocations?.number).toBe(1)

    const alice = await join(ALICE)
    expect(membership.objectionTo(alice)).toBeUndefined()
    expect(standings(control)).toContainEqual([ALICE, 'valid'])
    clock.advance(1)
    await control.revoke(ALICE, 'third')

    expect(membership.objectionTo(alice)?.message).toContain('third')
  })

  test('shuts out somebody of whom nothing is known, by the whole id', async () => {
    const { control, membership } = await stage()

    await control.revoke(BOB, '')

    expect(membership.revocationOf(BOB, 0)).toBeDefined()
  })

  test.each([
    ['nobody', 'nobody', 'ERR_UNKNOWN_MEMBER'],
    ['several', '12D3Koo', 'ERR_BAD_REQUEST'],
    ['the authority itself', SELF, 'ERR_BAD_REQUEST']
  ])('is refused for %s', async (_name, name, code) => {
    const { control, join, membership } = await stage()
    await join(ALICE)

    await expect(control.revoke(name, '')).rejects.toMatchObject({ code })

    expect(membership.revocations).toBeUndefined()
  })

  test('is refused with a reason that is too long', async () => {
    const { control, join } = await stage()
    await join(ALICE)

    await expect(control.revoke(ALICE, 'x'.repeat(101))).rejects.toMatchObject({
      code: 'ERR_BAD_REQUEST'
    })
  })
})

describe('tokens', () => {
  test('are listed until they are used, run out or are taken back', async () => {
    const { control, join, clock, authority } = await stage()
    await join(ALICE)
    await control.createToken({ roles: ['deploy'], expiresMs: 2000 })
    const { token } = await control.createToken({ roles: ['provider'], rights: ['read', 'write'] })
    expect(control.tokens()).toHaveLength(2)
    clock.advance(2000)
    const [open] = control.tokens()
    expect(open).toMatchObject({ roles: ['provider'], rights: ['read', 'write'] })

    await control.revokeToken(open?.id.slice(0, 6) ?? '')

    expect(control.tokens()).toEqual([])
    const { secret } = parseJoinToken(token)
    await expect(authority.issuer.redeem(secret, BOB)).rejects.toMatchObject({
      code: 'ERR_JOIN_REFUSED'
    })
    const kept = await readFile(joinPath(folder, 'tokens.json'), 'utf8')
    expect(kept).not.toContain(open?.id)
    expect(kept).not.toContain(toHex(secret))
  })

  test('that were used, or have no such name, cannot be taken back', async () => {
    const { control, join } = await stage()
    await join(ALICE)

    await expect(control.revokeToken('00')).rejects.toMatchObject({ code: 'ERR_UNKNOWN_TOKEN' })
  })

  test('that were used before their peer was revoked let it in no more', async () => {
    const { control, authority } = await stage()
    const { token } = await control.createToken({ roles: ['deploy'] })
    const { secret } = parseJoinToken(token)
    const first = await authority.issuer.redeem(secret, ALICE)
    expect(await authority.issuer.redeem(secret, ALICE)).toEqual(first)

    await control.revoke(ALICE, 'lost')

    await expect(authority.issuer.redeem(secret, ALICE)).rejects.toThrow('lost')
  })
})
