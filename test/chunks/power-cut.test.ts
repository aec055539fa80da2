import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import type { DiskFormat } from '../../src/chunks/disk-layout.ts'
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

/** Small segments, so that they are many, and compacted. */
const SEGMENT_BYTES = 400

interface Life {
  /** Operations of files until it ends. */
  readonly after: number
  readonly isPowerCut: boolean
  /** Chunks that are deleted once all were put. */
  readonly deleted: readonly number[]
}

const life = fc.record({
  after: fc.nat(220),
  isPowerCut: fc.boolean(),
  deleted: fc.subarray(Array.from(chunks.keys()))
})

/** Puts and deletes until the power goes. Notes what is acknowledged, and what may be gone again. */
async function live(
  files: PowerCutFiles,
  { after, deleted }: Life,
  options: { readonly format: DiskFormat; readonly acknowledged: boolean[] }
): Promise<void> {
  const { format, acknowledged } = options
  const store = new DiskStore(
    { logger: noLogger, files },
    { directory, maxWrites: 4, format, segmentBytes: SEGMENT_BYTES }
  )
  files.cutAfter(after)
  try {
    await store.start()
    const puts = chunks.map(async ({ id, bytes }, at) => {
      await store.put(id, bytes)
      acknowledged[at] = true
    })
    await Promise.allSettled(puts)
    for (const at of deleted) acknowledged[at] = false
    const deletes = deleted.map(async (at) => await store.delete((chunks[at] as Sample).id))
    await Promise.allSettled(deletes)
  } catch {
    // The power went during the start.
  } finally {
    await store.stop()
  }
}

type Sample = ReturnType<typeof sampleChunk>

/** Starts again and compares; what was not acknowledged may be there or not. */
async function checkAfterwards(
  files: PowerCutFiles,
  acknowledged: readonly boolean[]
): Promise<void> {
  const store = new DiskStore(
    { logger: noLogger, files },
    { directory, segmentBytes: SEGMENT_BYTES }
  )
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

test.each([
  ['segments', 80],
  ['files', 30]
] as const)(
  'kills and power cuts lose no acknowledged chunk in %s and serve no wrong one',
  async (format, numRuns) => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.array(life, { maxLength: 4 }), async (seed, lives) => {
        const files = new PowerCutFiles(seededRandom(seed), dirname(directory))
        const acknowledged = chunks.map(() => false)
        for (const each of lives) {
          await live(files, each, { format, acknowledged })
          if (each.isPowerCut) files.restore()
          else files.resume()
        }
        files.restore()

        await checkAfterwards(files, acknowledged)
      }),
      { numRuns }
    )
  }
)

test.each(['segments', 'files'] as const)(
  'with durability memory a power cut loses chunks in %s but serves no wrong one',
  async (format) => {
    const files = new PowerCutFiles(seededRandom(3), dirname(directory))
    const options = { directory, durability: 'memory', format } as const
    const before = new DiskStore({ logger: noLogger, files }, options)
    await before.start()
    for (const { id, bytes } of chunks) await before.put(id, bytes)
    await before.stop()

    files.restore()
    const after = new DiskStore({ logger: noLogger, files }, options)
    await after.start()

    for (const { id, bytes } of chunks) {
      expect([undefined, bytes]).toContainEqual(await after.get(id))
    }
    await after.stop()
  }
)

test.each(['segments', 'files'] as const)(
  'what was written with durability memory in %s is flushed by a start with fsync',
  async (format) => {
    const files = new PowerCutFiles(seededRandom(4), dirname(directory))
    const before = new DiskStore(
      { logger: noLogger, files },
      { directory, durability: 'memory', format }
    )
    await before.start()
    for (const { id, bytes } of chunks) await before.put(id, bytes)
    await before.stop()

    const flushing = new DiskStore({ logger: noLogger, files }, { directory })
    await flushing.start()
    files.restore()
    const after = new DiskStore({ logger: noLogger, files }, { directory })
    await flushing.stop()
    await after.start()

    for (const { id, bytes } of chunks) expect(await after.get(id)).toEqual(bytes)
    await after.stop()
  }
)
