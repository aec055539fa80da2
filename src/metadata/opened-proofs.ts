import { blake3 } from '../lib/blake3.ts'
import { concatBytes, MIB, toHex } from '../lib/bytes.ts'
import { LruCache } from '../lib/lru-cache.ts'
import type { Verifier } from './signature-types.ts'
import { encodeEnvelope } from './signed.ts'
import type { NodeProof } from './ticket-types.ts'
import { type OpenedProof, openProof } from './tickets.ts'

export interface OpenedProofsOptions {
  /** Bytes of opened proofs that are remembered, about. @default 8 MiB */
  readonly maxBytes?: number
}

const DIGEST_BYTES = 100
const PROOF_BYTES = 2000

/**
 * Checks signatures of proofs and remembers those that hold: the nodes of one batch come in several
 * parts, each with the proof of all.
 */
export class OpenedProofs {
  readonly #verifier: Verifier
  readonly #opened: LruCache<OpenedProof>

  constructor(verifier: Verifier, { maxBytes = 8 * MIB }: OpenedProofsOptions = {}) {
    this.#verifier = verifier
    this.#opened = new LruCache(maxBytes)
  }

  /** @throws {UntrustedSignatureError | MalformedError} */
  open(proof: NodeProof): OpenedProof {
    // By all of its bytes: signatures alone would also name a proof that was changed under them.
    const bytes = concatBytes([encodeEnvelope(proof.ticket), encodeEnvelope(proof.nodes)])
    const name = toHex(blake3(bytes))
    const known = this.#opened.get(name)
    if (known !== undefined) return known
    const opened = openProof(this.#verifier, proof)
    this.#opened.set(name, opened, PROOF_BYTES + opened.digests.size * DIGEST_BYTES)
    return opened
  }
}
