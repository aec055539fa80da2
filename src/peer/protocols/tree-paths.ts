import type { AbortOptions } from '../../lib/abort-options.ts'
import { MalformedError } from '../../lib/errors.ts'
import { isDyadic } from '../../metadata/geometry.ts'
import { decodeNode, decodeNodeKey, encodeNode, encodeNodeKey } from '../../metadata/node-codec.ts'
import type { HandedOverStore, ProvenNode } from '../../metadata/store-types.ts'
import { ProofSharing } from '../../metadata/stored-forms.ts'
import type { NodeProof } from '../../metadata/ticket-types.ts'
import { readPaths, type TreePath } from '../../metadata/tree-path.ts'
import type { AnswerOf, RequestOf } from '../rpc.ts'
import { MAX_TREE_ITEMS, MAX_TREE_PAYLOAD_BYTES, type treeMethods } from './tree.ts'
import { packProof } from './tree-proven.ts'

/** A store, which may be able to go down by itself. */
export interface PathsOfStore extends Pick<HandedOverStore, 'getProvenNodes'> {
  getPaths?(paths: readonly TreePath[], options?: AbortOptions): Promise<ProvenNode[]>
}

type PathsRequest = RequestOf<typeof treeMethods.getPaths>
type PathsAnswer = AnswerOf<typeof treeMethods.getPaths>

/** As many paths, or the first places of the last one, as one request may have. */
export function packPaths(paths: readonly TreePath[]): PathsRequest {
  const packed: PathsRequest['paths'] = []
  let room = MAX_TREE_ITEMS
  for (const { from, to } of paths) {
    const places = to.slice(0, room).map(({ offset, span }): [number, number] => [offset, span])
    if (places.length === 0) continue
    packed.push({ from: encodeNodeKey(from), to: places })
    room -= places.length
  }
  return { paths: packed }
}

/** @throws {MalformedError} for paths that are not as the protocol says. */
export function unpackPaths({ paths }: PathsRequest): TreePath[] {
  let count = 0
  return paths.map(({ from: key, to }) => {
    const from = decodeNodeKey(key)
    count += to.length
    if (count > MAX_TREE_ITEMS) throw new MalformedError('paths', `${count} places or more`)
    let free = from.offset
    for (const [offset, span] of to) {
      const isInside = offset >= free && offset + span <= from.offset + from.span
      if (!isInside || !isDyadic(offset, span)) {
        throw new MalformedError('paths', `${offset}+${span} below ${from.offset}+${from.span}`)
      }
      free = offset + span
    }
    return { from, to: to.map(([offset, span]) => ({ offset, span })) }
  })
}

/** Goes down paths in a provider's own store; the answer has as many nodes as fit into a message. */
export async function pathsAnswer(
  store: PathsOfStore,
  paths: readonly TreePath[],
  options: { readonly signal: AbortSignal }
): Promise<PathsAnswer> {
  const found =
    (await store.getPaths?.(paths, options)) ??
    (await readPaths(paths, async (keys) => store.getProvenNodes(keys, options)))
  const proofs: PathsAnswer['proofs'] = []
  const places = new Map<NodeProof, number>()
  const nodes: PathsAnswer['nodes'] = []
  let bytes = 0
  for (const { key, node: value, proof } of found) {
    const packed = places.has(proof) ? undefined : packProof(proof)
    const node = encodeNode(key, value)
    bytes += node.byteLength + 64
    bytes += packed === undefined ? 0 : packed.ticket.byteLength + packed.proof.byteLength
    if (bytes > MAX_TREE_PAYLOAD_BYTES && nodes.length > 0) break
    if (packed !== undefined) places.set(proof, proofs.push(packed) - 1)
    nodes.push({ key: encodeNodeKey(key), node, proof: places.get(proof) ?? 0 })
  }
  return { proofs, nodes }
}

/** @throws {MalformedError} */
export function unpackPathsAnswer({ proofs: packed, nodes }: PathsAnswer): ProvenNode[] {
  const sharing = new ProofSharing()
  const proofs = packed.map((proof) => sharing.open(proof))
  return nodes.map((proven) => {
    const key = decodeNodeKey(proven.key)
    const proof = proofs[proven.proof]
    if (proof === undefined) throw new MalformedError('paths', 'a node without a proof')
    return { key, node: decodeNode(key, proven.node), proof }
  })
}
