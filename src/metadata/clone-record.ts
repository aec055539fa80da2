import type { AbortOptions } from '../lib/abort-options.ts'
import type { Logger } from '../lib/logger.ts'
import type { SignedVersionRecord } from './sealing-types.ts'
import type { Signer, Verifier } from './signature-types.ts'
import type { RecordStore } from './store-types.ts'
import type { BlobDescription } from './types.ts'
import { signRecord, verifyRecord, versionRecordName } from './version-record.ts'

export interface CloneRecordComponents {
  readonly metadata: RecordStore
  readonly signer: Signer
  /** Trusts at least the signer. */
  readonly verifier: Verifier
  readonly logger: Logger
}

/** A clone, and the record of the version that its version 0 stands for. */
export interface CloneRecordRequest {
  readonly clone: BlobDescription
  readonly source: SignedVersionRecord
}

/**
 * Stores the signed record of a clone's version 0, which shares the manifest of its source, and
 * returns it; twice gives the same.
 */
export async function putCloneRecord(
  { metadata, signer, verifier, logger }: CloneRecordComponents,
  { clone, source: { record: source } }: CloneRecordRequest,
  options: AbortOptions = {}
): Promise<SignedVersionRecord> {
  const { blob, createdMs } = clone
  const name = versionRecordName(blob, 0)
  const [stored] = await metadata.getRecords([name], options)
  if (stored !== undefined) {
    try {
      return verifyRecord(verifier, stored.envelope, { blob, version: 0 })
    } catch (error) {
      logger.error('%s is not to be trusted and made again: %e', name, error)
    }
  }
  const parent = { blob: source.blob, version: source.version }
  const record = { ...source, blob, version: 0, parent, timeMs: createdMs, note: '' }
  const signed = signRecord(signer, record)
  const { envelope } = signed
  await metadata.putRecords([{ name, sequence: 1, purpose: 'version-record', envelope }], options)
  return signed
}
