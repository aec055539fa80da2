import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { signLocation, verifyLocation } from '../../src/metadata/location.ts'
import type { VersionRecord } from '../../src/metadata/sealing-types.ts'
import type { SignedEnvelope, SignedPurpose, Signer } from '../../src/metadata/signature-types.ts'
import { encodeEnvelope, LocalSigner } from '../../src/metadata/signed.ts'
import type { Ticket } from '../../src/metadata/ticket-types.ts'
import { signTicket } from '../../src/metadata/tickets.ts'
import { signRecord } from '../../src/metadata/version-record.ts'
import { Authority, type MembershipGrant } from '../../src/peer/authority.ts'
import { CertificateVerifier } from '../../src/peer/certificate-verifier.ts'
import { Membership } from '../../src/peer/membership.ts'
import { identityFromSeed } from '../../src/peer/peer-identity.ts'
import { VERSION_PROTOCOL, versionMethods } from '../../src/peer/protocols/version.ts'
import { RemoteVersionManager } from '../../src/peer/remote/version-manager.ts'
import { signRetirementOrder, verifyRetirementOrder } from '../../src/peer/retirement-order.ts'
import type { AnswerOf } from '../../src/peer/rpc.ts'
import { answerMethod, type RpcHandler, serveRpc } from '../../src/peer/rpc-server.ts'
import { signSurplusOrder, verifySurplusOrder } from '../../src/peer/surplus-order.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryNetwork } from '../support/memory-network.ts'

const BLOB = 'ab'.repeat(32)
const OTHER = 'cd'.repeat(32)
const DAY_MS = 24 * 3_600_000

const clock = new ManualClock()
clock.advance(DAY_MS)
const authority = new Authority(new Uint8Array(32).fill(1), clock)
const foreign = new Authority(new Uint8Array(32).fill(2), clock)
const MANAGER: MembershipGrant = { roles: ['versionManager'], rights: ['read', 'write'] }
const WRITER: MembershipGrant = { roles: ['deploy'], rights: ['read', 'write', 'admin'] }

async function signerOf(seed: number, grant: MembershipGrant, issuer = authority): Promise<Signer> {
  const bytes = new Uint8Array(32).fill(seed)
  const { peerId } = await identityFromSeed(bytes)
  const certificate = issuer.issue(peerId, grant)
  return new LocalSigner({ peerId, key: new Ed25519Key(bytes), certificate: () => certificate })
}

const manager = await signerOf(10, MANAGER)
const writer = await signerOf(11, WRITER)
const stranger = await signerOf(12, MANAGER, foreign)
const verifier = new CertificateVerifier(authority.clusterId)

/** Signs with its own key and shows the certificate of somebody else. */
const thief: Signer = {
  peerId: writer.peerId,
  sign: (purpose: SignedPurpose, payload: Uint8Array): SignedEnvelope => ({
    ...writer.sign(purpose, payload),
    certificate: manager.sign(purpose, payload).certificate
  })
}
const FORGERS = [
  ['a writer', writer],
  ['the manager of another cluster', stranger],
  ['one who shows the certificate of the manager', thief]
] as const

const record: VersionRecord = {
  blob: BLOB,
  version: 1,
  bytes: 65_536,
  chunkBytes: 65_536,
  hashCode: 0x1e,
  manifestRoot: chunkId(Buffer.from('root')),
  parent: undefined,
  timeMs: DAY_MS,
  note: ''
}
const request = {
  blob: BLOB,
  writer: 'me',
  ranges: [{ start: 1, end: 3 }],
  endBytes: 4 * 65_536,
  truncates: false,
  leafList: chunkId(Buffer.from('leaves'))
}
const { endBytes, ...given } = request
const ticket: Ticket = {
  ...given,
  version: 1,
  bytes: endBytes,
  span: 4,
  previousSpan: 0,
  chunkBytes: 65_536,
  inFlight: [],
  base: undefined,
  leaseUntilMs: 2 * DAY_MS
}

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** A version manager that answers so, asked over the network. */
async function asked(...handlers: RpcHandler[]): Promise<RemoteVersionManager> {
  const network = new MemoryNetwork()
  const logger = noLogger.forComponent('liar')
  await network
    .node('liar')
    .serve(VERSION_PROTOCOL, (channel) =>
      serveRpc(channel, { handlers, clock: systemClock, logger })
    )
  const node = network.node('me')
  const parts = { node, clock: systemClock, verifier, find: () => 'liar' }
  const remote = new RemoteVersionManager(parts, { retryForMs: 0 })
  stops.push(async () => remote.stop())
  return remote
}

const giving = (envelope: SignedEnvelope): RpcHandler =>
  answerMethod(versionMethods.record, async () => ({ record: encodeEnvelope(envelope) }))
const givingTicket = (envelope: SignedEnvelope): RpcHandler =>
  answerMethod(
    versionMethods.assign,
    async (): Promise<AnswerOf<typeof versionMethods.assign>> => ({
      ticket: encodeEnvelope(envelope)
    })
  )

const violation = { code: 'ERR_PROTOCOL_VIOLATION', peer: 'liar' }

