import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { PowerCutFiles } from '../support/power-cut-files.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-power-'))
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

const chunks = Array.from({ length: 12 }, (_, seed) => sampleChunk(seed, 50))

/** Puts until the power goes. @returns whether each chunk was acknowledged. */
async function putUntilCut(files: PowerCutFiles, cutAfter: number): Promise<boolean[]> {
  const store = new DiskStore({ logger: noLogger, files }, { directory, maxWrites: 4 })
  files.cutAfter(cutAfter)
  try {
    await store.start()
    const puts = chunks.map(({ id, bytes }) => store.put(id, bytes))
    return (await Promise.allSettled(puts)).map(({ status }) => status === 'fulfilled')
  } catch {
    return chunks.map(() => false) // the power went during the start
  } finally {
    await store.stop()
  }
}

/** Starts again and compares; what was not acknowledged may be there or not. */
async function checkAfterwards(
  files: PowerCutFiles,
  acknowledged: readonly boolean[]
): Promise<void> {
  const store = new DiskStore({ logger: noLogger, files }, { directory })
  try {
    await store.start()
    for (const [at, { id, bytes }] of chunks.entries()) {
      const found = await store.get(id)
      expect(acknowledged[at] === true ? [bytes] : [undefined, bytes]).toContainEqual(found)
      await store.put(id, bytes)
      expect(await store.get(id)).toEqual(bytes)
    }
  } finally {
    await store.stop()
  }
}

test('kills and power cuts lose no acknowledged chunk and serve no wrong one', async () => {
  const end = fc.record({ after: fc.nat(160), isPowerCut: fc.boolean() })
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(end, { maxLength: 3 }), async (seed, ends) => {
      const files = new PowerCutFiles(seededRandom(seed), dirname(directory))
      const acknowledged = chunks.map(() => false)
      for (const { after, isPowerCut } of ends) {
        const put = await putUntilCut(files, after)
        for (const [at, isDone] of put.entries()) acknowledged[at] ||= isDone
        if (isPowerCut) files.restore()
        else files.resume()
      }
      files.restore()

      await checkAfterwards(files, acknowledged)
    }),
    { numRuns: 200 }
  )
})

test('with durability memory a power cut loses chunks but serves no wrong one', async () => {
  const files = new PowerCutFiles(seededRandom(3), dirname(directory))
  const before = new DiskStore({ logger: noLogger, files }, { directory, durability: 'memory' })
  await before.start()
  for (const { id, bytes } of chunks) await before.put(id, bytes)
  await before.stop()

  files.restore()
  const after = new DiskStore({ logger: noLogger, files }, { directory, durability: 'memory' })
  await after.start()

  for (const { id, bytes } of chunks) {
    expect([undefined, bytes]).toContainEqual(await after.get(id))
  }
  await after.stop()
})
