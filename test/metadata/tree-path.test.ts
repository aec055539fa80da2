import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { seededRandom } from '../../src/lib/random.ts'
import { BaseTree } from '../../src/metadata/base-tree.ts'
import type { Interval } from '../../src/metadata/geometry.ts'
import { decodeNodeKey, encodeNode, encodeNodeKey } from '../../src/metadata/node-codec.ts'
import { rawPathKeys } from '../../src/metadata/raw-paths.ts'
import type { NodeStore } from '../../src/metadata/store-types.ts'
import {
  MAX_PATH_NODES,
  readPaths,
  type TreePath,
  walkPaths
} from '../../src/metadata/tree-path.ts'
import type { KeyedNode, NodeKey, TreeNode } from '../../src/metadata/tree-types.ts'
import type { VersionRef } from '../../src/metadata/types.ts'

const SPAN = 64
const BLOBS = ['ab'.repeat(32), 'cd'.repeat(32)]
const LEAF: TreeNode = { kind: 'leaf', fragments: [], previous: undefined }

/** A tree of chance: any version of two blobs at any node, and holes. */
class RandomTree {
  readonly root: NodeKey
  readonly nodes = new Map<string, KeyedNode>()
  readonly #random: () => number

  constructor(seed: number) {
    this.#random = seededRandom(seed)
    this.root = { ...this.#ref(), offset: 0, span: SPAN }
    this.#grow(this.root)
  }

  at(key: NodeKey): TreeNode | undefined {
    return this.nodes.get(nameOf(key))?.node
  }

  /** Disjoint places of chance, sorted. */
  places(): Interval[] {
    const places: Interval[] = []
    const cut = (offset: number, span: number): void => {
      const chance = this.#random()
      if (chance < 0.15 || span === 1) places.push({ offset, span })
      else if (chance < 0.9) {
        cut(offset, span / 2)
        cut(offset + span / 2, span / 2)
      }
    }
    cut(0, SPAN)
    return places
  }

  /** What stands at a place, by going down for it alone. */
  refAt(place: Interval): VersionRef | undefined {
    let key: NodeKey | undefined = this.root
    while (key !== undefined && key.span > place.span) {
      const node = this.at(key)
      if (node?.kind !== 'inner') return undefined
      const span: number = key.span / 2
      const isRight: boolean = place.offset >= key.offset + span
      const ref: VersionRef | undefined = isRight ? node.right : node.left
      key = ref && { ...ref, offset: isRight ? key.offset + span : key.offset, span }
    }
    return key && { blob: key.blob, version: key.version }
  }

  #ref(): VersionRef {
    const blob = BLOBS[this.#random() < 0.8 ? 0 : 1] ?? ''
    return { blob, version: 1 + Math.floor(this.#random() * 9) }
  }

  #grow(key: NodeKey): void {
    if (key.span === 1) {
      this.nodes.set(nameOf(key), { key, node: LEAF })
      return
    }
    const half = (): VersionRef | undefined => (this.#random() < 0.1 ? undefined : this.#ref())
    const left = half()
    const right = half()
    this.nodes.set(nameOf(key), { key, node: { kind: 'inner', left, right } })
    const span = key.span / 2
    if (left !== undefined) this.#grow({ ...left, offset: key.offset, span })
    if (right !== undefined) this.#grow({ ...right, offset: key.offset + span, span })
  }
}

function nameOf({ blob, version, offset, span }: NodeKey): string {
  return `${blob}/${version}/${offset}/${span}`
}

function pathsOf(tree: RandomTree, to: readonly Interval[]): TreePath[] {
  return [{ from: tree.root, to }]
}

/** The store of a tree, which gives some of the nodes on a way, and counts what it is asked. */
function storeOf(tree: RandomTree, nodesAtOnce: number) {
  const asked = { nodes: 0, paths: 0 }
  const getNodes: NodeStore['getNodes'] = async (keys) => {
    asked.nodes += 1
    return keys.map((key) => tree.at(key))
  }
  const getPaths = async (paths: readonly TreePath[]): Promise<KeyedNode[]> => {
    asked.paths += 1
    const found = await readPaths(paths, async (keys) => keys.map((key) => nodeOf(tree, key)))
    return found.slice(0, nodesAtOnce)
  }
  return { asked, getNodes, getPaths, putNodes }
}

const putNodes = (): Promise<void> => Promise.reject(new Error('nothing is put here'))

function nodeOf(tree: RandomTree, key: NodeKey): KeyedNode | undefined {
  return tree.nodes.get(nameOf(key))
}

describe('paths down a tree', () => {
  test('lead to what going down for each place alone leads to', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const tree = new RandomTree(seed)
        const places = tree.places()
        const arrived = new Map<Interval, VersionRef>()

        const { open } = walkPaths(
          pathsOf(tree, places),
          (key) => tree.at(key),
          (ref, place) => void arrived.set(place, ref)
        )

        expect(open).toEqual([])
        expect(places.map((place) => arrived.get(place))).toEqual(
          places.map((place) => tree.refAt(place))
        )
      })
    )
  })

