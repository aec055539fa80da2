import { expect, test } from '@jest/globals'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { UntrustedSignatureError } from '../../src/metadata/errors.ts'
import { LocalSigner } from '../../src/metadata/signed.ts'
import { Authority, type MembershipGrant } from '../../src/peer/authority.ts'
import { CertificateVerifier } from '../../src/peer/certificate-verifier.ts'
import { identityFromSeed } from '../../src/peer/peer-identity.ts'
import { ManualClock } from '../support/manual-clock.ts'

const clock = new ManualClock()
const authority = new Authority(new Uint8Array(32).fill(1), clock, { certificateMs: 1000 })
const verifier = new CertificateVerifier(authority.clusterId, { maxKnownSigners: 2 })
const payload = Uint8Array.of(1, 2, 3)

async function signer(fill: number, grant: MembershipGrant, by = authority): Promise<LocalSigner> {
  const seed = new Uint8Array(32).fill(fill)
  const { peerId } = await identityFromSeed(seed)
  const certificate = by.issue(peerId, grant)
  return new LocalSigner({ key: new Ed25519Key(seed), peerId, certificate: () => certificate })
}

test('names the version manager that signed a ticket', async () => {
  const manager = await signer(10, { roles: ['versionManager'], rights: [] })

  expect(verifier.verify('ticket', manager.sign('ticket', payload))).toBe(manager.peerId)
})

test('lets nobody else sign tickets, records, locations and orders to delete', async () => {
  const deployer = await signer(11, { roles: ['deploy'], rights: ['read', 'write', 'admin'] })

  const purposes = ['ticket', 'version-record', 'location', 'retirement', 'surplus'] as const
  for (const purpose of purposes) {
    const envelope = deployer.sign(purpose, payload)
    expect(() => verifier.verify(purpose, envelope)).toThrow(UntrustedSignatureError)
  }
})

test('lets a provider manager sign locations and what is surplus, and nothing else', async () => {
  const manager = await signer(16, { roles: ['providerManager'], rights: ['read', 'admin'] })
  const versions = await signer(10, { roles: ['versionManager'], rights: [] })

  for (const purpose of ['location', 'surplus'] as const) {
    expect(verifier.verify(purpose, manager.sign(purpose, payload))).toBe(manager.peerId)
  }
  for (const purpose of ['ticket', 'version-record', 'retirement', 'nodes'] as const) {
    const envelope = manager.sign(purpose, payload)
    expect(() => verifier.verify(purpose, envelope)).toThrow(UntrustedSignatureError)
  }
  expect(() => verifier.verify('surplus', versions.sign('surplus', payload))).toThrow(
    UntrustedSignatureError
  )
})

test('lets those who may write sign nodes', async () => {
  const writer = await signer(12, { roles: [], rights: ['write'] })
  const reader = await signer(13, { roles: [], rights: ['read'] })

  expect(verifier.verify('nodes', writer.sign('nodes', payload))).toBe(writer.peerId)
  expect(() => verifier.verify('nodes', reader.sign('nodes', payload))).toThrow(
    UntrustedSignatureError
  )
})

test('refuses a signature that was made for another purpose, or of other bytes', async () => {
  const manager = await signer(10, { roles: ['versionManager'], rights: ['write'] })
  const envelope = manager.sign('ticket', payload)

  expect(() => verifier.verify('version-record', envelope)).toThrow(UntrustedSignatureError)
  const changed = { ...envelope, payload: Uint8Array.of(1, 2, 4) }
  expect(() => verifier.verify('ticket', changed)).toThrow(UntrustedSignatureError)
})

test('refuses the certificate of somebody else, of another cluster, and none', async () => {
  const manager = await signer(10, { roles: ['versionManager'], rights: [] })
  const thief = await signer(14, { roles: [], rights: [] })
  const foreign = new Authority(new Uint8Array(32).fill(2), clock)
  const stranger = await signer(15, { roles: ['versionManager'], rights: [] }, foreign)
  const { certificate } = manager.sign('ticket', payload)

  const envelopes = [
    { ...thief.sign('ticket', payload), certificate },
    stranger.sign('ticket', payload),
    { ...manager.sign('ticket', payload), certificate: new Uint8Array(10) }
  ]

  for (const envelope of envelopes) {
    expect(() => verifier.verify('ticket', envelope)).toThrow(UntrustedSignatureError)
  }
})

test('goes on trusting what was signed when the certificate has expired since', async () => {
  const manager = await signer(10, { roles: ['versionManager'], rights: [] })
  const envelope = manager.sign('version-record', payload)

  clock.advance(5000)

  expect(verifier.verify('version-record', envelope)).toBe(manager.peerId)
})

test('refuses what was changed under a signature that was right before, and a stolen certificate', async () => {
  const manager = await signer(10, { roles: ['versionManager'], rights: ['write'] })
  const other = await signer(16, { roles: ['versionManager'], rights: ['write'] })
  const envelope = manager.sign('ticket', payload)
  const { certificate } = other.sign('ticket', payload)

  verifier.verify('ticket', envelope)

  const changes = [
    { payload: Uint8Array.of(1, 2, 4) },
    { signature: envelope.signature.with(5, 255 - (envelope.signature[5] ?? 0)) },
    { certificate }
  ]
  for (const change of changes) {
    const changed = { ...envelope, ...change }
    expect(() => verifier.verify('ticket', changed)).toThrow(UntrustedSignatureError)
  }
  expect(() => verifier.verify('nodes', envelope)).toThrow(UntrustedSignatureError)
  expect(verifier.verify('ticket', envelope)).toBe(manager.peerId)
})

test('believes what this agent itself signed, as far as its roles go', async () => {
  const manager = await signer(10, { roles: ['versionManager'], rights: [] })
  const ticket = { ...manager.sign('ticket', payload), signature: new Uint8Array(64) }
  const nodes = { ...manager.sign('nodes', payload), signature: new Uint8Array(64) }
  const own = new CertificateVerifier(authority.clusterId)

  own.rememberOwn('ticket', ticket)
  own.rememberOwn('nodes', nodes)

  expect(own.verify('ticket', ticket)).toBe(manager.peerId)
  expect(() => own.verify('nodes', nodes)).toThrow(UntrustedSignatureError)
})

test('forgets the oldest signatures', async () => {
  const manager = await signer(10, { roles: ['versionManager'], rights: [] })
  const own = new CertificateVerifier(authority.clusterId, { maxKnownSignatures: 1 })
  const first = { ...manager.sign('ticket', payload), signature: new Uint8Array(64) }
  own.rememberOwn('ticket', first)

  own.verify('ticket', manager.sign('ticket', payload))

  expect(() => own.verify('ticket', first)).toThrow(UntrustedSignatureError)
})
