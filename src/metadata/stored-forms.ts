import { asBuffer } from '../lib/bytes.ts'
import { sendable } from '../lib/worker-call.ts'
import type { RecordRow } from './disk-node-store-worker.ts'
import { MetadataStoreError } from './errors.ts'
import type { SignedPurpose } from './signature-types.ts'
import { decodeEnvelope, encodeEnvelope } from './signed.ts'
import type { NamedRecord } from './store-types.ts'
import type { NodeProof } from './ticket-types.ts'

/** A record as its row. */
export function toRow({ name, sequence, purpose, envelope }: NamedRecord): RecordRow {
  const { payload } = envelope
  return {
    name,
    sequence,
    purpose,
    payload: sendable(payload),
    envelope: encodeEnvelope(envelope)
  }
}

/** A row as its record. @throws {MalformedError | MetadataStoreError} */
export function toRecord({ name, sequence, purpose, envelope }: RecordRow): NamedRecord {
  return { name, sequence, purpose: purposeOf(purpose), envelope: decodeEnvelope(envelope) }
}

function purposeOf(text: string): SignedPurpose {
  if (text === 'location' || text === 'version-record' || text === 'path') return text
  throw new MetadataStoreError(`a record of purpose ${text}`)
}

/** Names a proof by its signatures: equal names, equal proofs. */
export function proofName({ ticket, nodes }: NodeProof): string {
  return [ticket, nodes].map(({ signature }) => asBuffer(signature).toString('base64')).join()
}

/** Opens stored proofs so that equal ones become one object. */
export class ProofSharing {
  readonly #known = new Map<string, NodeProof>()

  /** @throws {MalformedError} */
  open(stored: { readonly ticket: Uint8Array; readonly proof: Uint8Array }): NodeProof {
    const proof = { ticket: decodeEnvelope(stored.ticket), nodes: decodeEnvelope(stored.proof) }
    const name = proofName(proof)
    const known = this.#known.get(name) ?? proof
    this.#known.set(name, known)
    return known
  }
}
