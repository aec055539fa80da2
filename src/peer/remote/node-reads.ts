import type { AbortOptions } from '../../lib/abort-options.ts'
import { MalformedError } from '../../lib/errors.ts'
import { nextTurn } from '../../lib/turn.ts'
import { InvalidNodeError, UntrustedSignatureError } from '../../metadata/errors.ts'
import { OpenedProofs } from '../../metadata/opened-proofs.ts'
import type { Verifier } from '../../metadata/signature-types.ts'
import type { ProvenNode } from '../../metadata/store-types.ts'
import type { NodeProof } from '../../metadata/ticket-types.ts'
import { checkProven } from '../../metadata/tickets.ts'
import { readPaths, type TreePath, walkPaths } from '../../metadata/tree-path.ts'
import type { KeyedNode, NodeKey, TreeNode } from '../../metadata/tree-types.ts'
import { ProtocolViolationError } from '../errors.ts'
import { nodeBundle } from '../owners.ts'
import { byProof } from '../protocols/tree-proven.ts'
import { placingNames } from './owned-kinds.ts'
import { type OwnerFinding, readFromOwners } from './owner-reads.ts'
import type { OwnerStores } from './owner-stores.ts'

export interface NodeReadsComponents {
  readonly owners: OwnerStores
  readonly verifier: Verifier
}

/** A node, and what proves it if it came over the network. */
export interface FoundNode {
  readonly node: TreeNode
  readonly proof: NodeProof | undefined
}

/** Nodes that are checked without a break. */
const NODES_A_TURN = 256

/**
 * Reads tree nodes from their owners. What comes over the network is believed for its proof only:
 * an owner can withhold a node, but not forge one.
 */
export class NodeReads {
  readonly #owners: OwnerStores
  readonly #proofs: OpenedProofs

  constructor({ owners, verifier }: NodeReadsComponents) {
    this.#owners = owners
    this.#proofs = new OpenedProofs(verifier)
  }

  /** Looks for nodes at their owners, as `readFromOwners`. */
  async read(keys: readonly NodeKey[], options: AbortOptions): Promise<OwnerFinding<FoundNode>[]> {
    const place = placingNames((keyHash) => this.#owners.placementOf(keyHash))
    return await readFromOwners<NodeKey, FoundNode>({
      keys,
      placementOf: (key) => place(nodeBundle(key)),
      ask: (owner, some) => this.#ask(owner, some, options),
      ...options
    })
  }

  /**
   * Goes down paths, through what is remembered and then through what the first owner of the next
   * node has: one call an owner, however many levels. An owner that fails gives nothing; whoever
   * needs the nodes then asks for them, and the other owners are asked too.
   */
  async readPaths(
    paths: readonly TreePath[],
    known: (key: NodeKey) => TreeNode | undefined,
    options: AbortOptions
  ): Promise<KeyedNode[]> {
    const place = placingNames((keyHash) => this.#owners.placementOf(keyHash))
    const { nodes, open } = walkPaths(paths, known)
    const groups = Map.groupBy(open, ({ from }) => place(nodeBundle(from)).owners[0] ?? '')
    const answers = await Promise.all(
      Array.from(groups, async ([owner, some]) => {
        try {
          return await this.#askPaths(owner, some, options)
        } catch {
          options.signal?.throwIfAborted()
          return []
        }
      })
    )
    return [...nodes, ...answers.flat()]
  }

  async #askPaths(
    owner: string,
    paths: readonly TreePath[],
    options: AbortOptions
  ): Promise<readonly KeyedNode[]> {
    return await this.#owners.ask(owner, async (store): Promise<readonly KeyedNode[]> => {
      if (store.getPaths === undefined) {
        return readPaths(paths, async (keys) => {
          const nodes = await store.getNodes(keys, options)
          return keys.map((key, at) => withKey(key, nodes[at]))
        })
      }
      const proven = await store.getPaths(paths, options)
      if (!this.#owners.isLocal(owner)) await this.#verify(owner, proven)
      const given = new Map(proven.map(({ key, node }) => [nodeName(key), node]))
      // What is not on the way was not asked for.
      return walkPaths(paths, (key) => given.get(nodeName(key))).nodes
    })
  }

  async #ask(
    owner: string,
    keys: readonly NodeKey[],
    options: AbortOptions
  ): Promise<(FoundNode | undefined)[]> {
    if (this.#owners.isLocal(owner)) {
      const nodes = await this.#owners.ask(owner, (store) => store.getNodes(keys, options))
      return nodes.map((node) => node && { node, proof: undefined })
    }
    return await this.#owners.ask(owner, async (store) => {
      const found = await store.getProvenNodes(keys, options)
      await this.#verify(owner, found)
      return found
    })
  }

  /** @throws {ProtocolViolationError} naming the owner if a proof does not hold. */
  async #verify(owner: string, found: readonly (ProvenNode | undefined)[]): Promise<void> {
    const nodes = found.filter((node) => node !== undefined)
    for (const [proof, group] of byProof(nodes)) {
      for (let from = 0; from < group.length; from += NODES_A_TURN) {
        if (from > 0) await nextTurn()
        try {
          checkProven(this.#proofs.open(proof), group.slice(from, from + NODES_A_TURN))
        } catch (error) {
          if (!isForgery(error)) throw error
          throw new ProtocolViolationError(owner, `a tree node: ${error.message}`, { cause: error })
        }
      }
    }
  }
}

function isForgery(error: unknown): error is Error {
  return (
    error instanceof InvalidNodeError ||
    error instanceof UntrustedSignatureError ||
    error instanceof MalformedError
  )
}

function withKey(key: NodeKey, node: TreeNode | undefined): KeyedNode | undefined {
  return node && { key, node }
}

function nodeName({ blob, version, offset, span }: NodeKey): string {
  return `${blob}/${version}/${offset}/${span}`
}
