import { systemClock } from '../../src/lib/clock.ts'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes, systemRandom } from '../../src/lib/random.ts'
import { LocalSigner } from '../../src/metadata/signed.ts'
import { CertificateVerifier } from '../../src/peer/certificate-verifier.ts'
import { Libp2pNode } from '../../src/peer/node.ts'
import { memberWithRole } from '../../src/peer/remote/find-role.ts'
import { DistributedMetadataStore } from '../../src/peer/remote/metadata-store.ts'
import { RemoteVersionManager } from '../../src/peer/remote/version-manager.ts'
import type { PeerNode } from '../../src/peer/types.ts'

/** A member of a cluster without an agent around it: what a writer's library needs, and nothing on disk. */
export class Member {
  readonly node: Libp2pNode
  readonly signer: LocalSigner
  readonly verifier: CertificateVerifier

  private constructor(node: Libp2pNode, seed: Uint8Array) {
    const { clusterId, certificate } = node.membership.credentials()
    this.node = node
    this.verifier = new CertificateVerifier(clusterId)
    this.signer = new LocalSigner({
      peerId: node.peerId,
      key: new Ed25519Key(seed),
      certificate: () => certificate
    })
  }

  /** Joins with a token and connects to other members; the key is thrown away with the process. */
  static async join(token: string, addresses: readonly string[] = []): Promise<Member> {
    const seed = secureBytes(32)
    const node = await Libp2pNode.create(
      { clock: systemClock, random: systemRandom, logger: noLogger },
      seed
    )
    await node.start()
    await node.join(token)
    for (const address of addresses) await node.connect(address)
    return new Member(node, seed)
  }

  /** Peer ids of the metadata list. */
  get metadataProviders(): string[] {
    return this.node.membership.metadataList?.providers.map(({ peerId }) => peerId) ?? []
  }

  /** The cluster's metadata with an empty cache; `opener` can stand between it and the node. */
  openMetadata(opener: Pick<PeerNode, 'open' | 'peerId'> = this.node): DistributedMetadataStore {
    return new DistributedMetadataStore({
      node: opener,
      clock: systemClock,
      providers: () => this.metadataProviders,
      verifier: this.verifier
    })
  }

  /** The cluster's version manager; `opener` can stand between it and the node. */
  openVersions(opener: Pick<PeerNode, 'open'> = this.node): RemoteVersionManager {
    return new RemoteVersionManager({
      node: opener,
      clock: systemClock,
      verifier: this.verifier,
      find: memberWithRole(this.node, 'versionManager')
    })
  }

  /** Leaves; whoever opened something stops that first. */
  async stop(): Promise<void> {
    await this.node.stop()
  }
}
