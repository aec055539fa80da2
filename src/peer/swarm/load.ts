import type { Downloader } from './downloader.ts'
import type { Neighbour } from './neighbour.ts'
import type { UploadSlot } from './upload-slot.ts'

/** How much one image's session keeps for others; each figure has a limit. */
export interface SessionLoad {
  readonly neighbours: number
  /** Peers that are remembered as worth dialling. */
  readonly candidates: number
  /** Messages that wait for the slowest neighbour to read. */
  readonly queuedMessages: number
  /** Requests of the most demanding neighbour that are not answered. */
  readonly waitingRequests: number
  /** Chunks of one neighbour of which only some parts have come. */
  readonly unfinishedChunks: number
  /** Bytes that all neighbours have been asked for and have not sent. */
  readonly inFlightBytes: number
}

/** How much an agent keeps for others: the largest figures of all its images, and what they share. */
export interface SwarmLoad extends SessionLoad {
  /** Peers that are remembered as banned. */
  readonly bans: number
  /** Bytes of chunks that are read and not yet sent. */
  readonly uploadBytes: number
}

interface Loaded {
  readonly neighbours: ReadonlyMap<string, Neighbour>
  readonly downloader: Downloader | undefined
}

/** Adds up what a session keeps. */
export function loadOf(
  { neighbours, downloader }: Loaded,
  slots: ReadonlyMap<Neighbour, UploadSlot>,
  candidates: number
): SessionLoad {
  let [queuedMessages, waitingRequests, unfinishedChunks, inFlightBytes] = [0, 0, 0, 0]
  for (const { link, assemblies, peerId } of neighbours.values()) {
    queuedMessages = Math.max(queuedMessages, link.queuedCount)
    unfinishedChunks = Math.max(unfinishedChunks, assemblies.size)
    inFlightBytes += downloader?.inFlightBytes(peerId) ?? 0
  }
  for (const { pendingCount } of slots.values()) {
    waitingRequests = Math.max(waitingRequests, pendingCount)
  }
  const counts = { queuedMessages, waitingRequests, unfinishedChunks, inFlightBytes }
  return { neighbours: neighbours.size, candidates, ...counts }
}

/** The largest of each figure. */
export function largestOf(loads: readonly SessionLoad[]): SessionLoad {
  const largest = (of: (load: SessionLoad) => number): number => Math.max(0, ...loads.map(of))
  return {
    neighbours: largest(({ neighbours }) => neighbours),
    candidates: largest(({ candidates }) => candidates),
    queuedMessages: largest(({ queuedMessages }) => queuedMessages),
    waitingRequests: largest(({ waitingRequests }) => waitingRequests),
    unfinishedChunks: largest(({ unfinishedChunks }) => unfinishedChunks),
    inFlightBytes: largest(({ inFlightBytes }) => inFlightBytes)
  }
}
