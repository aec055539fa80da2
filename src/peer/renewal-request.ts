import type { AbortOptions } from '../lib/abort-options.ts'
import { toError } from '../lib/to-error.ts'
import { parseFullAddress } from './addresses.ts'
import type { Dialler } from './dialler.ts'
import type { Greeter } from './greeter.ts'

export interface RenewalRequestComponents {
  /** Peer id of this agent. */
  readonly peerId: string
  readonly greeter: Pick<Greeter, 'issuers' | 'renew'>
  readonly dialler: Pick<Dialler, 'dial'>
}

/**
 * Asks those who issue certificates for a newer one of this agent's, one after the other, connected
 * ones first.
 *
 * @param addresses full multiaddrs of others to ask.
 * @returns it, neither verified nor entered; undefined if there is nobody to ask.
 * @throws {ProtocolRefusedError | PeerUnreachableError | PeerTimeoutError} what the last one said.
 */
export async function requestRenewal(
  components: RenewalRequestComponents,
  addresses: readonly string[],
  options: AbortOptions = {}
): Promise<Uint8Array | undefined> {
  const { peerId: self, greeter, dialler } = components
  const connections = greeter.issuers()
  const asked = new Set([self, ...connections.map(({ remotePeer }) => remotePeer.toString())])
  const attempts = connections.map((connection) => async () => greeter.renew(connection))
  for (const { address, peerId } of addresses.map(parseFullAddress)) {
    if (asked.has(peerId)) continue
    attempts.push(async () => greeter.renew(await dialler.dial(peerId, address, options)))
  }
  let failure: Error | undefined
  for (const attempt of attempts) {
    try {
      return await attempt()
    } catch (thrown) {
      options.signal?.throwIfAborted()
      failure = toError(thrown)
    }
  }
  if (failure !== undefined) throw failure
  return undefined
}
