/**
 * Orders to delete: what a version manager signs (purpose `retirement`) so that a provider takes
 * away what nothing refers to any more. An order is good for one provider and for one collection
 * there, whose name is drawn anew each time, so it cannot be used again or elsewhere. Integers are
 * big-endian; text is a length (2) and UTF-8.
 *
 * ```text
 *    0   1  format, 1
 *    1   1  kind of the keys: 0 chunks, 1 nodes, 2 pages, 3 records
 *    2   1  1 if it only asks what would be deleted (chunks only), else 0
 *    3      text  peer id of the provider
 *           text  name of the collection
 *        2  count, 1 to 1,024
 *           count × { length, 1 to 1,024 (2) | key }
 * ```
 */
import type { ProviderId } from '../chunks/types.ts'
import { ByteReader, ByteWriter } from '../lib/bytes.ts'
import { UntrustedSignatureError } from '../metadata/errors.ts'
import type { SignedEnvelope, Signer, Verifier } from '../metadata/signature-types.ts'
import type { MetadataKind } from '../metadata/store-types.ts'

/** Keys in one order. */
export const MAX_ORDER_KEYS = 1024

const FORMAT = 1
const KINDS = ['chunks', 'nodes', 'pages', 'records'] as const satisfies readonly RetiredKind[]
const MAX_KEY_BYTES = 1024
const MAX_NAME_LENGTH = 200

/** What keys of an order name. */
export type RetiredKind = 'chunks' | MetadataKind

export interface RetirementOrder {
  readonly kind: RetiredKind
  readonly provider: ProviderId
  readonly collection: string
  readonly keys: readonly Uint8Array[]
  /** Only says what would be deleted; for chunks. @default false */
  readonly isDryRun?: boolean | undefined
}

/** @throws {RangeError} for too many keys or one that is too long. */
export function encodeRetirementOrder(order: RetirementOrder): Uint8Array {
  const { kind, provider, collection, keys, isDryRun = false } = order
  if (keys.length < 1 || keys.length > MAX_ORDER_KEYS) {
    throw new RangeError(`an order of ${keys.length} keys`)
  }
  if (isDryRun && kind !== 'chunks') throw new RangeError(`a dry run of ${kind}`)
  const writer = new ByteWriter(200 + keys.length * 34).u8(FORMAT).u8(KINDS.indexOf(kind))
  writer.u8(isDryRun ? 1 : 0)
  for (const name of [provider, collection]) {
    const text = Buffer.from(name)
    writer.u16(text.byteLength).bytes(text)
  }
  writer.u16(keys.length)
  for (const key of keys) {
    if (key.byteLength < 1 || key.byteLength > MAX_KEY_BYTES) {
      throw new RangeError(`a key of ${key.byteLength} bytes`)
    }
    writer.u16(key.byteLength).bytes(key)
  }
  return writer.finish()
}

/** @throws {MalformedError} */
export function decodeRetirementOrder(bytes: Uint8Array): RetirementOrder {
  const reader: ByteReader = new ByteReader(bytes, 'retirement order')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const kind = KINDS[reader.u8()] ?? reader.fail('keys of an unknown kind')
  const dryRun = reader.u8()
  if (dryRun > (kind === 'chunks' ? 1 : 0)) reader.fail(`dry run ${dryRun} of ${kind}`)
  const provider = readName(reader)
  const collection = readName(reader)
  const count = reader.u16()
  if (count < 1 || count > MAX_ORDER_KEYS) reader.fail(`${count} keys`)
  const keys = Array.from({ length: count }, () => {
    const length = reader.u16()
    if (length < 1 || length > MAX_KEY_BYTES) reader.fail(`a key of ${length} bytes`)
    return reader.bytes(length)
  })
  reader.end()
  const order = { kind, provider, collection, keys }
  return dryRun === 1 ? { ...order, isDryRun: true } : order
}

/** Signs an order. */
export function signRetirementOrder(signer: Signer, order: RetirementOrder): SignedEnvelope {
  return signer.sign('retirement', encodeRetirementOrder(order))
}

/**
 * Reads an order and checks who signed it, and that it is meant for this provider and for such
 * keys.
 *
 * @throws {UntrustedSignatureError} if the signature does not hold or it is another's order.
 * @throws {MalformedError} if what was signed is not an order.
 */
export function verifyRetirementOrder(
  verifier: Verifier,
  envelope: SignedEnvelope,
  expected: Pick<RetirementOrder, 'provider' | 'kind'>
): RetirementOrder {
  verifier.verify('retirement', envelope)
  const order = decodeRetirementOrder(envelope.payload)
  if (order.provider !== expected.provider || order.kind !== expected.kind) {
    const [asked, own] = [order, expected].map(({ kind, provider }) => `${kind} of ${provider}`)
    throw new UntrustedSignatureError(`an order to delete ${asked}, at ${own}`)
  }
  return order
}

function readName(reader: ByteReader): string {
  const name = reader.text()
  if (name.length > MAX_NAME_LENGTH) reader.fail(`a name of ${name.length} characters`)
  return name
}
