import type { AbortOptions } from '../lib/abort-options.ts'

/** What an agent does for the cluster (design: section 2). */
export const ROLES = [
  'versionManager',
  'providerManager',
  'metadata',
  'provider',
  'gridftp',
  'deploy'
] as const
export type Role = (typeof ROLES)[number]

/** What an agent may ask of the cluster (design: section 6). */
export const RIGHTS = ['read', 'write', 'admin'] as const
export type Right = (typeof RIGHTS)[number]

/** Another agent whose membership certificate was verified. */
export interface Member {
  /** libp2p peer id in text form. */
  readonly peerId: string
  readonly roles: ReadonlySet<Role>
  readonly rights: ReadonlySet<Right>
  /** When the certificate was issued, milliseconds since the epoch. */
  readonly issuedMs: number
  /** End of the certificate, milliseconds since the epoch. */
  readonly expiresMs: number
}

/** A protocol's id and limits; one for each file in protocols/. */
export interface ProtocolSpec {
  /** `/blobswarm/<name>/<major>`. */
  readonly id: string
  /** A longer message is refused and ends the stream. */
  readonly maxMessageBytes: number
  /** Streams of this protocol that one connection may have open in each direction. @default 32 */
  readonly maxStreams?: number
}

/**
 * A stream of length-prefixed messages to a member, over noise. One task sends, one receives.
 *
 * Nothing is queued without bound: `send` resolves when the network can take more, and nothing is read
 * from the network before `messages()` asks for it.
 */
export interface Channel {
  readonly remote: Member
  readonly protocol: string
  /**
   * Sends one message, the concatenation of `parts` (each part is handed on without copying and must
   * not be changed afterwards).
   *
   * @throws {PeerUnreachableError} if the stream has ended.
   */
  send(parts: readonly Uint8Array[], options?: AbortOptions): Promise<void>
  /**
   * Sends several messages in a row that travel in one piece where they are short: one for all of them is
   * what the network, the cipher and both ends' event loops have to do.
   *
   * @throws {PeerUnreachableError} if the stream has ended.
   */
  sendTogether?(messages: readonly (readonly Uint8Array[])[]): Promise<void>
  /** Yields messages until the remote closes its side. @throws {PeerUnreachableError | MalformedError} */
  messages(options?: AbortOptions): AsyncIterable<Uint8Array>
  /**
   * Gives each message to `take` in the call that brings it, instead of `messages` and after that has been
   * given up between two messages; resolves when the remote has closed its side or `take` returns false. It
   * costs a fraction, and is for takers that never wait. `take` must not throw.
   *
   * @throws {PeerUnreachableError | MalformedError}
   */
  deliver(take: (message: Uint8Array) => boolean): Promise<void>
  /**
   * Takes back the memory of a message that was received, for the next ones. The caller knows that nobody looks
   * at it any more; a view of the message will do, and what is no message of this channel is left alone.
   */
  giveBack?(message: Uint8Array): void
  /** Flushes, closes this side and waits (bounded) for the other. */
  close(): Promise<void>
  /** Ends the stream at once, both ways. Harmless when it has ended. */
  abort(reason: Error): void
  /** Aborted when the stream has ended for whatever reason. */
  readonly ended: AbortSignal
}

/** Serves one stream; the channel is closed when it resolves and aborted when it rejects. */
export type ServeChannel = (channel: Channel) => Promise<void>

/** This agent in the swarm: one libp2p node, membership checked before anything else is answered. */
export interface PeerNode {
  readonly peerId: string
  /** Full multiaddrs that others can dial, with the real ports. */
  addresses(): string[]
  /** Answers a protocol from now on. @param allow who may use it; others are refused with a reason. @default as rights.ts says */
  serve(
    spec: ProtocolSpec,
    handle: ServeChannel,
    allow?: (member: Member) => boolean
  ): Promise<void>
  /** Opens a stream to a peer, connecting first (known addresses, then the DHT). @throws {PeerUnreachableError | ProtocolRefusedError} */
  open(peerId: string, spec: ProtocolSpec, options?: AbortOptions): Promise<Channel>
  /** Connects to a full multiaddr and says hello. */
  connect(address: string, options?: AbortOptions): Promise<Member>
  /** Remembers where a peer can be dialled (from peer exchange or a provider's report). */
  learnAddresses(peerId: string, addresses: readonly string[]): Promise<void>
  /** Members with a connection now. */
  members(): Member[]
  /** Calls back when a member said hello or its last connection went. @returns how to stop listening. */
  onMembersChanged(listener: () => void): () => void
}

/** Finds who holds or fetches an image, through the DHT. An image is named by its manifest root. */
export interface ImageDirectory {
  /** Announces this agent for an image until withdrawn; refreshed in the background. */
  announce(manifestRoot: Uint8Array): void
  withdraw(manifestRoot: Uint8Array): void
  /** Yields peer ids as they are found, without this agent; ends when the query has converged. */
  find(manifestRoot: Uint8Array, options?: AbortOptions): AsyncIterable<string>
}
