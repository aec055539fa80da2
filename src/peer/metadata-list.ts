/**
 * The metadata providers of the cluster, which own tree nodes, pages and records by key. Signed and
 * numbered: the highest number is the newest.
 *
 * ```text
 * metadata list: a statement (authority-statement.ts) of kind "metadata-list" whose payload is a CBOR map
 *   clusterId  32 bytes
 *   number     1, 2, 3 …
 *   providers  array, sorted by peerId, of { peerId: text, addresses: array of multiaddrs in text }
 * ```
 */
import { z } from 'zod'
import { equalBytes } from '../lib/bytes.ts'
import { ED25519_KEY_BYTES, type Ed25519Key } from '../lib/ed25519.ts'
import { MalformedError } from '../lib/errors.ts'
import { openStatement, signStatement } from './authority-statement.ts'
import { boundedText, defineMessage, exactBytes, naturalNumber } from './codec.ts'
import { MAX_PEER_ID_LENGTH } from './peer-identity.ts'

/** Most metadata providers of a cluster. */
export const MAX_METADATA_PROVIDERS = 1000

/** Most addresses that are told of one peer. */
export const MAX_ADDRESSES = 16

/** Most characters of a multiaddr. */
export const MAX_ADDRESS_LENGTH = 256

export interface MetadataProvider {
  readonly peerId: string
  readonly addresses: readonly string[]
}

export interface MetadataList {
  readonly clusterId: Uint8Array
  readonly number: number
  readonly providers: readonly MetadataProvider[]
}

/** Schema of the addresses of one peer, for messages that carry them. */
export const addressesSchema = z.array(boundedText(MAX_ADDRESS_LENGTH)).max(MAX_ADDRESSES)

const payloadCodec = defineMessage(
  z.strictObject({
    clusterId: exactBytes(ED25519_KEY_BYTES),
    number: naturalNumber,
    providers: z
      .array(
        z.strictObject({
          peerId: z.string().min(1).max(MAX_PEER_ID_LENGTH),
          addresses: addressesSchema
        })
      )
      .max(MAX_METADATA_PROVIDERS)
  }),
  { name: 'metadata list' }
)

/** Signs a list. The key must be the one that `clusterId` names. */
export function signMetadataList(key: Pick<Ed25519Key, 'sign'>, list: MetadataList): Uint8Array {
  const providers = list.providers
    .map(({ peerId, addresses }) => ({ peerId, addresses: [...addresses] }))
    .toSorted((a, b) => (a.peerId < b.peerId ? -1 : 1))
  return signStatement(key, 'metadata-list', payloadCodec.encode({ ...list, providers }))
}

/** Reads a list. @throws {MalformedError} if it is none, or not signed by this cluster's authority. */
export function verifyMetadataList(clusterId: Uint8Array, bytes: Uint8Array): MetadataList {
  const { payload, isAuthentic } = openStatement(clusterId, 'metadata-list', bytes)
  const list = payloadCodec.decode(payload)
  if (!isAuthentic || !equalBytes(list.clusterId, clusterId)) {
    throw new MalformedError('metadata list', 'not signed by the authority of this cluster')
  }
  return list
}
