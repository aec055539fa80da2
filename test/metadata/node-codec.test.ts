import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import {
  decodeNode,
  decodeNodeBatch,
  decodeNodeKey,
  encodeNode,
  encodeNodeBatch,
  encodeNodeKey
} from '../../src/metadata/node-codec.ts'
import type { Fragment, NodeKey, TreeNode } from '../../src/metadata/tree-types.ts'
import type { VersionRef } from '../../src/metadata/types.ts'

const blobs = ['aa', 'bb'].map((two) => two.repeat(32))
const blob = fc.constantFrom(...blobs)
const someRef: fc.Arbitrary<VersionRef | undefined> = fc.option(
  fc.record({ blob, version: fc.nat(1000) }),
  { nil: undefined }
)
const someFragment: fc.Arbitrary<Fragment> = fc.record({
  at: fc.nat(1000),
  length: fc.integer({ min: 1, max: 100 }),
  chunk: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((id) => id.fill(1, 0, 1)),
  chunkOffset: fc.nat(1000),
  replicas: fc
    .uniqueArray(fc.constantFrom('p1', 'p2', 'p3', 'päer'), { maxLength: 4 })
    .map((ids) => ids.toSorted())
})
const someFragments = fc.array(someFragment, { maxLength: 5 }).map((fragments) =>
  // Side by side with gaps.
  fragments.map((fragment, at) => ({ ...fragment, at: at * 1200 + (fragment.at % 500) }))
)
const someNode: fc.Arbitrary<{ key: NodeKey; node: TreeNode }> = fc.oneof(
  fc.record({
    key: fc.record({
      blob,
      version: fc.integer({ min: 1, max: 2 ** 40 }),
      offset: fc.nat(100).map((at) => at * 1024),
      span: fc.constantFrom(2, 4, 1024)
    }),
    node: fc.record({ kind: fc.constant('inner' as const), left: someRef, right: someRef })
  }),
  fc.record({
    key: fc.record({ blob, version: fc.nat(5), offset: fc.nat(2 ** 32 - 1), span: fc.constant(1) }),
    node: fc.record({
      kind: fc.constant('leaf' as const),
      fragments: someFragments,
      previous: someRef
    })
  })
)

const LEAF_KEY: NodeKey = { blob: blobs[0]!, version: 3, offset: 7, span: 1 }
const fragment: Fragment = {
  at: 0,
  length: 4,
  chunkOffset: 0,
  replicas: ['p1', 'p2'],
  chunk: new Uint8Array(32).fill(9)
}

function leaf(...fragments: Fragment[]): TreeNode {
  return { kind: 'leaf', fragments, previous: undefined }
}

test('nodes and their keys come back from their bytes', () => {
  fc.assert(
    fc.property(someNode, ({ key, node }) => {
      expect(decodeNodeKey(encodeNodeKey(key))).toEqual(key)
      expect(decodeNode(key, encodeNode(key, node))).toEqual(node)
    })
  )
})

test('batches come back from their bytes', () => {
  fc.assert(
    fc.property(fc.array(someNode, { maxLength: 20 }), (nodes) => {
      expect(decodeNodeBatch(encodeNodeBatch(nodes))).toEqual(nodes)
    })
  )
})

test('whatever bytes are taken for a node are exactly what it encodes to', () => {
  const mutated = fc
    .tuple(someNode, fc.nat(), fc.nat(255), fc.integer({ min: 0, max: 40 }))
    .map(([{ key, node }, at, byte, cut]) => {
      const bytes = encodeNode(key, node)
      bytes[at % bytes.byteLength] = byte
      return { key, bytes: cut > 30 ? bytes.subarray(0, bytes.byteLength - (cut - 30)) : bytes }
    })
  const random = fc.record({ key: someNode.map(({ key }) => key), bytes: fc.uint8Array() })

  fc.assert(
    fc.property(fc.oneof(mutated, random), ({ key, bytes }) => {
      const node = taken(() => decodeNode(key, bytes))
      if (node !== undefined) expect(encodeNode(key, node)).toEqual(new Uint8Array(bytes))
    }),
    { numRuns: 2000 }
  )
})

test('any bytes are a batch or malformed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const nodes = taken(() => decodeNodeBatch(bytes))
      if (nodes !== undefined) expect(encodeNodeBatch(nodes)).toEqual(bytes)
    }),
    { numRuns: 1000 }
  )
})

test('what is not canonical is not encoded', () => {
  const wrong: TreeNode[] = [
    leaf({ ...fragment, length: 0 }),
    leaf({ ...fragment, replicas: ['p2', 'p1'] }),
    leaf({ ...fragment, replicas: ['p1', 'p1'] }),
    leaf({ ...fragment, replicas: [''] }),
    leaf({ ...fragment, chunk: ZERO_CHUNK_ID }),
    leaf({ ...fragment, chunk: new Uint8Array(31) }),
    leaf({ ...fragment, at: 2 ** 24 }),
    leaf(...Array.from({ length: 4097 }, (_, at) => ({ ...fragment, at: at * 4 })))
  ]

  for (const node of wrong) expect(() => encodeNode(LEAF_KEY, node)).toThrow(RangeError)
  expect(() => encodeNodeKey({ ...LEAF_KEY, span: 2 })).toThrow(RangeError)
  expect(() => encodeNodeKey({ ...LEAF_KEY, blob: 'AA'.repeat(32) })).toThrow(RangeError)
})

test('a node is a leaf where it is one chunk wide and nowhere else', () => {
  const inner: TreeNode = { kind: 'inner', left: undefined, right: undefined }
  const wide = { ...LEAF_KEY, offset: 8, span: 2 }

  expect(() => decodeNode(LEAF_KEY, encodeNode(wide, inner))).toThrow('inner node')
  expect(() => decodeNode(wide, encodeNode(LEAF_KEY, leaf(fragment)))).toThrow('leaf')
})

function taken<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_MALFORMED' })
    return undefined
  }
}
