import { BlobswarmError } from '../../lib/errors.ts'
import type { ExchangedPeer, GoodbyeReason } from '../protocols/swarm.ts'

/** What a download waits for when nothing arrives. */
export type WaitReason =
  /** Nobody who has the image could be reached. */
  | 'neighbours'
  /** Neighbours are there, but none holds a chunk that is missing. */
  | 'chunks'
  /** Chunks were asked for and have not come. */
  | 'answers'
  /** Chunks came and this machine's disk has not taken them. */
  | 'disk'
  /** The download rate limit. */
  | 'rate limit'

/** Thrown when a download made no progress for the longest time it may; the network is at fault. */
export class DownloadStalledError extends BlobswarmError {
  readonly reason: WaitReason
  readonly waitedMs: number

  constructor(image: string, reason: WaitReason, waitedMs: number) {
    super(
      `image ${image.slice(0, 16)}: nothing for ${Math.round(waitedMs)} ms, waiting for ${reason}`,
      'ERR_DOWNLOAD_STALLED'
    )
    this.reason = reason
    this.waitedMs = waitedMs
  }
}

/** Thrown when an image has more chunks than the swarm protocol carries. */
export class ImageTooLargeError extends BlobswarmError {
  constructor(image: string, chunkCount: number, limit: number) {
    super(
      `image ${image.slice(0, 16)} has ${chunkCount} chunks, at most ${limit} can be swarmed`,
      'ERR_IMAGE_TOO_LARGE'
    )
  }
}

/** Thrown when no agent that was asked could give a manifest page. */
export class PagesUnavailableError extends BlobswarmError {
  readonly asked: readonly string[]

  constructor(image: string, missing: number, asked: readonly string[], options?: ErrorOptions) {
    super(
      `image ${image.slice(0, 16)}: ${missing} manifest pages not available from ${asked.length} agents`,
      'ERR_PAGES_UNAVAILABLE',
      options
    )
    this.asked = asked
  }
}

/** Thrown when another agent does not want a channel for an image, or not any more. */
export class GoodbyeError extends BlobswarmError {
  readonly reason: GoodbyeReason
  /** Others who may have room, if it said so. */
  readonly peers: readonly ExchangedPeer[]

  constructor(peer: string, reason: GoodbyeReason, peers: readonly ExchangedPeer[] = []) {
    super(`peer ${peer} said goodbye: ${reason}`, 'ERR_SWARM_GOODBYE')
    this.reason = reason
    this.peers = peers
  }
}
