import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { type FileLayer, systemFiles, writePartsFully } from '../../src/lib/file-layer.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-parts-'))
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

/** Files that write so many bytes at most in one call. */
const shortFiles = (maxBytes: number): FileLayer => ({
  ...systemFiles,
  writeParts: async (file, parts, position) => {
    const joined = Buffer.concat(parts).subarray(0, maxBytes)
    return await systemFiles.write(file, joined, position)
  }
})

const filesWithoutParts: FileLayer = { ...systemFiles }
delete filesWithoutParts.writeParts

test('parts are written whole and in order, however much goes in one call', async () => {
  const parts = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 8 })
  let number = 0
  await fc.assert(
    fc.asyncProperty(parts, fc.integer({ min: 1, max: 60 }), async (written, maxBytes) => {
      for (const files of [systemFiles, shortFiles(maxBytes), filesWithoutParts]) {
        const path = join(directory, `${number++}`)
        const file = await files.open(path, 'w+')
        await writePartsFully(files, file, written, 3)
        await files.close(file)

        const total = Buffer.concat(written)
        const expected = total.length === 0 ? total : Buffer.concat([Buffer.alloc(3), total])
        expect(await readFile(path)).toEqual(expected)
      }
    }),
    { numRuns: 30 }
  )
})
