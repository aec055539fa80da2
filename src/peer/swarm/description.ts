import type { ImageSession } from './session.ts'

/** A neighbour as the CLI shows it. */
export interface NeighbourDescription {
  readonly peerId: string
  readonly roles: readonly string[]
  /** It wanted nothing when it came. */
  readonly isSource: boolean
  readonly wants: boolean
  /** Different chunks that it holds. */
  readonly chunksHeld: number
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly ratePerSecond: number
  readonly bytesInFlight: number
  readonly failures: number
}

/** One image's swarm as this agent sees it. */
export interface SwarmDescription {
  /** Manifest root, hexadecimal. */
  readonly image: string
  readonly bytes: number
  readonly chunkBytes: number
  readonly chunks: number
  /** Chunks, and their bytes, that this agent has, zeros included. */
  readonly chunksHeld: number
  readonly bytesHeld: number
  readonly isDownloading: boolean
  readonly neighbours: readonly NeighbourDescription[]
}

/** Describes a session at a monotonic time. */
export function describeSession(session: ImageSession, nowMs: number): SwarmDescription {
  const { manifest } = session.table
  return {
    image: session.image,
    bytes: manifest.bytes,
    chunkBytes: manifest.chunkBytes,
    chunks: manifest.chunkCount,
    chunksHeld: session.holdings.chunks,
    bytesHeld: session.holdings.bytes,
    isDownloading: session.isDownloading,
    neighbours: Array.from(session.neighbours.values(), (neighbour) => ({
      peerId: neighbour.peerId,
      roles: Array.from(neighbour.member.roles),
      isSource: neighbour.isSource,
      wants: neighbour.wants,
      chunksHeld: neighbour.heldCount,
      bytesReceived: neighbour.scorecard.bytes,
      bytesSent: session.sentBytes(neighbour),
      ratePerSecond: neighbour.scorecard.ratePerSecond(nowMs),
      bytesInFlight: session.downloader?.inFlightBytes(neighbour.peerId) ?? 0,
      failures: neighbour.scorecard.failures
    }))
  }
}
