import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes, systemRandom } from '../../src/lib/random.ts'
import { Authority, type MembershipGrant } from '../../src/peer/authority.ts'
import { Libp2pNode } from '../../src/peer/node.ts'
import type { NodeComponents, NodeOptions } from '../../src/peer/node-parts.ts'
import { TokenIssuer } from '../../src/peer/token-issuer.ts'
import { MemoryTokenTable } from '../../src/peer/token-table.ts'
import type { Channel } from '../../src/peer/types.ts'

/** Everything that a member can be. */
export const ALL_RIGHTS: MembershipGrant = {
  roles: ['versionManager', 'providerManager', 'metadata', 'provider', 'gridftp', 'deploy'],
  rights: ['read', 'write', 'admin']
}

/** What a hypervisor is. */
export const DEPLOYER: MembershipGrant = { roles: ['deploy'], rights: ['read'] }

export interface ClusterNodeOptions extends NodeOptions {
  readonly grant?: MembershipGrant
  readonly seed?: Uint8Array
  readonly components?: Partial<NodeComponents>
}

/** One authority and real libp2p nodes on loopback, all in this process. */
export class PeerCluster {
  readonly authoritySeed = secureBytes(32)
  readonly authority = new Authority(this.authoritySeed, systemClock)
  readonly issuer = new TokenIssuer({
    authority: this.authority,
    tokens: new MemoryTokenTable(),
    clock: systemClock
  })
  readonly #nodes: Libp2pNode[] = []

  /** The same authority by another clock. */
  at(clock: Clock): { readonly authority: Authority; readonly issuer: TokenIssuer } {
    const authority = new Authority(this.authoritySeed, clock)
    const tokens = new MemoryTokenTable()
    return { authority, issuer: new TokenIssuer({ authority, tokens, clock }) }
  }

  /** Starts a node that belongs to the cluster. */
  async member(options: ClusterNodeOptions = {}): Promise<Libp2pNode> {
    const node = await this.#create(options)
    const { clock = systemClock } = options.components ?? {}
    const authority = new Authority(this.authoritySeed, clock)
    const certificate = authority.issue(node.peerId, options.grant ?? ALL_RIGHTS)
    node.membership.enter({ clusterId: this.authority.clusterId, certificate })
    await node.start()
    return node
  }

  /** Starts a node that belongs to no cluster. */
  async stranger(options: ClusterNodeOptions = {}): Promise<Libp2pNode> {
    const node = await this.#create(options)
    await node.start()
    return node
  }

  /** Makes a join token that leads to this node. */
  async token(issuer: Libp2pNode, grant = DEPLOYER, validMs = 60_000): Promise<string> {
    return this.issuer.create({ grant, validMs, addresses: issuer.addresses() })
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.splice(0).map(async (node) => node.stop()))
  }

  async #create(options: ClusterNodeOptions): Promise<Libp2pNode> {
    const components: NodeComponents = {
      clock: systemClock,
      random: systemRandom,
      logger: noLogger,
      issuer: this.issuer,
      ...options.components
    }
    const node = await Libp2pNode.create(components, options.seed ?? secureBytes(32), options)
    this.#nodes.push(node)
    return node
  }
}

/** A full address of a node, for others to dial. */
export function addressOf(node: Libp2pNode): string {
  const [address] = node.addresses()
  if (address === undefined) throw new Error('the node does not listen')
  return address
}

/** Takes the next message of a channel; undefined when the other side has closed. */
export async function nextMessage(channel: Channel): Promise<Uint8Array | undefined> {
  for await (const message of channel.messages()) return message
  return undefined
}
