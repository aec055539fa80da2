/**
 * Canonical bytes of tree nodes: one node has one encoding, and nodes are compared, hashed and
 * stored by it. A node is encoded relative to its key, so that links within a blob are short.
 *
 * ```text
 * key    32 blob · u64 version · u32 offset · u8 level              span = 2^level; 45 bytes
 *
 * node   u8 1 · link left · link right                              inner node
 *        u8 2 · link previous · u16 count · count × fragment        leaf, fragments sorted by `at`
 *
 * link   u8 0                                                       hole
 *        u8 1 · u64 version                                         same blob as the key
 *        u8 2 · 32 blob · u64 version                               another blob
 *
 * fragment   u32 at · u32 length · u32 chunkOffset · 32 chunk id
 *            u8 replicas · replicas × (u16 length · UTF-8)          sorted by code units, each once
 *
 * batch  u32 count · count × (45 key · u32 length · node)
 * ```
 */
import { CHUNK_ID_BYTES, isZeroChunk } from '../chunks/chunk-id.ts'
import { MAX_CHUNK_BYTES } from '../chunks/chunk-size.ts'
import { ByteReader, ByteWriter, fromHex, toHex } from '../lib/bytes.ts'
import { isDyadic, MAX_LEAF_FRAGMENTS, MAX_LEVEL } from './geometry.ts'
import { MAX_REPLICAS_LISTED } from './replica-sets.ts'
import type { Fragment, KeyedNode, NodeKey, TreeNode } from './tree-types.ts'
import type { BlobId, VersionRef } from './types.ts'

/** Length of an encoded key. */
export const NODE_KEY_BYTES = 45

/** Nodes that one batch may carry. */
export const MAX_BATCH_NODES = 8192

const BLOB_ID_BYTES = 32
const MAX_REPLICA_NAME_BYTES = 128

// Nodes come by the thousand and nearly all of one blob.
let lastBlob: BlobId = ''
let lastBlobBytes: Uint8Array = new Uint8Array()

/** Writes a blob id as its 32 bytes. @throws {RangeError} if it is not 64 hexadecimal digits. */
export function writeBlobId(writer: ByteWriter, blob: BlobId): void {
  if (blob !== lastBlob) {
    if (!/^[0-9a-f]{64}$/.test(blob)) throw new RangeError(`not a blob id: ${blob.slice(0, 80)}`)
    lastBlobBytes = fromHex(blob)
    lastBlob = blob
  }
  writer.bytes(lastBlobBytes)
}

/** Reads a blob id. @throws {MalformedError} */
export function readBlobId(reader: ByteReader): BlobId {
  return toHex(reader.bytes(BLOB_ID_BYTES))
}

/**
 * Encodes a key; keys sort by blob, version and offset.
 *
 * @throws {RangeError} for an impossible key.
 */
export function encodeNodeKey(key: NodeKey): Uint8Array {
  const writer = new ByteWriter(NODE_KEY_BYTES)
  writeNodeKey(writer, key)
  return writer.finish()
}

/** Decodes a key. @throws {MalformedError} */
export function decodeNodeKey(bytes: Uint8Array): NodeKey {
  const reader = new ByteReader(bytes, 'node key')
  const key = readNodeKey(reader)
  reader.end()
  return key
}

/**
 * Encodes a node that stands at `key`.
 *
 * @throws {RangeError} for a node that no decoder would take.
 */
export function encodeNode(key: NodeKey, node: TreeNode): Uint8Array {
  const writer = new ByteWriter(160)
  writeNode(writer, key, node)
  return writer.finish()
}

/** Encodes a key and right behind it its node: NODE_KEY_BYTES and the rest. @throws {RangeError} */
export function encodeKeyedNode({ key, node }: KeyedNode): Uint8Array {
  const writer = new ByteWriter(240)
  writeNodeKey(writer, key)
  writeNode(writer, key, node)
  return writer.finish()
}

/**
 * Decodes the node that stands at `key`.
 *
 * @throws {MalformedError} for anything but a canonical node.
 */
export function decodeNode(key: NodeKey, bytes: Uint8Array): TreeNode {
  const reader = new ByteReader(bytes, 'tree node')
  const node = readNode(reader, key)
  reader.end()
  return node
}

/** Encodes many nodes with their keys. @throws {RangeError} above MAX_BATCH_NODES. */
export function encodeNodeBatch(nodes: readonly KeyedNode[]): Uint8Array {
  if (nodes.length > MAX_BATCH_NODES) throw new RangeError(`a batch of ${nodes.length} nodes`)
  const writer = new ByteWriter(4 + nodes.length * 160).u32(nodes.length)
  for (const { key, node } of nodes) {
    writeNodeKey(writer, key)
    const bytes = encodeNode(key, node)
    writer.u32(bytes.byteLength).bytes(bytes)
  }
  return writer.finish()
}

/** Decodes a batch. @throws {MalformedError} */
export function decodeNodeBatch(bytes: Uint8Array): KeyedNode[] {
  return [...readNodeBatch(bytes)]
}

/**
 * Decodes a batch node by node, for those who let other work in between.
 *
 * @yields each node in turn.
 *
 * @throws {MalformedError} when it comes to it; the nodes before are nothing to go by then.
 */
export function* readNodeBatch(bytes: Uint8Array): Generator<KeyedNode> {
  const reader = new ByteReader(bytes, 'node batch')
  const count = reader.u32()
  if (count > MAX_BATCH_NODES) reader.fail(`${count} nodes, at most ${MAX_BATCH_NODES}`)
  for (let at = 0; at < count; at++) {
    const key = readNodeKey(reader)
    yield { key, node: decodeNode(key, reader.bytes(reader.u32())) }
  }
  reader.end()
}