describe('a version record over the network', () => {
  test('is taken from its manager', async () => {
    const remote = await asked(giving(signRecord(manager, record).envelope))

    expect((await remote.record(BLOB, 1)).record).toEqual(record)
  })

  test.each(FORGERS)(
    'that %s has signed is refused, and the error names who gave it',
    async (_, by) => {
      const remote = await asked(giving(signRecord(by, record).envelope))

      await expect(remote.record(BLOB, 1)).rejects.toMatchObject(violation)
    }
  )

  test.each([
    ['another version', { version: 2 }],
    ['another blob', { blob: OTHER }]
  ])('of %s is refused', async (_name, change) => {
    const remote = await asked(giving(signRecord(manager, { ...record, ...change }).envelope))

    await expect(remote.record(BLOB, 1)).rejects.toMatchObject(violation)
  })

  test('whose bytes were changed, or that is something else, is refused', async () => {
    const { envelope } = signRecord(manager, record)
    const payload = envelope.payload.with(40, 9)
    const other = signTicket(manager, ticket).envelope

    for (const lie of [{ ...envelope, payload }, other]) {
      const remote = await asked(giving(lie))
      await expect(remote.record(BLOB, 1)).rejects.toMatchObject(violation)
    }
  })
})

describe('a ticket over the network', () => {
  test('is taken for what was asked for', async () => {
    const remote = await asked(givingTicket(signTicket(manager, ticket).envelope))

    expect((await remote.assign(request)).ticket).toEqual(ticket)
  })

  test.each(FORGERS)('that %s has signed is refused', async (_, by) => {
    const remote = await asked(givingTicket(signTicket(by, ticket).envelope))

    await expect(remote.assign(request)).rejects.toMatchObject(violation)
  })

  test.each<[string, Partial<Ticket>]>([
    ['another writer', { writer: 'somebody' }],
    ['another blob', { blob: OTHER }],
    ['other ranges', { ranges: [{ start: 0, end: 4 }] }],
    ['fewer ranges', { ranges: [{ start: 1, end: 2 }] }],
    ['another leaf list', { leafList: chunkId(Buffer.from('other')) }],
    ['a shorter blob', { bytes: 3 * 65_536 }],
    ['a write that cuts off', { truncates: true, ranges: [{ start: 0, end: 4 }] }]
  ])('for %s is refused', async (_name, change) => {
    const remote = await asked(givingTicket(signTicket(manager, { ...ticket, ...change }).envelope))

    await expect(remote.assign(request)).rejects.toMatchObject(violation)
  })
})

describe('signatures', () => {
  const page = chunkId(Buffer.from('page'))

  test.each(FORGERS)('of %s on locations and orders to delete are refused', (_, by) => {
    const keys = [page]
    const location = signLocation(by, { page, sequence: 1, replicas: [['p']] })
    const order = { kind: 'chunks', provider: 'p', collection: 'c', keys } as const
    const retirement = signRetirementOrder(by, order)
    const surplus = signSurplusOrder(by, { provider: 'p', issuedMs: DAY_MS, ids: keys })
    const untrusted = expect.objectContaining({ code: 'ERR_UNTRUSTED_SIGNATURE' })

    const expected = { provider: 'p', kind: 'chunks' } as const
    expect(() => verifyLocation(verifier, location.envelope, page)).toThrow(untrusted)
    expect(() => verifyRetirementOrder(verifier, retirement, expected)).toThrow(untrusted)
    expect(() => verifySurplusOrder(verifier, surplus, { provider: 'p', nowMs: DAY_MS })).toThrow(
      untrusted
    )
  })
})

describe('a manager that was revoked', () => {
  const reader = new Membership('reader', clock)
  const certificate = authority.issue('reader', WRITER)
  reader.enter({ clusterId: authority.clusterId, certificate })
  const revoked = { peerId: manager.peerId, atMs: 2 * DAY_MS, untilMs: 90 * DAY_MS, reason: '' }
  reader.offerRevocations(authority.signRevocations(1, [revoked]))
  const strict = new CertificateVerifier(authority.clusterId, { standing: reader })

  test('is believed what it signed before, and no record of a later time', () => {
    const before = signRecord(manager, record).envelope
    const later = signRecord(manager, { ...record, timeMs: 2 * DAY_MS + 1 }).envelope

    expect(strict.verify('version-record', before, DAY_MS)).toBe(manager.peerId)
    expect(strict.verify('ticket', signTicket(manager, ticket).envelope)).toBe(manager.peerId)
    expect(() => strict.verify('version-record', later, 2 * DAY_MS + 1)).toThrow('was revoked')
  })

  test('has nothing deleted any more, even with an order that was good before', () => {
    const order = { kind: 'chunks', provider: 'p', collection: 'c' } as const
    const signed = signRetirementOrder(manager, { ...order, keys: [chunkId(Buffer.from('a'))] })

    expect(verifyRetirementOrder(verifier, signed, order).provider).toBe('p')
    expect(() => verifyRetirementOrder(strict, signed, order)).toThrow('was revoked')
  })

  test('or whose certificate has expired has nothing deleted either, but is believed the rest', () => {
    const late = new ManualClock()
    late.advance(60 * DAY_MS)
    const laterReader = new Membership('reader', late)
    laterReader.enterExpired({ clusterId: authority.clusterId, certificate })
    const expired = new CertificateVerifier(authority.clusterId, { standing: laterReader })
    const order = { kind: 'chunks', provider: 'p', collection: 'c' } as const
    const signed = signRetirementOrder(manager, { ...order, keys: [chunkId(Buffer.from('a'))] })

    expect(() => verifyRetirementOrder(expired, signed, order)).toThrow('has expired')
    expect(expired.verify('version-record', signRecord(manager, record).envelope, DAY_MS)).toBe(
      manager.peerId
    )
  })
})
