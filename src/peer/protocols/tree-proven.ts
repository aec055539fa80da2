import type { AbortOptions } from '../../lib/abort-options.ts'
import { MalformedError } from '../../lib/errors.ts'
import { decodeNode, encodeNode } from '../../metadata/node-codec.ts'
import { encodeEnvelope } from '../../metadata/signed.ts'
import type { HandedOverStore, ProvenNode } from '../../metadata/store-types.ts'
import { ProofSharing, proofName } from '../../metadata/stored-forms.ts'
import type { NodeProof } from '../../metadata/ticket-types.ts'
import type { NodeKey } from '../../metadata/tree-types.ts'
import type { AnswerOf } from '../rpc.ts'
import { MAX_TREE_PAYLOAD_BYTES, type treeMethods } from './tree.ts'

type ProvenAnswer = AnswerOf<typeof treeMethods.getProvenNodes>
type WireProven = ProvenAnswer['nodes'][number]

/** Nodes that are fetched at once: each may have a proof and a ticket of its own. */
const NODES_AT_ONCE = 64

/**
 * Answers for the first of the keys: at least one, and as many as fit with their proofs into one
 * message.
 */
export async function provenAnswer(
  store: Pick<HandedOverStore, 'getProvenNodes'>,
  keys: readonly NodeKey[],
  options: AbortOptions
): Promise<ProvenAnswer> {
  const proofs: { ticket: Uint8Array; proof: Uint8Array }[] = []
  const places = new Map<string, number>()
  const nodes: WireProven[] = []
  let bytes = 0
  for (let from = 0; from < keys.length; from += NODES_AT_ONCE) {
    const found = await store.getProvenNodes(keys.slice(from, from + NODES_AT_ONCE), options)
    for (const proven of found) {
      const name = proven === undefined ? '' : proofName(proven.proof)
      const packed = proven && !places.has(name) ? packProof(proven.proof) : undefined
      const node = proven && encodeNode(proven.key, proven.node)
      bytes += 16 + (node?.byteLength ?? 0)
      bytes += packed === undefined ? 0 : packed.ticket.byteLength + packed.proof.byteLength
      if (bytes > MAX_TREE_PAYLOAD_BYTES && nodes.length > 0) return { proofs, nodes }
      if (packed !== undefined) places.set(name, proofs.push(packed) - 1)
      nodes.push(node === undefined ? null : { node, proof: places.get(name) ?? 0 })
    }
  }
  return { proofs, nodes }
}

/** Reads an answer for the first of the keys. @throws {MalformedError} */
export function unpackProven(
  keys: readonly NodeKey[],
  { proofs: packed, nodes }: ProvenAnswer
): (ProvenNode | undefined)[] {
  const sharing = new ProofSharing()
  const proofs = packed.map((proof) => sharing.open(proof))
  return nodes.map((proven, at) => {
    const key = keys[at]
    if (proven === null) return undefined
    const proof = proofs[proven.proof]
    if (key === undefined || proof === undefined) {
      throw new MalformedError('proven nodes', 'a node without a key or proof')
    }
    return { key, node: decodeNode(key, proven.node), proof }
  })
}

/** Groups nodes by their proofs, so that each proof travels once for all of its nodes. */
export function byProof(nodes: Iterable<ProvenNode>): Map<NodeProof, ProvenNode[]> {
  const names = new Map<NodeProof, string>()
  const groups = new Map<string, ProvenNode[]>()
  for (const node of nodes) {
    const name = names.get(node.proof) ?? proofName(node.proof)
    names.set(node.proof, name)
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [node])
    else group.push(node)
  }
  return new Map([...groups.values()].map((group) => [(group[0] as ProvenNode).proof, group]))
}

/** A proof as it travels. */
export function packProof({ ticket, nodes }: NodeProof): { ticket: Uint8Array; proof: Uint8Array } {
  return { ticket: encodeEnvelope(ticket), proof: encodeEnvelope(nodes) }
}
