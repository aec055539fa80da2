/**
 * Who is no member any more although a certificate of it has not expired. Signed and numbered: the
 * highest number is the newest, and holds everything that the ones before it held, less what has
 * expired since.
 *
 * ```text
 * revocation list: a statement (authority-statement.ts) of kind "revocations" whose payload is a CBOR map
 *   clusterId  32 bytes
 *   number     1, 2, 3 …
 *   revoked    array, sorted by peerId, each once, of
 *              { peerId: text, atMs: every certificate issued until then is void,
 *                untilMs: when the last of them could not be renewed any more, reason: text }
 * ```
 */
import { z } from 'zod'
import { equalBytes } from '../lib/bytes.ts'
import { ED25519_KEY_BYTES, type Ed25519Key } from '../lib/ed25519.ts'
import { MalformedError } from '../lib/errors.ts'
import { openStatement, signStatement } from './authority-statement.ts'
import { boundedText, defineMessage, exactBytes, naturalNumber } from './codec.ts'
import { MAX_PEER_ID_LENGTH } from './peer-identity.ts'

/** Most peers on the list. */
export const MAX_REVOKED = 4096

/** Most characters of a reason. */
export const MAX_REASON_LENGTH = 100

/** One peer whose certificates are void. */
export interface Revocation {
  readonly peerId: string
  /** Certificates that were issued until then are void, milliseconds since the epoch. */
  readonly atMs: number
  /** From then on none of them could be shown or renewed anyway. */
  readonly untilMs: number
  /** For people; may be empty. */
  readonly reason: string
}

export interface RevocationList {
  readonly clusterId: Uint8Array
  readonly number: number
  readonly revoked: readonly Revocation[]
}

const payloadCodec = defineMessage(
  z.strictObject({
    clusterId: exactBytes(ED25519_KEY_BYTES),
    number: naturalNumber,
    revoked: z
      .array(
        z.strictObject({
          peerId: z.string().min(1).max(MAX_PEER_ID_LENGTH),
          atMs: naturalNumber,
          untilMs: naturalNumber,
          reason: boundedText(MAX_REASON_LENGTH)
        })
      )
      .max(MAX_REVOKED)
  }),
  { name: 'revocation list' }
)

/**
 * Signs a list. The key must be the one that `clusterId` names.
 *
 * @throws {LimitExceededError} if it is longer than 1 MiB.
 */
export function signRevocationList(
  key: Pick<Ed25519Key, 'sign'>,
  list: RevocationList
): Uint8Array {
  const revoked = list.revoked
    .map(({ peerId, atMs, untilMs, reason }) => ({ peerId, atMs, untilMs, reason }))
    .toSorted((a, b) => (a.peerId < b.peerId ? -1 : 1))
  return signStatement(key, 'revocations', payloadCodec.encode({ ...list, revoked }))
}

/** Reads a list. @throws {MalformedError} if it is none, or not signed by this cluster's authority. */
export function verifyRevocationList(clusterId: Uint8Array, bytes: Uint8Array): RevocationList {
  const { payload, isAuthentic } = openStatement(clusterId, 'revocations', bytes)
  const list = payloadCodec.decode(payload)
  if (!isAuthentic || !equalBytes(list.clusterId, clusterId)) {
    throw new MalformedError('revocation list', 'not signed by the authority of this cluster')
  }
  return list
}
