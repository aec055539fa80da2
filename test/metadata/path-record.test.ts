import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { BlobswarmError } from '../../src/lib/errors.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { PathPublisher } from '../../src/metadata/path-publisher.ts'
import {
  decodePathRecord,
  encodePathRecord,
  pathRecordName,
  verifyPathRecord
} from '../../src/metadata/path-record.ts'
import type { NamedRecord } from '../../src/metadata/store-types.ts'
import { gullible, plainSigner } from '../support/plain-signing.ts'

const BLOB = 'ab'.repeat(32)
const records = fc.record({
  path: fc.string({ unit: 'grapheme', maxLength: 200 }).map((text) => `/${text}`),
  blob: fc.constant(BLOB),
  version: fc.maxSafeNat(),
  sequence: fc.maxSafeNat()
})

describe('a path record', () => {
  test('is read back as it was written', () => {
    fc.assert(
      fc.property(records, (record) => {
        expect(decodePathRecord(encodePathRecord(record))).toEqual(record)
      })
    )
  })

  test('is refused when it is anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        let thrown: unknown
        try {
          expect(encodePathRecord(decodePathRecord(bytes))).toEqual(bytes)
        } catch (error) {
          thrown = error
        }
        expect(thrown === undefined || thrown instanceof BlobswarmError).toBe(true)
      })
    )
  })

  test('has a name of one length, whatever the path', () => {
    expect(pathRecordName('/a')).toHaveLength(pathRecordName(`/${'long/'.repeat(500)}`).length)
    expect(pathRecordName('/a')).not.toBe(pathRecordName('/b'))
  })
})

describe('what paths stand for', () => {
  const put: NamedRecord[] = []
  const make = (paths: ReadonlyMap<string, string>, newest: () => number): PathPublisher => {
    put.length = 0
    return new PathPublisher({
      metadata: { putRecords: async (some) => void put.push(...some) },
      signer: plainSigner('manager'),
      clock: { now: () => 1000 },
      logger: noLogger.forComponent('test'),
      pathOf: (blob) => paths.get(blob),
      newest
    })
  }

  test('is told once for each version, under growing sequences', async () => {
    let version = 1
    const publisher = make(new Map([[BLOB, '/a']]), () => version)
    publisher.note(BLOB)
    publisher.note(BLOB)
    version = 2
    publisher.note(BLOB)

    await publisher.stop()

    const told = put.map(({ envelope }) => verifyPathRecord(gullible, envelope, '/a'))
    expect(told).toMatchObject([
      { version: 1, sequence: 1000 },
      { version: 2, sequence: 1001 }
    ])
  })

  test('is not told of a blob without a path', async () => {
    const publisher = make(new Map(), () => 1)

    publisher.note(BLOB)
    await publisher.stop()

    expect(put).toEqual([])
  })

  test('is not believed for another path', async () => {
    const publisher = make(new Map([[BLOB, '/a']]), () => 1)
    publisher.note(BLOB)
    await publisher.stop()

    expect(() => {
      const [record] = put
      if (record !== undefined) verifyPathRecord(gullible, record.envelope, '/b')
    }).toThrow('in place of /b')
  })
})
