import { ChunkUnavailableError } from '../chunks/errors.ts'
import type { ChunkWriter } from '../chunks/replica-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import { claimLeaves } from './claimed-leaves.ts'
import { UploadLostError } from './errors.ts'
import type { ContinueRequest, KeptUpload } from './kept-upload.ts'
import { type LeafList, LeafListBuilder } from './leaf-list.ts'
import { locateLeaves } from './located-leaves.ts'
import type { UploadJournal } from './upload-journal.ts'

/** What is asked for what a broken upload has stored. */
export interface ContinuedUploadComponents {
  readonly journal: Pick<UploadJournal, 'pages'>
  readonly writer: Pick<ChunkWriter, 'locate'>
}

/** Finds nothing of an upload that is to be continued. */
export function nothingKept({ claims }: ContinueRequest, reason: string): UploadLostError {
  return new UploadLostError(claims[0] ?? { start: 0, end: 0 }, reason)
}

/**
 * Gives an upload if it is the one that is to be continued, as far as anybody can tell.
 *
 * @throws {UploadLostError} if it is not.
 */
export function continuable(upload: KeptUpload | undefined, request: ContinueRequest): KeptUpload {
  if (upload?.isNoted !== true) throw nothingKept(request, 'nothing is kept of it')
  if (upload.mode !== request.mode) throw nothingKept(request, 'it was begun in another way')
  if (!isSameSize(upload, request)) throw nothingKept(request, 'the file has another size now')
  return upload
}

/**
 * Reads what is claimed of an upload, and makes it safe from collection for a lease.
 *
 * @returns its fragments with the providers that have them now, and whether that is all that is noted.
 * @throws {UploadLostError} if something of it is not there any more.
 * @throws {ChunkUnavailableError} if that cannot be said now.
 */
export async function loadClaimed(
  { journal, writer }: ContinuedUploadComponents,
  upload: KeptUpload,
  { claims }: ContinueRequest,
  options: AbortOptions = {}
): Promise<{ readonly leaves: LeafList; readonly isAll: boolean }> {
  const noted = new LeafListBuilder()
  for await (const page of journal.pages(upload.id)) {
    options.signal?.throwIfAborted()
    for (const { index, fragments } of page) {
      for (const fragment of fragments) noted.add(index, fragment)
    }
  }
  const { leaves, isAll, missing } = claimLeaves(noted.build(), claims, upload.chunkBytes)
  if (missing !== undefined) throw new UploadLostError(missing, 'it is not kept as it is claimed')
  return { leaves: await located(writer, leaves, upload, options), isAll }
}

async function located(
  writer: Pick<ChunkWriter, 'locate'>,
  leaves: LeafList,
  { chunkBytes }: KeptUpload,
  options: AbortOptions
): Promise<LeafList> {
  const builder = new LeafListBuilder({ expectedFragments: leaves.fragmentCount })
  const { missing, isAnybodySilent } = await locateLeaves(writer, leaves, {
    ...options,
    onRow: (row, replicas) => {
      builder.add(leaves.index(row), { ...leaves.fragment(row), replicas })
    }
  })
  const [lost] = missing
  if (lost !== undefined) {
    const { at, length, chunk, replicas } = leaves.fragment(lost)
    if (isAnybodySilent) throw new ChunkUnavailableError(toHex(chunk), replicas)
    const start = leaves.index(lost) * chunkBytes + at
    throw new UploadLostError({ start, end: start + length }, 'its chunk is gone')
  }
  return builder.build()
}

/** Clients announce all bytes of a file again, or those that are left. */
function isSameSize({ expectedBytes: before }: KeptUpload, request: ContinueRequest): boolean {
  const { expectedBytes: now, claims } = request
  if (before === undefined || now === undefined || now === before) return true
  const claimed = claims.reduce((sum, { start, end }) => sum + end - start, 0)
  return now === before - claimed
}
