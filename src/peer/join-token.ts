/**
 * One line that holds all that a new agent needs to join a cluster.
 *
 * ```text
 * bst1.<base64url, without padding, of a CBOR map>
 *   clusterId  32 bytes, what the new agent will trust
 *   addresses  array of text: multiaddrs, each with /p2p/, of agents that issue certificates
 *   secret     32 bytes; the issuer keeps its hash only
 *   expiresMs  milliseconds since the epoch
 * ```
 */
import { z } from 'zod'
import { ED25519_KEY_BYTES } from '../lib/ed25519.ts'
import { parseFullAddress } from './addresses.ts'
import { defineMessage, exactBytes, naturalNumber } from './codec.ts'
import { JoinRefusedError } from './errors.ts'
import { addressesSchema } from './metadata-list.ts'

/** Bytes of a token's secret. */
export const TOKEN_SECRET_BYTES = 32

const PREFIX = 'bst1.'
const MAX_TOKEN_LENGTH = 8192

/** What a token says. */
export interface JoinToken {
  readonly clusterId: Uint8Array
  /** Full multiaddrs (with `/p2p/…`), at least one. */
  readonly addresses: readonly string[]
  readonly secret: Uint8Array
  readonly expiresMs: number
}

const tokenCodec = defineMessage(
  z.strictObject({
    clusterId: exactBytes(ED25519_KEY_BYTES),
    addresses: addressesSchema.min(1),
    secret: exactBytes(TOKEN_SECRET_BYTES),
    expiresMs: naturalNumber
  }),
  { name: 'join token', maxBytes: MAX_TOKEN_LENGTH }
)

/** Writes a token as one line. */
export function formatJoinToken(token: JoinToken): string {
  const { clusterId, addresses, secret, expiresMs } = token
  const bytes = tokenCodec.encode({ clusterId, addresses: [...addresses], secret, expiresMs })
  return PREFIX + Buffer.from(bytes).toString('base64url')
}

/** Reads a token, with white space around it or not. @throws {JoinRefusedError} if it is none. */
export function parseJoinToken(text: string): JoinToken {
  const line = text.trim()
  if (!line.startsWith(PREFIX))
    throw new JoinRefusedError(`the token does not begin with ${PREFIX}`)
  const encoded = line.slice(PREFIX.length)
  if (line.length > MAX_TOKEN_LENGTH || !/^[A-Za-z0-9_-]+$/.test(encoded)) {
    throw new JoinRefusedError('the token is malformed')
  }
  try {
    const token = tokenCodec.decode(Buffer.from(encoded, 'base64url'))
    for (const address of token.addresses) parseFullAddress(address)
    return token
  } catch (error) {
    throw new JoinRefusedError('the token is malformed', { cause: error })
  }
}
