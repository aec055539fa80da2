import { CODE_P2P, type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { MalformedError } from '../lib/errors.ts'
import { parsePeerId } from './peer-identity.ts'

/** Parses a multiaddr. @throws {MalformedError} */
export function parseAddress(text: string): Multiaddr {
  try {
    return multiaddr(text)
  } catch (error) {
    throw new MalformedError('multiaddr', JSON.stringify(text.slice(0, 200)), { cause: error })
  }
}

/** Parses a multiaddr that says whom it leads to. @throws {MalformedError} if it ends in no `/p2p/…`. */
export function parseFullAddress(text: string): { address: Multiaddr; peerId: string } {
  const address = parseAddress(text)
  const last = address.getComponents().at(-1)
  if (last?.code !== CODE_P2P || last.value === undefined) {
    throw new MalformedError('multiaddr', `${text.slice(0, 200)} does not end in /p2p/…`)
  }
  parsePeerId(last.value)
  return { address, peerId: last.value }
}

// All addresses of one machine or network of IPv6 begin with the same 64 bits.
const NETWORK_GROUPS = 4

/**
 * Where a connection comes from, for limits by origin: an IPv4 address, or the network of an IPv6 one,
 * since whoever has one of those has as many as it likes.
 */
export function originOf(address: Multiaddr): string {
  const host = address.getComponents().find(({ name }) => name === 'ip4' || name === 'ip6')
  const { name, value = '' } = host ?? {}
  if (name !== 'ip6') return value
  const [head = '', tail] = value.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: Math.max(0, 8 - before.length - after.length) }, () => '0')
  const groups = tail === undefined ? before : [...before, ...zeros, ...after]
  return groups.slice(0, NETWORK_GROUPS).join(':')
}

/** Those of the addresses that can be parsed: what other peers say is not worth an error. */
export function parseUsableAddresses(texts: readonly string[]): Multiaddr[] {
  return texts.flatMap((text) => {
    try {
      return [parseAddress(text)]
    } catch {
      return []
    }
  })
}
