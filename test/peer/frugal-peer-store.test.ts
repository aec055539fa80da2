import { expect, test } from '@jest/globals'
import type { Peer, PeerData, PeerId, PeerStore } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { spareNotes } from '../../src/peer/frugal-peer-store.ts'
import { parsePeerId } from '../../src/peer/peer-identity.ts'

const SELF = parsePeerId('12D3KooWM18FUWdauhpYxLkiTKBMwgPhANXRbRH7YxXERaN8JqNS')
const OTHER = parsePeerId('12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA')
const ADDRESS = multiaddr('/ip4/127.0.0.1/tcp/4001')
const protocols = ['/some/1']
const metadata = { 'last-dial-success': new Uint8Array(1) }

/** A peer store and what is really merged into it. */
function frugalStore(): { store: PeerStore; merged: PeerData[] } {
  const merged: PeerData[] = []
  const merge = async (id: PeerId, news: PeerData): Promise<Peer> => {
    merged.push(news)
    return { id, addresses: [], protocols: [], metadata: new Map(), tags: new Map() }
  }
  const store = { merge } as unknown as PeerStore
  spareNotes(SELF, store)
  return { store, merged }
}

test.each<[string, PeerData]>([
  ['the protocol of a stream', { protocols }],
  ['when a peer was dialled', { metadata, multiaddrs: [ADDRESS] }],
  ['that a peer was dialled in vain', { metadata }]
])('does not note %s', async (_name, news) => {
  const { store, merged } = frugalStore()

  const peer = await store.merge(OTHER, news)

  expect(merged).toEqual([])
  expect(peer.id).toBe(OTHER)
})

test.each<[string, PeerId, PeerData]>([
  ['the protocols of this agent', SELF, { protocols }],
  ['addresses', OTHER, { multiaddrs: [ADDRESS] }],
  ['addresses with protocols', OTHER, { multiaddrs: [ADDRESS], protocols }],
  ['tags', OTHER, { tags: { kad: { value: 1 } } }]
])('notes %s', async (_name, peer, news) => {
  const { store, merged } = frugalStore()

  await store.merge(peer, news)

  expect(merged).toEqual([news])
})
