import { expect, test } from '@jest/globals'
import type { Connection, Libp2pEvents, PeerData, PeerId, PeerStore } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { TypedEventEmitter } from 'main-event'
import { Introductions } from '../../src/peer/introductions.ts'
import { parsePeerId } from '../../src/peer/peer-identity.ts'

const PEER = parsePeerId('12D3KooWM18FUWdauhpYxLkiTKBMwgPhANXRbRH7YxXERaN8JqNS')
const ADDRESS = multiaddr('/ip4/127.0.0.1/tcp/4001')

/** What libp2p hears of a peer. */
class Scene {
  readonly stored: PeerData[] = []
  readonly told: (readonly string[])[] = []
  readonly introductions: Introductions
  readonly connection = { remotePeer: PEER } as Connection

  constructor() {
    const events = new TypedEventEmitter<Libp2pEvents>()
    events.addEventListener('peer:identify', ({ detail }) => this.told.push(detail.protocols))
    const patch = async (_peer: PeerId, news: PeerData): Promise<void> => {
      this.stored.push(news)
    }
    const peerStore = { patch } as unknown as PeerStore
    this.introductions = new Introductions({ events, peerStore })
  }
}

test('a server of the DHT is made known with its addresses before its protocol is', async () => {
  const scene = new Scene()

  await scene.introductions.introduce(scene.connection, {
    addresses: [ADDRESS],
    protocols: ['/kad']
  })

  expect(scene.stored).toEqual([{ multiaddrs: [ADDRESS], protocols: ['/kad'] }])
  expect(scene.told).toEqual([['/kad']])
})

test('of everybody else only the addresses are noted', async () => {
  const scene = new Scene()

  await scene.introductions.introduce(scene.connection, { addresses: [ADDRESS], protocols: [] })

  expect(scene.stored).toEqual([{ multiaddrs: [ADDRESS], protocols: [] }])
  expect(scene.told).toEqual([])
})

test('who tells no address does not lose those that are known', async () => {
  const scene = new Scene()

  await scene.introductions.introduce(scene.connection, { addresses: [], protocols: ['/kad'] })
  await scene.introductions.introduce(scene.connection, { addresses: [], protocols: [] })

  expect(scene.stored).toEqual([{ protocols: ['/kad'] }])
})
