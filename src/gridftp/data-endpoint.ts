import type { SocketAddress } from './address.ts'
import { DataChannelError } from './errors.ts'
import type { PassiveListener } from './passive-listener.ts'
import type { Stripes } from './stripes.ts'

/** Commands whose port may be opened later than they are answered. */
export type PassiveVerb = 'PASV' | 'EPSV'

/** Where the data connections of a session come from or go to. */
export type DataEndpoint =
  | { readonly kind: 'none' }
  | { readonly kind: 'passive'; readonly listener: PassiveListener }
  /** A passive port that is opened when the transfer begins. */
  | { readonly kind: 'delayed'; readonly verb: PassiveVerb }
  | { readonly kind: 'active'; readonly target: SocketAddress }
  /** Ports of data movers. */
  | { readonly kind: 'striped'; readonly stripes: Stripes }
  /** Several targets, to which only data movers connect. */
  | { readonly kind: 'targets'; readonly targets: readonly SocketAddress[] }

/** For a transfer before which neither a port was asked for nor a target given. */
export function noEndpoint(): DataChannelError {
  return new DataChannelError(425, 'No data connection: give PASV or PORT first.')
}

/** For a transfer of one stripe where only several were prepared. */
export function stripesOnly(): DataChannelError {
  return new DataChannelError(425, 'Several addresses are for files in mode E: give PASV or PORT.')
}
