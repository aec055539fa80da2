/**
 * Signed payloads: tickets, version records, location records, batches of nodes. Integers are
 * big-endian.
 *
 * ```text
 * envelope
 *    0   1  format, 1
 *    1  64  Ed25519 signature over: "blobswarm " purpose " 1\n" payload
 *   65   2  length c of the certificate, at most 4,096
 *   67   c  membership certificate of the signer (peer/membership-certificate.ts)
 *         4  length p of the payload, at most 3 MiB
 *         p  payload
 * ```
 *
 * The purpose is not sent: the reader knows what it asked for, and a signature made for another
 * purpose does not verify.
 */

import { ByteReader, ByteWriter, concatBytes, MIB } from '../lib/bytes.ts'
import { ED25519_SIGNATURE_BYTES, type Ed25519Key } from '../lib/ed25519.ts'
import { MetadataLimitError } from './errors.ts'
import type { SignedEnvelope, SignedPurpose, Signer } from './signature-types.ts'

/** Bytes of a payload; a ticket with many versions in flight is the largest. */
export const MAX_SIGNED_PAYLOAD_BYTES = 3 * MIB

/** Bytes of a certificate. */
export const MAX_CERTIFICATE_BYTES = 4096

const FORMAT = 1

/** The bytes that are really signed for a purpose and payload. */
export function signingBytes(purpose: SignedPurpose, payload: Uint8Array): Uint8Array {
  return concatBytes([Buffer.from(`blobswarm ${purpose} 1\n`, 'latin1'), payload])
}

/** @throws {MetadataLimitError} if payload or certificate are too long to be read back. */
export function encodeEnvelope(envelope: SignedEnvelope): Uint8Array {
  const { payload, signature, certificate } = envelope
  checkLimit('signed payload', payload.byteLength, MAX_SIGNED_PAYLOAD_BYTES)
  checkLimit('certificate', certificate.byteLength, MAX_CERTIFICATE_BYTES)
  if (signature.byteLength !== ED25519_SIGNATURE_BYTES) {
    throw new RangeError(`a signature has 64 bytes, not ${signature.byteLength}`)
  }
  return new ByteWriter(71 + certificate.byteLength + payload.byteLength)
    .u8(FORMAT)
    .bytes(signature)
    .u16(certificate.byteLength)
    .bytes(certificate)
    .u32(payload.byteLength)
    .bytes(payload)
    .finish()
}

/** @throws {MalformedError} if it is not exactly one envelope. Says nothing about trust. */
export function decodeEnvelope(bytes: Uint8Array): SignedEnvelope {
  const reader = new ByteReader(bytes, 'signed envelope')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const signature = reader.bytes(ED25519_SIGNATURE_BYTES)
  const certificateBytes = reader.u16()
  if (certificateBytes > MAX_CERTIFICATE_BYTES) {
    reader.fail(`a certificate of ${certificateBytes} bytes`)
  }
  const certificate = reader.bytes(certificateBytes)
  const payloadBytes = reader.u32()
  if (payloadBytes > MAX_SIGNED_PAYLOAD_BYTES) reader.fail(`a payload of ${payloadBytes} bytes`)
  const payload = reader.bytes(payloadBytes)
  reader.end()
  return { payload, signature, certificate }
}

export interface LocalSignerComponents {
  readonly key: Pick<Ed25519Key, 'sign'>
  /** Peer id of the key, in text form. */
  readonly peerId: string
  /**
   * Encoded membership certificate of the peer; asked for each signature, because it is renewed.
   */
  readonly certificate: () => Uint8Array
  /** Told of each signature, so that who keeps what was signed need not check it. */
  readonly onSigned?: ((purpose: SignedPurpose, envelope: SignedEnvelope) => void) | undefined
}

/** Signs with this machine's own peer key. */
export class LocalSigner implements Signer {
  readonly peerId: string
  readonly #key: Pick<Ed25519Key, 'sign'>
  readonly #certificate: () => Uint8Array
  readonly #onSigned: LocalSignerComponents['onSigned']

  constructor(components: LocalSignerComponents) {
    this.peerId = components.peerId
    this.#key = components.key
    this.#certificate = components.certificate
    this.#onSigned = components.onSigned
  }

  sign(purpose: SignedPurpose, payload: Uint8Array): SignedEnvelope {
    checkLimit('signed payload', payload.byteLength, MAX_SIGNED_PAYLOAD_BYTES)
    const signature = this.#key.sign(signingBytes(purpose, payload))
    const envelope = { payload, signature, certificate: this.#certificate() }
    this.#onSigned?.(purpose, envelope)
    return envelope
  }
}

function checkLimit(what: string, actual: number, limit: number): void {
  if (actual > limit) throw new MetadataLimitError(`bytes of a ${what}`, actual, limit)
}
