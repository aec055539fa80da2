/**
 * Who belongs to a cluster, signed by its authority. A cluster is named by the authority's public key.
 *
 * ```text
 * certificate: a statement (authority-statement.ts) of kind "membership" whose payload is a CBOR map
 *   clusterId  32 bytes, Ed25519 public key of the authority
 *   peerId     text, Ed25519 peer id of the member
 *   roles      array of text, sorted, of ROLES
 *   rights     array of text, sorted, of RIGHTS
 *   issuedMs, expiresMs  milliseconds since the epoch
 *   serial     16 bytes, names the certificate for revocation
 * ```
 */
import { z } from 'zod'
import { equalBytes } from '../lib/bytes.ts'
import { ED25519_KEY_BYTES, type Ed25519Key } from '../lib/ed25519.ts'
import { openStatement, signStatement } from './authority-statement.ts'
import { defineMessage, exactBytes, naturalNumber } from './codec.ts'
import { NotMemberError } from './errors.ts'
import { MAX_PEER_ID_LENGTH } from './peer-identity.ts'
import { type Member, RIGHTS, type Right, ROLES, type Role } from './types.ts'

/** Bytes of the random number that names a certificate. */
export const SERIAL_BYTES = 16

/** How far the clocks of two members may be apart, in milliseconds. */
export const MAX_CLOCK_SKEW_MS = 10 * 60_000

/** What a certificate says. */
export interface MembershipCertificate {
  /** Public key of the authority, 32 bytes. */
  readonly clusterId: Uint8Array
  readonly peerId: string
  readonly roles: readonly Role[]
  readonly rights: readonly Right[]
  readonly issuedMs: number
  readonly expiresMs: number
  readonly serial: Uint8Array
}

const payloadCodec = defineMessage(
  z.strictObject({
    clusterId: exactBytes(ED25519_KEY_BYTES),
    peerId: z.string().min(1).max(MAX_PEER_ID_LENGTH),
    roles: z.array(z.enum(ROLES)).max(ROLES.length),
    rights: z.array(z.enum(RIGHTS)).max(RIGHTS.length),
    issuedMs: naturalNumber,
    expiresMs: naturalNumber,
    serial: exactBytes(SERIAL_BYTES)
  }),
  { name: 'membership certificate', maxBytes: 2048 }
)

/** Signs a certificate. The key must be the one that `clusterId` names. */
export function signCertificate(
  key: Pick<Ed25519Key, 'sign'>,
  certificate: MembershipCertificate
): Uint8Array {
  const roles = [...certificate.roles].toSorted()
  const rights = [...certificate.rights].toSorted()
  return signStatement(key, 'membership', payloadCodec.encode({ ...certificate, roles, rights }))
}

/**
 * Checks that the authority of this cluster signed the certificate. Whether it has expired is asked
 * separately, because what a member signed may be read long after.
 *
 * @throws {NotMemberError} if it is of another cluster or not signed by its authority.
 * @throws {MalformedError}
 */
export function verifyCertificate(clusterId: Uint8Array, bytes: Uint8Array): MembershipCertificate {
  const { payload, isAuthentic } = openStatement(clusterId, 'membership', bytes)
  const certificate = payloadCodec.decode(payload)
  if (!equalBytes(certificate.clusterId, clusterId)) {
    throw new NotMemberError(certificate.peerId, 'its certificate is of another cluster', {
      why: 'foreign'
    })
  }
  if (!isAuthentic) {
    throw new NotMemberError(certificate.peerId, 'its certificate is not signed by the authority', {
      why: 'forged'
    })
  }
  return certificate
}

/** Checks that a certificate holds at this time. @throws {NotMemberError} */
export function verifyValidity(certificate: MembershipCertificate, nowMs: number): void {
  const { peerId, issuedMs, expiresMs } = certificate
  if (nowMs >= expiresMs) {
    const expired = new Date(expiresMs).toISOString()
    throw new NotMemberError(peerId, `its certificate expired at ${expired}`, { why: 'expired' })
  }
  if (nowMs < issuedMs - MAX_CLOCK_SKEW_MS) {
    throw new NotMemberError(peerId, `its certificate is of ${issuedMs - nowMs} ms in the future`, {
      why: 'early'
    })
  }
}

/**
 * Until when the authority gives a newer certificate for this one, milliseconds since the epoch: when
 * it has been away for long, members need not join anew.
 */
export function renewableUntilMs({
  issuedMs,
  expiresMs
}: Pick<MembershipCertificate, 'issuedMs' | 'expiresMs'>): number {
  return expiresMs + (expiresMs - issuedMs)
}

/** The member that a verified certificate makes of its peer. */
export function memberOf(certificate: MembershipCertificate): Member {
  const { peerId, roles, rights, issuedMs, expiresMs } = certificate
  return { peerId, roles: new Set(roles), rights: new Set(rights), issuedMs, expiresMs }
}
