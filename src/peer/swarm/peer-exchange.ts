import type { ImageSession } from './session.ts'

/** What this agent and another one exchange, all images together. */
export interface PeerExchange {
  /** Images for which they are neighbours now. */
  readonly images: readonly string[]
  readonly bytesReceived: number
  readonly bytesSent: number
  /** Failure domain that it said it is in; empty if it did not. */
  readonly zone: string
}

const NOTHING: PeerExchange = { images: [], bytesReceived: 0, bytesSent: 0, zone: '' }

/** Adds up sessions by agent; those that are neighbours no more are in it with their bytes. */
export function exchangesOf(sessions: readonly ImageSession[]): Map<string, PeerExchange> {
  const exchanges = new Map<string, PeerExchange>()
  for (const { accounts, image } of sessions) {
    for (const { peerId, receivedBytes, sentBytes, leftBecause, zone } of accounts.peers()) {
      const { images, bytesReceived, bytesSent } = exchanges.get(peerId) ?? NOTHING
      exchanges.set(peerId, {
        images: leftBecause === undefined ? [...images, image] : images,
        bytesReceived: bytesReceived + receivedBytes,
        bytesSent: bytesSent + sentBytes,
        zone
      })
    }
  }
  return exchanges
}
