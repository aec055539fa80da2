import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { ByteRange, VersionRef } from './types.ts'

/**
 * Key of a tree node; `offset` and `span` in chunks, span a power of two, offset a multiple of
 * it.
 */
export interface NodeKey extends VersionRef {
  readonly offset: number
  readonly span: number
}

/**
 * Part of a leaf that one write brought: `length` bytes at `at`, found at `chunkOffset` of a
 * chunk.
 */
export interface Fragment {
  readonly at: number
  readonly length: number
  /** May be the zero chunk. */
  readonly chunk: ChunkId
  readonly chunkOffset: number
  /** Where the chunk was stored when this was written, sorted; empty for the zero chunk. */
  readonly replicas: readonly ProviderId[]
}

/** `undefined` children are holes, which read as zeros. */
export interface InnerNode {
  readonly kind: 'inner'
  readonly left: VersionRef | undefined
  readonly right: VersionRef | undefined
}

/**
 * Fragments do not overlap and are sorted by `at`; what they leave open is read from `previous`.
 */
export interface LeafNode {
  readonly kind: 'leaf'
  readonly fragments: readonly Fragment[]
  readonly previous: VersionRef | undefined
}

/** Node of the segment tree. */
export type TreeNode = InnerNode | LeafNode

/**
 * What one write brought to one chunk: fragments sorted by `at` that do not overlap, at least
 * one, at most MAX_LEAF_FRAGMENTS (geometry.ts), none reaching past the chunk or the version's
 * end. A leaf list is an iterable of these, sorted by `index`, each index once.
 */
export interface LeafEntry {
  readonly index: number
  readonly fragments: readonly Fragment[]
}

/** A node and where it stands. */
export interface KeyedNode {
  readonly key: NodeKey
  readonly node: TreeNode
}

/** What a version reads as at some range of bytes; a hole has no chunk. */
export interface Extent extends ByteRange {
  readonly chunk: ChunkId | undefined
  readonly chunkOffset: number
  readonly replicas: readonly ProviderId[]
}
