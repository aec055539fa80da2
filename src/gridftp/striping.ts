import type { Range } from '../lib/range-set.ts'
import { type DownloadRequest, sendFile } from './download.ts'
import type { Reply } from './replies.ts'
import { gapsBetween } from './restart-ranges.ts'
import { moversForDownload, sendStripedFile } from './striped-download.ts'
import { receiveStripedFile } from './striped-upload.ts'
import type { CommandContext } from './types.ts'
import { receiveFile, type UploadRequest } from './upload.ts'

/**
 * Receives a file, by data movers after SPAS, else by this agent alone.
 *
 * @see GFD.020, striped data transfer
 */
export async function receiveUpload(
  context: CommandContext,
  request: UploadRequest
): Promise<Reply> {
  const stripes = context.state.mode === 'E' ? context.channel.incomingStripes : undefined
  if (stripes === undefined) return await receiveFile(context, request)
  return await receiveStripedFile(context, request, stripes)
}

/** Sends a file, by data movers where the client asked for stripes, else by this agent alone. */
export async function sendDownload(
  context: CommandContext,
  request: DownloadRequest
): Promise<Reply> {
  const movers = moversForDownload(context)
  if (movers === undefined) return await sendFile(context, request)
  const { verb, path, base } = request
  const rangesOf = (bytes: number): Range[] => wantedRanges(request, bytes)
  return await sendStripedFile(context, { verb, path, base, rangesOf }, movers)
}

function wantedRanges(request: DownloadRequest, bytes: number): Range[] {
  const { offset, length = bytes, arrived = [] } = request
  const start = Math.min(offset, bytes)
  return gapsBetween(arrived, { start, end: Math.min(start + length, bytes) })
}