function writeNode(writer: ByteWriter, key: NodeKey, node: TreeNode): void {
  if (node.kind === 'inner') {
    writer.u8(1)
    writeLink(writer, key, node.left)
    writeLink(writer, key, node.right)
    return
  }
  if (node.fragments.length > MAX_LEAF_FRAGMENTS) {
    throw new RangeError(`a leaf of ${node.fragments.length} fragments`)
  }
  writer.u8(2)
  writeLink(writer, key, node.previous)
  writer.u16(node.fragments.length)
  for (const fragment of node.fragments) writeFragment(writer, fragment)
}

function writeNodeKey(writer: ByteWriter, key: NodeKey): void {
  if (!isDyadic(key.offset, key.span)) {
    throw new RangeError(`no tree node stands at ${key.offset} over ${key.span} chunks`)
  }
  writeBlobId(writer, key.blob)
  writer.u64(key.version).u32(key.offset).u8(Math.log2(key.span))
}

/** Reads a key as `encodeNodeKey` wrote it. @throws {MalformedError} */
export function readNodeKey(reader: ByteReader): NodeKey {
  const blob = readBlobId(reader)
  const version = reader.u64()
  const offset = reader.u32()
  const level = reader.u8()
  if (level > MAX_LEVEL) reader.fail(`level ${level}`)
  const span = 2 ** level
  if (offset % span !== 0) reader.fail(`offset ${offset} at span ${span}`)
  return { blob, version, offset, span }
}

function readNode(reader: ByteReader, key: NodeKey): TreeNode {
  const kind = reader.u8()
  if (kind === 1) {
    if (key.span === 1) reader.fail('an inner node in the place of a leaf')
    return { kind: 'inner', left: readLink(reader, key), right: readLink(reader, key) }
  }
  if (kind !== 2) reader.fail(`kind ${kind}`)
  if (key.span !== 1) reader.fail(`a leaf over ${key.span} chunks`)
  const previous = readLink(reader, key)
  const count = reader.u16()
  if (count > MAX_LEAF_FRAGMENTS) reader.fail(`${count} fragments`)
  const fragments: Fragment[] = []
  let free = 0
  for (let at = 0; at < count; at++) {
    const fragment = readFragment(reader)
    if (fragment.at < free) reader.fail('fragments that are not sorted or overlap')
    free = fragment.at + fragment.length
    fragments.push(fragment)
  }
  return { kind: 'leaf', fragments, previous }
}

function writeLink(writer: ByteWriter, key: NodeKey, ref: VersionRef | undefined): void {
  if (ref === undefined) {
    writer.u8(0)
  } else if (ref.blob === key.blob) {
    writer.u8(1).u64(ref.version)
  } else {
    writer.u8(2)
    writeBlobId(writer, ref.blob)
    writer.u64(ref.version)
  }
}

function readLink(reader: ByteReader, key: NodeKey): VersionRef | undefined {
  const kind = reader.u8()
  if (kind === 0) return undefined
  if (kind === 1) return { blob: key.blob, version: reader.u64() }
  if (kind !== 2) reader.fail(`link of kind ${kind}`)
  const blob = readBlobId(reader)
  if (blob === key.blob) reader.fail('a long link within the blob')
  return { blob, version: reader.u64() }
}

function writeFragment(writer: ByteWriter, fragment: Fragment): void {
  const problem = fragmentProblem(fragment)
  if (problem !== undefined) throw new RangeError(`a fragment with ${problem}`)
  const { at, length, chunkOffset, chunk, replicas } = fragment
  writer.u32(at).u32(length).u32(chunkOffset).bytes(chunk).u8(replicas.length)
  for (const id of replicas) writer.text(id)
}

function readFragment(reader: ByteReader): Fragment {
  const at = reader.u32()
  const length = reader.u32()
  const chunkOffset = reader.u32()
  const chunk = reader.bytes(CHUNK_ID_BYTES)
  const count = reader.u8()
  const replicas: string[] = []
  for (let i = 0; i < count; i++) replicas.push(reader.text())
  const fragment = { at, length, chunkOffset, chunk, replicas }
  const problem = fragmentProblem(fragment)
  if (problem !== undefined) reader.fail(`a fragment with ${problem}`)
  return fragment
}

/** Says what keeps a fragment from being canonical. */
function fragmentProblem(fragment: Fragment): string | undefined {
  const { at, length, chunkOffset, chunk, replicas } = fragment
  if (length < 1 || at + length > MAX_CHUNK_BYTES) return `${length} bytes at ${at}`
  if (chunkOffset + length > MAX_CHUNK_BYTES) return `${length} bytes from ${chunkOffset}`
  if (chunk.byteLength !== CHUNK_ID_BYTES) return `an id of ${chunk.byteLength} bytes`
  if (replicas.length > MAX_REPLICAS_LISTED) return `${replicas.length} replicas`
  if (replicas.length > 0 && isZeroChunk(chunk)) return 'replicas of the zero chunk'
  for (const [place, id] of replicas.entries()) {
    if (id === '' || id.length > MAX_REPLICA_NAME_BYTES) return `a replica ${JSON.stringify(id)}`
    if (place > 0 && (replicas[place - 1] ?? '') >= id) return 'replicas that are not sorted'
  }
  return undefined
}
