import type { Connection, Libp2pEvents, PeerStore } from '@libp2p/interface'
import { serviceCapabilities } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import type { TypedEventTarget } from 'main-event'

export interface IntroductionsComponents {
  readonly events: TypedEventTarget<Libp2pEvents>
  readonly peerStore: PeerStore
}

/** What libp2p is to know of a peer. */
export interface Introduction {
  /** Where it can be dialled. */
  readonly addresses: readonly Multiaddr[]
  /** Those of its protocols that libp2p's own parts use. */
  readonly protocols: readonly string[]
}

/**
 * Stands in for libp2p's identify: hello has told all that identify asks for, signed by the authority
 * where it matters, so that a second exchange on each connection, whose records take signing, verifying
 * and storing at both ends, is saved.
 */
export class Introductions {
  /** What kad-dht looks for in a node before it will be part of it. */
  readonly [serviceCapabilities] = ['@libp2p/identify']
  readonly #components: IntroductionsComponents

  constructor(components: IntroductionsComponents) {
    this.#components = components
  }

  /** Tells libp2p who is at the other end of a connection. */
  async introduce(connection: Connection, { addresses, protocols }: Introduction): Promise<void> {
    const { events, peerStore } = this.#components
    const { remotePeer: peerId } = connection
    if (addresses.length === 0 && protocols.length === 0) return
    await peerStore.patch(peerId, {
      ...(addresses.length === 0 ? {} : { multiaddrs: [...addresses] }),
      protocols: [...protocols]
    })
    if (protocols.length === 0) return
    const detail = { peerId, connection, protocols: [...protocols], listenAddrs: [...addresses] }
    events.safeDispatchEvent('peer:identify', { detail })
  }
}
