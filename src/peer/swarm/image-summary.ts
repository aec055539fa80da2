import type { Wait } from './errors.ts'
import type { ImageSession } from './session.ts'

/** What an agent does with an image: fetch it, give it to neighbours, or wait for somebody to ask. */
export type ImageRole = 'downloading' | 'seeding' | 'idle'

/** One image of an agent in short; costs next to nothing to make. */
export interface ImageSummary {
  /** Manifest root, hexadecimal. */
  readonly image: string
  readonly role: ImageRole
  readonly bytes: number
  readonly chunks: number
  /** Chunks, and their bytes, that this agent has, zeros included. */
  readonly bytesHeld: number
  readonly chunksHeld: number
  readonly neighbourCount: number
  /** Bytes a second that come and go, of late. */
  readonly receivedPerSecond: number
  readonly sentPerSecond: number
  /** Until all is there if chunks keep coming like that. */
  readonly etaMs?: number
  /** What a download waits for that gets nothing. */
  readonly wait?: Wait
}

// Less than this is no rate to count on, in bytes a second.
const LEAST_RATE = 1024

/** Milliseconds until all is there at that rate; undefined if nothing is missing or nothing comes. */
export function etaOf(
  { holdings, table }: Pick<ImageSession, 'holdings' | 'table'>,
  bytesPerSecond: number
): number | undefined {
  const missingBytes = table.manifest.bytes - holdings.bytes
  if (missingBytes === 0 || bytesPerSecond < LEAST_RATE) return undefined
  return Math.round((missingBytes / bytesPerSecond) * 1000)
}

/** Sums an image up. */
export function summarise(session: ImageSession): ImageSummary {
  const { table, holdings, neighbours, downloader, accounts, isDownloading } = session
  const { bytes, chunkCount: chunks } = table.manifest
  const receivedPerSecond = isDownloading ? Math.round(downloader?.ratePerSecond ?? 0) : 0
  const etaMs = etaOf(session, receivedPerSecond)
  const wait = downloader?.wait
  return {
    image: session.image,
    role: isDownloading ? 'downloading' : neighbours.size > 0 ? 'seeding' : 'idle',
    bytes,
    chunks,
    bytesHeld: holdings.bytes,
    chunksHeld: holdings.chunks,
    neighbourCount: neighbours.size,
    receivedPerSecond,
    sentPerSecond: Math.round(accounts.sentPerSecond()),
    ...(etaMs === undefined ? {} : { etaMs }),
    ...(wait === undefined ? {} : { wait })
  }
}
