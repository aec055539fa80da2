import type { Range } from '../lib/range-set.ts'
import type { BlobWriterOptions } from './blob-writer-types.ts'
import { UploadLostError } from './errors.ts'
import type { UploadOwner } from './kept-upload.ts'
import type { KeptUploads } from './kept-uploads.ts'
import type { OpenWriteOptions, RestartOptions } from './repository-types.ts'
import type { BlobDescription } from './types.ts'
import type { UploadOpener } from './upload-opener.ts'

/** Opens uploads of one kind into a blob. */
export interface OpensUploads<T> extends Pick<UploadOpener, 'reserve'> {
  open(
    description: BlobDescription,
    path: string,
    options: OpenWriteOptions & Pick<BlobWriterOptions, 'notes' | 'continuing'>
  ): Promise<T>
}

/** What opens uploads, and keeps those that break. */
export interface RestartableParts<T> {
  readonly opener: OpensUploads<T>
  /** Undefined where none is kept. */
  readonly kept: KeptUploads | undefined
}

/**
 * Opens an upload: one that can be continued when it breaks if that is asked for, or one that continues another.
 *
 * @throws {UploadLostError} if what is to be continued is not there any more.
 */
export async function openUpload<T>(
  parts: RestartableParts<T>,
  path: string,
  options: OpenWriteOptions
): Promise<T> {
  const { restart } = options
  if (restart !== undefined) return await openRestartable(parts, path, { ...options, restart })
  return await parts.opener.open(await parts.opener.reserve(path, options), path, options)
}

async function openRestartable<T>(
  parts: RestartableParts<T>,
  path: string,
  options: OpenWriteOptions & { readonly restart: RestartOptions }
): Promise<T> {
  const { user, continuing } = options.restart
  if (continuing !== undefined && continuing.length > 0) {
    return await openContinued(parts, { user, path }, { ...options, claims: continuing })
  }
  const { opener, kept } = parts
  const description = await opener.reserve(path, options)
  if (kept === undefined) return await opener.open(description, path, options)
  const { mode, expectedBytes } = options
  const { blob, chunkBytes } = description
  const notes = await kept.begin({ user, path }, { mode, blob, chunkBytes, expectedBytes })
  try {
    return await opener.open(description, path, { ...options, notes })
  } catch (error) {
    await notes.remove()
    throw error
  }
}

async function openContinued<T>(
  { opener, kept }: RestartableParts<T>,
  owner: UploadOwner,
  options: OpenWriteOptions & { readonly claims: readonly Range[] }
): Promise<T> {
  const { mode, claims, expectedBytes, signal } = options
  const request = { mode, claims, expectedBytes }
  const [first = { start: 0, end: 0 }] = claims
  if (kept === undefined) throw new UploadLostError(first, 'broken uploads are not kept here')
  const { chunkBytes } = kept.find(owner, request)
  // The path may name another file by now; if none, the new one is cut as the old one was.
  const description = await opener.reserve(owner.path, { ...options, chunkBytes })
  if (description.chunkBytes !== chunkBytes) {
    throw new UploadLostError(first, 'there is another file now, with chunks of another size')
  }
  const { notes, leaves } = await kept.resume(owner, request, { signal })
  try {
    const continued = { ...options, notes, continuing: leaves }
    return await opener.open(description, owner.path, continued)
  } catch (error) {
    notes.suspend()
    throw error
  }
}
