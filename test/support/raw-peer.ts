import type { Connection } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes, systemRandom } from '../../src/lib/random.ts'
import { WireCounter } from '../../src/peer/counted-tcp.ts'
import { createNodeLibp2p, type NodeLibp2p } from '../../src/peer/create-libp2p.ts'
import { Doorkeeper } from '../../src/peer/doorkeeper.ts'
import type { Credentials, Membership } from '../../src/peer/membership.ts'
import { MessageChannel } from '../../src/peer/message-channel.ts'
import { identityFromSeed } from '../../src/peer/peer-identity.ts'
import { HELLO, sayHello } from '../../src/peer/protocols/hello.ts'
import { ProviderRecords } from '../../src/peer/provider-records.ts'
import { testMember } from './channel-pair.ts'

/** A libp2p node without manners: no gate, no hello of its own. For what an attacker might do. */
export class RawPeer {
  readonly peerId: string
  readonly #libp2p: NodeLibp2p

  /** `listen` are the multiaddrs to listen on. */
  static async start(listen: readonly string[] = []): Promise<RawPeer> {
    const { privateKey, peerId } = await identityFromSeed(secureBytes(32))
    const libp2p = await createNodeLibp2p({
      privateKey,
      listen,
      announce: [],
      maxConnections: 100,
      agentVersion: 'raw',
      logger: noLogger,
      gate: (stream, connection, next) => next(stream, connection),
      doors: new Doorkeeper({
        gate: { isAdmitted: () => true },
        clock: systemClock,
        log: noLogger.forComponent('raw')
      }),
      counter: new WireCounter(),
      records: new ProviderRecords({ clock: systemClock, random: systemRandom })
    })
    await libp2p.start()
    return new RawPeer(peerId, libp2p)
  }

  private constructor(peerId: string, libp2p: NodeLibp2p) {
    this.peerId = peerId
    this.#libp2p = libp2p
  }

  /** A full address to dial it at. */
  address(): string {
    return String(this.#libp2p.getMultiaddrs()[0])
  }

  /** Accepts streams of a protocol, and then does nothing. */
  async ignore(protocol: string): Promise<void> {
    await this.#libp2p.handle(protocol, () => {})
  }

  async dial(address: string): Promise<Connection> {
    return this.#libp2p.dial(multiaddr(address))
  }

  /** Makes another connection, whatever there is. */
  async dialAnew(address: string): Promise<Connection> {
    return this.#libp2p.dial(multiaddr(address), { force: true })
  }

  /** Says hello with these credentials, true or not. */
  async sayHello(connection: Connection, credentials: Credentials): Promise<void> {
    const membership = { credentials: () => credentials } as unknown as Membership
    const channel = await this.channel(connection, HELLO.id)
    try {
      await sayHello(channel, { membership, addresses: () => [], agentVersion: 'raw' })
    } finally {
      await channel.close()
    }
  }

  /** Opens a stream of any protocol. */
  async channel(connection: Connection, protocol: string): Promise<MessageChannel> {
    const stream = await connection.newStream(protocol)
    const remote = testMember(connection.remotePeer.toString())
    const spec = { id: protocol, maxMessageBytes: 1_000_000 }
    return new MessageChannel({ stream, remote, clock: systemClock }, spec)
  }

  /** Sends bytes to a protocol. @returns whether anything came back before the stream ended. */
  async isAnswered(connection: Connection, protocol: string, bytes: Uint8Array): Promise<boolean> {
    try {
      const stream = await connection.newStream(protocol)
      const { promise, resolve } = Promise.withResolvers<boolean>()
      stream.addEventListener('message', () => resolve(true))
      stream.addEventListener('close', () => resolve(false))
      stream.send(bytes)
      const isAnswered = await promise
      stream.abort(new Error('seen enough'))
      return isAnswered
    } catch {
      return false
    }
  }

  async stop(): Promise<void> {
    await this.#libp2p.stop()
  }
}
