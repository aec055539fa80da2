import type { Libp2p } from '@libp2p/interface'

/** What is used of libp2p's address manager here; its type hides it. */
interface InnerComponents {
  readonly components: {
    readonly addressManager: {
      _updatePeerStoreAddresses: (() => void) & { readonly stop?: () => void }
    }
  }
}

/**
 * Ends the timer by which libp2p notes its own addresses, and lets none begin. It is started, for a second, by every
 * listener that closes, so that without this each node outlives its `stop()`.
 */
export function endAddressTimer(libp2p: Libp2p): void {
  const { addressManager } = (libp2p as unknown as InnerComponents).components
  addressManager._updatePeerStoreAddresses.stop?.()
  addressManager._updatePeerStoreAddresses = () => {}
}
