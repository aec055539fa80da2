import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { NodeProof, SignedTicket, Ticket } from '../../src/metadata/ticket-types.ts'
import { proveNodes, signTicket } from '../../src/metadata/tickets.ts'
import type { KeyedNode, LeafEntry } from '../../src/metadata/tree-types.ts'
import { weaveNodes } from '../../src/metadata/tree-write.ts'
import { type TestSigner, testSigner } from './signing.ts'

const CHUNK_BYTES = 65_536

/** A first version of a blob, with its nodes and what proves them. */
export interface SampleWrite {
  readonly signed: SignedTicket
  readonly nodes: readonly KeyedNode[]
  readonly proof: NodeProof
}

/** Makes the tree of a blob's first version; `fill` tells blobs apart, `seed` contents. */
export async function sampleWrite(
  chunkCount: number,
  { fill = 1, seed = 1, signer = testSigner() }: SampleOptions = {}
): Promise<SampleWrite> {
  const span = 2 ** Math.ceil(Math.log2(chunkCount))
  const ticket: Ticket = {
    blob: fill.toString(16).padStart(2, '0').repeat(32),
    version: 1,
    ranges: [{ start: 0, end: chunkCount }],
    bytes: chunkCount * CHUNK_BYTES,
    span,
    previousSpan: 0,
    truncates: true,
    chunkBytes: CHUNK_BYTES,
    writer: signer.peerId,
    leafList: chunkId(Buffer.from('leaf list')),
    inFlight: [],
    base: undefined,
    leaseUntilMs: 1_000_000
  }
  const signed = signTicket(signer, ticket)
  const nodes: KeyedNode[] = []
  const nothing = { getNodes: async (): Promise<undefined[]> => [], putNodes: async () => {} }
  for await (const batch of weaveNodes(ticket, leaves(chunkCount, seed), nothing)) {
    nodes.push(...batch)
  }
  return { signed, nodes, proof: proveNodes(signer, signed.envelope, nodes) }
}

export interface SampleOptions {
  readonly fill?: number
  readonly seed?: number
  readonly signer?: TestSigner
}

function* leaves(chunkCount: number, seed: number): Generator<LeafEntry> {
  for (let index = 0; index < chunkCount; index++) {
    const chunk = chunkId(Buffer.from(`chunk ${seed} ${index}`))
    const replicas = ['provider-1', 'provider-2']
    const fragment = { at: 0, length: CHUNK_BYTES, chunk, chunkOffset: 0, replicas }
    yield { index, fragments: [fragment] }
  }
}
