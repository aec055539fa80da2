import type { WriteBlockOptions } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Range } from '../lib/range-set.ts'
import type { PublishOptions, WriteProgress } from './blob-writer-types.ts'
import type { VersionSummary } from './types.ts'

/**
 * One upload: blocks in any order become one new version. BlobWriter says what each method does, and
 * does it for uploads of any size.
 */
export interface Upload {
  /** Aborted, with the reason, when the upload has failed. */
  readonly signal: AbortSignal
  readonly progress: WriteProgress
  write(offset: number, bytes: Uint8Array, options?: WriteBlockOptions): Promise<void>
  tryWrite(offset: number, bytes: Uint8Array): boolean
  extendTo(bytes: number): void
  checkpoint(): Promise<Iterable<Range>>
  suspend(): Promise<void>
  readBack(offset: number, options?: AbortOptions): AsyncIterable<Uint8Array>
  publish(options?: PublishOptions): Promise<VersionSummary>
  abort(): Promise<void>
}
