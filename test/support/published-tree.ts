import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { equalBytes } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { DiskMetadataStore } from '../../src/metadata/disk-node-store.ts'
import { encodeNode } from '../../src/metadata/node-codec.ts'
import type { Signer } from '../../src/metadata/signature-types.ts'
import { LocalSigner } from '../../src/metadata/signed.ts'
import type { SignedTicket, Ticket, TicketRequest } from '../../src/metadata/ticket-types.ts'
import { proveNodes, signTicket } from '../../src/metadata/tickets.ts'
import type { KeyedNode, LeafEntry } from '../../src/metadata/tree-types.ts'
import { weaveNodes } from '../../src/metadata/tree-write.ts'
import { VersionManagerState } from '../../src/metadata/version-manager.ts'
import { Authority, type MembershipGrant } from '../../src/peer/authority.ts'
import { CertificateVerifier } from '../../src/peer/certificate-verifier.ts'
import { identityFromSeed } from '../../src/peer/peer-identity.ts'
import { serveTree } from '../../src/peer/protocols/tree-serve.ts'
import { RemoteMetadataProvider } from '../../src/peer/remote/metadata-provider.ts'
import { MemoryNetwork } from './memory-network.ts'

const CHUNK_BYTES = 65_536
const MANAGER: MembershipGrant = { roles: ['versionManager'], rights: ['read', 'write'] }
const WRITER: MembershipGrant = { roles: ['deploy'], rights: ['read', 'write'] }
const READER: MembershipGrant = { roles: ['deploy'], rights: ['read'] }
const LEAF_LIST = chunkId(Buffer.from('leaf list'))

/** The blob that is published, and one that has only been made. */
export const BLOB = 'ab'.repeat(32)
export const OTHER_BLOB = 'cd'.repeat(32)

/** Members with certificates of an authority; one is of another cluster. */
export interface TreeSigners {
  readonly manager: Signer
  readonly foreignManager: Signer
  readonly writer: Signer
  readonly otherWriter: Signer
  readonly reader: Signer
}

/**
 * A metadata provider that keeps two published versions of a blob on disk and is asked over the
 * network: version 1 wrote chunks 0 to 3, version 2 chunk 1. Everything is signed and checked as in a
 * cluster.
 */
export class PublishedTree {
  readonly signers: TreeSigners
  readonly provider: RemoteMetadataProvider
  /** Tickets by version, as their writers have got them. */
  readonly tickets: SignedTicket[] = []
  readonly #stop: () => Promise<void>
  readonly #state = new VersionManagerState()
  readonly #nodes: KeyedNode[] = []

  private constructor(
    signers: TreeSigners,
    provider: RemoteMetadataProvider,
    stop: () => Promise<void>
  ) {
    this.signers = signers
    this.provider = provider
    this.#stop = stop
    for (const blob of [BLOB, OTHER_BLOB]) {
      this.#state.createBlob(blob, { chunkBytes: CHUNK_BYTES, replicas: 1 }, 0)
    }
  }

  static async open(): Promise<PublishedTree> {
    const authority = new Authority(new Uint8Array(32).fill(90), systemClock)
    const verifier = new CertificateVerifier(authority.clusterId)
    const folder = await mkdtemp(join(tmpdir(), 'blobswarm-tree-'))
    const store = new DiskMetadataStore(folder, { verifier })
    await store.start()
    const common = { clock: systemClock, logger: noLogger }
    const network = new MemoryNetwork()
    await serveTree(network.node('provider'), { store, verifier, ...common })
    const node = network.node('client')
    const provider = new RemoteMetadataProvider({ node, clock: systemClock, peerId: 'provider' })
    const stop = async (): Promise<void> => {
      await provider.close()
      await store.stop()
      await rm(folder, { recursive: true })
    }
    const tree = new PublishedTree(await signersOf(authority), provider, stop)
    await tree.#publish([{ start: 0, end: 4 }])
    await tree.#publish([{ start: 1, end: 2 }])
    return tree
  }

  /** Gives the next version of four chunks to the writer. */
  assign(fields: Partial<TicketRequest>): SignedTicket {
    const { manager, writer } = this.signers
    const request = {
      blob: BLOB,
      writer: writer.peerId,
      ranges: [],
      endBytes: 4 * CHUNK_BYTES,
      truncates: false,
      leafList: LEAF_LIST,
      ...fields
    }
    return signTicket(manager, this.#state.assign(request, 0).result)
  }

  /** The nodes of a ticket if its writer brings those chunks; `text` tells contents apart. */
  async weave(ticket: Ticket, indexes: readonly number[], text = 'chunk'): Promise<KeyedNode[]> {
    const leaves = indexes.map((index) => leafEntry(index, text))
    const nodes: KeyedNode[] = []
    for await (const batch of weaveNodes(ticket, leaves, this.provider)) nodes.push(...batch)
    return nodes
  }

  /** Whether all that was published is there, byte for byte. */
  async isUnchanged(): Promise<boolean> {
    const found = await this.provider.getNodes(this.#nodes.map(({ key }) => key))
    return this.#nodes.every(({ key, node }, at) => {
      const there = found[at]
      return there !== undefined && equalBytes(encodeNode(key, there), encodeNode(key, node))
    })
  }

  async stop(): Promise<void> {
    await this.#stop()
  }

  async #publish(ranges: TicketRequest['ranges']): Promise<void> {
    const signed = this.assign({ ranges })
    const { blob, version } = signed.ticket
    const indexes = ranges.flatMap(({ start, end }) =>
      Array.from({ length: end - start }, (_, at) => start + at)
    )
    const nodes = await this.weave(signed.ticket, indexes)
    const proof = proveNodes(this.signers.writer, signed.envelope, nodes)
    await this.provider.putNodes(nodes, proof)
    this.#state.commit(blob, version, 0)
    this.tickets[version] = signed
    this.#nodes.push(...nodes)
  }
}

function leafEntry(index: number, text: string): LeafEntry {
  const chunk = chunkId(Buffer.from(`${text} ${index}`))
  const fragment = { at: 0, length: CHUNK_BYTES, chunk, chunkOffset: 0, replicas: ['provider'] }
  return { index, fragments: [fragment] }
}

async function signersOf(authority: Authority): Promise<TreeSigners> {
  const foreign = new Authority(new Uint8Array(32).fill(91), systemClock)
  return {
    manager: await signerOf(1, MANAGER, authority),
    foreignManager: await signerOf(2, MANAGER, foreign),
    writer: await signerOf(3, WRITER, authority),
    otherWriter: await signerOf(4, WRITER, authority),
    reader: await signerOf(5, READER, authority)
  }
}

async function signerOf(fill: number, grant: MembershipGrant, by: Authority): Promise<Signer> {
  const seed = new Uint8Array(32).fill(fill)
  const { peerId } = await identityFromSeed(seed)
  const certificate = by.issue(peerId, grant)
  return new LocalSigner({ key: new Ed25519Key(seed), peerId, certificate: () => certificate })
}
