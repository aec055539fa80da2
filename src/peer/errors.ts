import { ChunkMismatchError } from '../chunks/errors.ts'
import { BlobswarmError } from '../lib/errors.ts'

/** Thrown when a peer cannot be reached, or went away in the middle; the network is at fault: try again or elsewhere. */
export class PeerUnreachableError extends BlobswarmError {
  readonly peer: string

  constructor(peer: string, reason: string, options?: ErrorOptions) {
    super(`peer ${peer} is unreachable: ${reason}`, 'ERR_PEER_UNREACHABLE', options)
    this.peer = peer
  }
}

/** Thrown when a peer does not answer within the time that its work may take. */
export class PeerTimeoutError extends BlobswarmError {
  readonly peer: string
  readonly timeoutMs: number

  constructor(peer: string, what: string, timeoutMs: number) {
    super(`peer ${peer} did not answer ${what} within ${timeoutMs} ms`, 'ERR_PEER_TIMEOUT')
    this.peer = peer
    this.timeoutMs = timeoutMs
  }
}

/** Thrown when a peer breaks a protocol's rules; the peer is at fault: drop it. */
export class ProtocolViolationError extends BlobswarmError {
  readonly peer: string

  constructor(peer: string, reason: string, options?: ErrorOptions) {
    super(`peer ${peer} broke the protocol: ${reason}`, 'ERR_PROTOCOL_VIOLATION', options)
    this.peer = peer
  }
}

/** Thrown when a peer does not speak a protocol or does not let this agent use it. */
export class ProtocolRefusedError extends BlobswarmError {
  readonly peer: string
  readonly protocol: string
  /** True if it does not speak the protocol at all; one that is still starting does not do so yet. */
  readonly isUnknown: boolean

  constructor(
    peer: string,
    protocol: string,
    reason: string,
    options: ErrorOptions & { readonly isUnknown?: boolean } = {}
  ) {
    super(`peer ${peer} refused ${protocol}: ${reason}`, 'ERR_PROTOCOL_REFUSED', options)
    this.peer = peer
    this.protocol = protocol
    this.isUnknown = options.isUnknown ?? false
  }
}

/** Why somebody is not taken for a member. */
export type NotMemberReason =
  /** It has no certificate. */
  | 'none'
  /** It showed none in time. */
  | 'silent'
  /** It had shown none when others came, and there was no room. */
  | 'crowded'
  /** Its certificate cannot be read. */
  | 'malformed'
  /** … is of another cluster. */
  | 'foreign'
  /** … is not signed by the authority. */
  | 'forged'
  /** … is that of somebody else. */
  | 'borrowed'
  /** … begins in the future. */
  | 'early'
  /** … has expired. */
  | 'expired'
  /** … was revoked. */
  | 'revoked'

/** Thrown when somebody is not a member of this cluster: no, expired, revoked or foreign certificate. */
export class NotMemberError extends BlobswarmError {
  readonly peer: string
  readonly reason: string
  readonly why: NotMemberReason

  constructor(
    peer: string,
    reason: string,
    options: ErrorOptions & { readonly why: NotMemberReason }
  ) {
    super(`peer ${peer} is not a member: ${reason}`, 'ERR_NOT_MEMBER', options)
    this.peer = peer
    this.reason = reason
    this.why = options.why
  }
}

/** Thrown when a join token is malformed, unknown, expired or was used by somebody else. */
export class JoinRefusedError extends BlobswarmError {
  readonly reason: string

  constructor(reason: string, options?: ErrorOptions) {
    super(`join refused: ${reason}`, 'ERR_JOIN_REFUSED', options)
    this.reason = reason
  }
}

/** Thrown when a member asks for what its certificate gives no right or role to. */
export class NotPermittedError extends BlobswarmError {
  constructor(what: string) {
    super(`not permitted: ${what}`, 'ERR_NOT_PERMITTED')
  }
}

/** An error that another agent answered with; `code` is the code it had there. */
export class RemoteError extends BlobswarmError {
  readonly peer: string

  constructor(peer: string, message: string, code: string) {
    super(message, code)
    this.peer = peer
  }
}

/** Thrown to a caller that asks for a method that this protocol does not have. */
export class UnknownMethodError extends BlobswarmError {
  constructor(protocol: string, method: string) {
    super(`${protocol} has no method ${JSON.stringify(method.slice(0, 80))}`, 'ERR_UNKNOWN_METHOD')
  }
}

/** Thrown to a remote caller whose request cannot be meant: values out of range. The caller is at fault. */
export class InvalidRequestError extends BlobswarmError {
  constructor(reason: string, options?: ErrorOptions) {
    super(`invalid request: ${reason}`, 'ERR_INVALID_REQUEST', options)
  }
}

/** Stands for a failure that is no business of the remote caller; this agent's log has it. */
export class InternalFailureError extends BlobswarmError {
  constructor(options: ErrorOptions) {
    super('internal failure', 'ERR_INTERNAL', options)
  }
}

/** Thrown when too few owners of a key took it; `cause` is what one of the others said. */
export class NotEnoughOwnersError extends BlobswarmError {
  readonly acknowledged: number
  readonly wanted: number

  constructor(what: string, acknowledged: number, wanted: number, options?: ErrorOptions) {
    super(
      `${what} reached ${acknowledged} metadata providers of the ${wanted} that must have it`,
      'ERR_NOT_ENOUGH_OWNERS',
      options
    )
    this.acknowledged = acknowledged
    this.wanted = wanted
  }
}

/** Thrown when a peer sends bytes that are not the chunk asked for; the peer is at fault: drop it. */
export class PeerChunkMismatchError extends ChunkMismatchError {
  readonly peer: string

  constructor(peer: string, mismatch: ChunkMismatchError) {
    super(mismatch.expected, mismatch.actual)
    this.message = `peer ${peer} lied: ${mismatch.message}`
    this.peer = peer
  }
}