  test('stop where a node is not known, and go on from there', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const tree = new RandomTree(seed)
        const places = tree.places()
        const arrived = new Map<Interval, VersionRef>()
        const arrive = (ref: VersionRef, place: Interval): void => void arrived.set(place, ref)
        const knownAbove = (span: number) => (key: NodeKey) =>
          key.span > span ? tree.at(key) : undefined

        const { open } = walkPaths(pathsOf(tree, places), knownAbove(SPAN / 4), arrive)
        walkPaths(open, (key) => tree.at(key), arrive)

        expect(open.every(({ from }) => from.span === SPAN / 4)).toBe(true)
        expect(places.map((place) => arrived.get(place))).toEqual(
          places.map((place) => tree.refAt(place))
        )
      })
    )
  })

  test('are the same for the thread that has nothing but bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 200 }), async (seed, limit) => {
        const tree = new RandomTree(seed)
        const paths = pathsOf(tree, tree.places())
        const raw = paths.map(({ from, to }) => ({
          from: encodeNodeKey(from),
          to: to.map(({ offset, span }): [number, number] => [offset, span])
        }))

        const keys = rawPathKeys(
          raw,
          (key) => {
            const node = nodeOf(tree, decodeNodeKey(key))
            return node && encodeNode(node.key, node.node)
          },
          limit
        )

        const found = await readPaths(paths, async (some) => some.map((key) => nodeOf(tree, key)))
        expect(keys.map(decodeNodeKey)).toEqual(found.slice(0, limit).map(({ key }) => key))
      })
    )
  })

  test('are read up to a limit', async () => {
    const width = 4096
    const everywhere = Array.from({ length: width }, (_, offset) => ({ offset, span: 1 }))
    const own = { blob: BLOBS[0] ?? '', version: 1 }
    const node: TreeNode = { kind: 'inner', left: own, right: own }

    const found = await readPaths(
      [{ from: { ...own, offset: 0, span: width }, to: everywhere }],
      async (keys) => keys.map((key) => ({ key, node }))
    )

    expect(found).toHaveLength(MAX_PATH_NODES)
  })

  test('refuse a place that is wider than the tree', () => {
    const tree = new RandomTree(1)

    const walk = (): unknown =>
      walkPaths(pathsOf(tree, [{ offset: 0, span: SPAN * 2 }]), (key) => tree.at(key))

    expect(walk).toThrow(RangeError)
  })
})

describe('the published tree of a writer', () => {
  test('is right however much of a way a store gives at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat({ max: 20 }), async (seed, nodesAtOnce) => {
        const tree = new RandomTree(seed)
        const places = tree.places()
        const base = new BaseTree(storeOf(tree, nodesAtOnce), tree.root)

        const found = await base.resolve(places)

        expect(found).toEqual(places.map((place) => tree.refAt(place)))
      })
    )
  })

  test('costs one call where the store goes down by itself', async () => {
    const tree = new RandomTree(7)
    const store = storeOf(tree, MAX_PATH_NODES)
    const base = new BaseTree(store, tree.root)

    await base.resolve(tree.places())
    await base.resolve([{ offset: 0, span: SPAN / 2 }])

    expect(store.asked).toEqual({ nodes: 0, paths: 1 })
  })

  test('says which node is nowhere', async () => {
    const tree = new RandomTree(3)
    const store = { ...storeOf(tree, 0), getNodes: async () => [undefined] }

    const resolved = new BaseTree(store, tree.root).resolve([{ offset: 0, span: 1 }])

    await expect(resolved).rejects.toMatchObject({ code: 'ERR_METADATA_MISSING' })
  })
})
