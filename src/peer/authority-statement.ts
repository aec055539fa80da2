/**
 * What the cluster's authority signs: membership certificates, metadata lists, revocations.
 *
 * ```text
 * statement (CBOR map)
 *   p  payload, bytes: the statement itself in CBOR
 *   s  Ed25519 signature, 64 bytes, by the authority over: "blobswarm " kind " 1\n" payload
 * ```
 */
import { z } from 'zod'
import { concatBytes, MIB } from '../lib/bytes.ts'
import { ED25519_SIGNATURE_BYTES, type Ed25519Key, verifyEd25519 } from '../lib/ed25519.ts'
import { boundedBytes, defineMessage, exactBytes } from './codec.ts'

/** What a statement says; mixed into the signed bytes so that one kind cannot pass for another. */
export type StatementKind = 'membership' | 'metadata-list' | 'revocations'

const statement = defineMessage(
  z.strictObject({ p: boundedBytes(MIB), s: exactBytes(ED25519_SIGNATURE_BYTES) }),
  { name: 'statement of the authority', maxBytes: MIB + 128 }
)

/** Signs a payload as the authority. */
export function signStatement(
  key: Pick<Ed25519Key, 'sign'>,
  kind: StatementKind,
  payload: Uint8Array
): Uint8Array {
  return statement.encode({ p: payload, s: key.sign(signedBytes(kind, payload)) })
}

/**
 * Takes a statement apart.
 *
 * @returns the payload, and whether the authority with this public key signed it as this kind.
 * @throws {MalformedError} if it is no statement.
 */
export function openStatement(
  authority: Uint8Array,
  kind: StatementKind,
  bytes: Uint8Array
): { payload: Uint8Array; isAuthentic: boolean } {
  const { p: payload, s: signature } = statement.decode(bytes)
  const isAuthentic = verifyEd25519(authority, signedBytes(kind, payload), signature)
  return { payload, isAuthentic }
}

function signedBytes(kind: StatementKind, payload: Uint8Array): Uint8Array {
  return concatBytes([Buffer.from(`blobswarm ${kind} 1\n`, 'latin1'), payload])
}
