import type { Peer, PeerData, PeerId, PeerStore } from '@libp2p/interface'

/**
 * Keeps libp2p from noting what nobody reads. For each stream that is opened, at both ends, it merges the
 * protocol into what it knows of the peer, and for each connection the time of the dial: a lock, a record
 * that is decoded, compared, encoded and stored again, and an event. What it has to know is told by hello.
 */
export function spareNotes(self: PeerId, peerStore: PeerStore): void {
  const merge = peerStore.merge.bind(peerStore)
  peerStore.merge = async (peerId, news, options) =>
    isNote(news) && !self.equals(peerId) ? nothingKnown(peerId) : await merge(peerId, news, options)
}

/** Only the protocol of a stream, or how a dial went. */
function isNote({ protocols, metadata, multiaddrs, tags, peerRecordEnvelope }: PeerData): boolean {
  if (tags !== undefined || peerRecordEnvelope !== undefined) return false
  const isOfStream = protocols !== undefined && metadata === undefined && multiaddrs === undefined
  return isOfStream || (metadata !== undefined && protocols === undefined)
}

function nothingKnown(id: PeerId): Peer {
  return { id, addresses: [], protocols: [], metadata: new Map(), tags: new Map() }
}
