/**
 * Orders to delete surplus copies: what a provider manager signs (purpose `surplus`) so that a
 * provider gives up chunks of which others have enough. An order is good for one provider and for a
 * short time. Integers are big-endian; text is a length (2) and UTF-8.
 *
 * ```text
 *    0   1  format, 1
 *    1   8  when it was signed, milliseconds since the epoch
 *    9      text  peer id of the provider
 *        2  count, 1 to 1,024
 *           count × chunk id (32)
 * ```
 */
import { CHUNK_ID_BYTES, checkChunkId } from '../chunks/chunk-id.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import { ByteReader, ByteWriter } from '../lib/bytes.ts'
import { UntrustedSignatureError } from '../metadata/errors.ts'
import type { SignedEnvelope, Signer, Verifier } from '../metadata/signature-types.ts'

/** Chunks in one order. */
export const MAX_SURPLUS_IDS = 1024

/** How far from the provider's own time an order may have been signed, in milliseconds. */
export const SURPLUS_ORDER_MS = 600_000

const FORMAT = 1
const MAX_NAME_LENGTH = 200

export interface SurplusOrder {
  readonly provider: ProviderId
  /** When it was signed, milliseconds since the epoch. */
  readonly issuedMs: number
  readonly ids: readonly ChunkId[]
}

/** @throws {RangeError} for too many ids or what is none. */
export function encodeSurplusOrder({ provider, issuedMs, ids }: SurplusOrder): Uint8Array {
  if (ids.length < 1 || ids.length > MAX_SURPLUS_IDS) {
    throw new RangeError(`an order of ${ids.length} chunks`)
  }
  const writer = new ByteWriter(200 + ids.length * CHUNK_ID_BYTES).u8(FORMAT).u64(issuedMs)
  const name = Buffer.from(provider)
  writer.u16(name.byteLength).bytes(name).u16(ids.length)
  for (const id of ids) {
    checkChunkId(id)
    writer.bytes(id)
  }
  return writer.finish()
}

/** @throws {MalformedError} */
export function decodeSurplusOrder(bytes: Uint8Array): SurplusOrder {
  const reader: ByteReader = new ByteReader(bytes, 'surplus order')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const issuedMs = reader.u64()
  const provider = reader.text()
  if (provider.length > MAX_NAME_LENGTH) reader.fail(`a name of ${provider.length} characters`)
  const count = reader.u16()
  if (count < 1 || count > MAX_SURPLUS_IDS) reader.fail(`${count} chunks`)
  const ids = Array.from({ length: count }, () => reader.bytes(CHUNK_ID_BYTES))
  reader.end()
  return { provider, issuedMs, ids }
}

/** Signs an order. */
export function signSurplusOrder(signer: Signer, order: SurplusOrder): SignedEnvelope {
  return signer.sign('surplus', encodeSurplusOrder(order))
}

/**
 * Reads an order and checks who signed it, that it is meant for this provider, and that it is not of
 * another time, when there may have been more copies.
 *
 * @throws {UntrustedSignatureError} if the signature does not hold or it is another order.
 * @throws {MalformedError} if what was signed is not an order.
 */
export function verifySurplusOrder(
  verifier: Verifier,
  envelope: SignedEnvelope,
  expected: { readonly provider: ProviderId; readonly nowMs: number }
): SurplusOrder {
  verifier.verify('surplus', envelope)
  const order = decodeSurplusOrder(envelope.payload)
  if (order.provider !== expected.provider) {
    throw new UntrustedSignatureError(`an order to trim ${order.provider}, at ${expected.provider}`)
  }
  const ageMs = Math.abs(expected.nowMs - order.issuedMs)
  if (ageMs > SURPLUS_ORDER_MS) {
    throw new UntrustedSignatureError(
      `an order to trim that is ${ageMs} ms old or early, at most ${SURPLUS_ORDER_MS}`
    )
  }
  return order
}
