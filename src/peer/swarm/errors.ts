import { BlobswarmError } from '../../lib/errors.ts'
import type { ExchangedPeer, GoodbyeReason } from '../protocols/swarm.ts'

/** What a download waits for when nothing arrives. */
export type WaitReason =
  /** Nobody who has the image is known; the directory is being asked. */
  | 'look-up'
  /** Agents that may have the image are being connected to: dial, hello, handshake. */
  | 'dial'
  /** Nobody who has the image could be reached; it is tried again after a while. */
  | 'neighbours'
  /** Neighbours are there, but none holds a chunk that is missing. */
  | 'chunks'
  /** What is missing is at sources only, which have sent it to others: these are to pass it on. */
  | 'spread'
  /** Chunks were asked for and have not come. */
  | 'answers'
  /** Chunks came and this machine's disk has not taken them. */
  | 'disk'
  /** The download rate limit. */
  | 'rate limit'

/** A wait of a download that something is known about; times in milliseconds from now on or until now. */
export interface Wait {
  readonly reason: WaitReason
  /** How long nothing has come. */
  readonly waitedMs: number
  /** When something else is tried. */
  readonly nextInMs: number
  /** When the download fails if nothing comes; undefined while its own rate limit is what it waits for. */
  readonly giveUpInMs: number | undefined
  /** Who is waited for, some of them. */
  readonly peers: readonly string[]
}

/** Thrown when a download made no progress for the longest time it may; the network is at fault. */
export class DownloadStalledError extends BlobswarmError {
  readonly reason: WaitReason
  readonly waitedMs: number
  /** Who was waited for, some of them. */
  readonly peers: readonly string[]

  constructor(image: string, wait: Pick<Wait, 'reason' | 'waitedMs' | 'peers'>) {
    const { reason, waitedMs, peers } = wait
    const from = peers.length === 0 ? '' : ` from ${peers.join(', ')}`
    const seconds = (waitedMs / 1000).toFixed(1)
    super(
      `image ${image.slice(0, 16)}: nothing for ${seconds} s, waiting for ${WAITED_FOR[reason]}${from}`,
      'ERR_DOWNLOAD_STALLED'
    )
    this.reason = reason
    this.waitedMs = waitedMs
    this.peers = peers
  }
}

const WAITED_FOR: Readonly<Record<WaitReason, string>> = {
  'look-up': 'the directory to name agents that have it',
  dial: 'a connection to agents that have it',
  neighbours: 'an agent that has it and can be reached',
  chunks: 'a neighbour to get the chunks that are missing',
  spread: 'others to pass on what they were sent',
  answers: 'chunks that were asked for',
  disk: 'the disk',
  'rate limit': 'the download rate limit'
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

/** How far the search for manifest pages came. */
export interface PagesFailure {
  /** Pages that were not found. */
  readonly missing: number
  /** Agents that were asked. */
  readonly asked: readonly string[]
  /** Those of them that sent wrong bytes. */
  readonly liars: readonly string[]
}

/** Thrown when no agent that was asked could give a manifest page. */
export class PagesUnavailableError extends BlobswarmError {
  readonly asked: readonly string[]
  /** Agents that sent wrong bytes. */
  readonly liars: readonly string[]

  constructor(image: string, { missing, asked, liars }: PagesFailure, options?: ErrorOptions) {
    const wrong = liars.length === 0 ? '' : `; wrong ones came from ${liars.join(', ')}`
    super(
      `image ${image.slice(0, 16)}: ${missing} manifest pages not available from ${asked.length} agents${wrong}`,
      'ERR_PAGES_UNAVAILABLE',
      options
    )
    this.asked = asked
    this.liars = liars
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
