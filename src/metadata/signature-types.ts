/** What a signature is for; mixed into the signed bytes so that one cannot pass for another. */
export type SignedPurpose =
  | 'ticket'
  | 'version-record'
  | 'location'
  | 'path'
  | 'nodes'
  | 'retirement'
  | 'surplus'

/** A payload, the signature over (purpose, payload), and the certificate of who signed. */
export interface SignedEnvelope {
  readonly payload: Uint8Array
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array
  /** Encoded membership certificate that names signer and roles; opaque here. */
  readonly certificate: Uint8Array
}

/** Signs as this agent. */
export interface Signer {
  readonly peerId: string
  sign(purpose: SignedPurpose, payload: Uint8Array): SignedEnvelope
}

/** Checks what others have signed. */
export interface Verifier {
  /**
   * Checks signature, certificate and that its roles allow this purpose: `versionManager` for all
   * but nodes, which any writer signs, and surplus, which is the `providerManager`'s. Both sign
   * locations.
   *
   * @param signedMs when it was signed, as far as the payload says so; a signer that had been shut out
   *   of the cluster by then is not believed.
   * @returns the signer's peer id.
   * @throws {UntrustedSignatureError}
   */
  verify(purpose: SignedPurpose, envelope: SignedEnvelope, signedMs?: number): string
}
