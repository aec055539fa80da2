import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { encodeNodeKey } from '../../../src/metadata/node-codec.ts'
import { MAX_TREE_ITEMS } from '../../../src/peer/protocols/tree.ts'
import { packPaths, unpackPaths } from '../../../src/peer/protocols/tree-paths.ts'

const FROM = { blob: 'ab'.repeat(32), version: 3, offset: 64, span: 64 }

/** Chunks of the interval that begins at 64, sorted, as places. */
const places = fc
  .uniqueArray(fc.integer({ min: 64, max: 127 }), { minLength: 1, maxLength: 64 })
  .map((offsets) => offsets.toSorted((a, b) => a - b).map((offset) => ({ offset, span: 1 })))

describe('paths on the wire', () => {
  test('are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(places, { minLength: 1, maxLength: 5 }), (all) => {
        const paths = all.map((to, version) => ({ from: { ...FROM, version }, to }))

        expect(unpackPaths(packPaths(paths))).toEqual(paths)
      })
    )
  })

  test('are cut to what one request may have', () => {
    const to = Array.from({ length: MAX_TREE_ITEMS - 1 }, (_, offset) => ({ offset, span: 1 }))
    const from = { ...FROM, offset: 0, span: 2048 }

    const { paths } = packPaths([
      { from, to },
      { from, to },
      { from, to }
    ])

    expect(paths.map((path) => path.to.length)).toEqual([MAX_TREE_ITEMS - 1, 1])
  })

  test.each<[string, [number, number][]]>([
    ['that lie before their node', [[0, 1]]],
    ['that lie behind it', [[128, 1]]],
    ['that are wider', [[64, 128]]],
    [
      'that overlap',
      [
        [64, 2],
        [65, 1]
      ]
    ],
    [
      'out of order',
      [
        [70, 1],
        [66, 1]
      ]
    ],
    ['where no node can stand', [[65, 2]]]
  ])('are refused with places %s', (_what, to) => {
    const unpack = (): unknown => unpackPaths({ paths: [{ from: encodeNodeKey(FROM), to }] })

    expect(unpack).toThrow(expect.objectContaining({ code: 'ERR_MALFORMED' }))
  })

  test('are refused with too many places together', () => {
    const to = Array.from({ length: 64 }, (_, at): [number, number] => [64 + at, 1])
    const path = { from: encodeNodeKey(FROM), to }
    const paths = Array.from({ length: MAX_TREE_ITEMS / 64 + 1 }, () => path)

    expect(() => unpackPaths({ paths })).toThrow(expect.objectContaining({ code: 'ERR_MALFORMED' }))
  })
})
