import { describe, expect, test } from '@jest/globals'
import type { CollectionMarks } from '../../src/metadata/collection-marks.ts'
import { LiveRecords } from '../../src/metadata/collection-sweep.ts'
import { pathRecordName } from '../../src/metadata/path-record.ts'

const noMarks = { hasPage: () => false } as unknown as CollectionMarks

describe('the record of a path', () => {
  test('stays while the path names an image', () => {
    const live = new LiveRecords([], noMarks, ['/a'])

    expect(live.has(pathRecordName('/a'))).toBe(true)
    expect(live.has(pathRecordName('/b'))).toBe(false)
  })

  test('stays where nobody knows the paths', () => {
    expect(new LiveRecords([], noMarks).has(pathRecordName('/b'))).toBe(true)
  })
})
