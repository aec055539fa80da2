import { afterEach, expect, test } from '@jest/globals'
import { BusyRepository } from '../support/collection/busy-repository.ts'

const SEED = Number(process.env['COLLECTION_SEED'] ?? 1)

let busy: BusyRepository | undefined
afterEach(async () => {
  await busy?.stop()
  busy = undefined
})

test(`collecting again and again under eight writers loses nothing and leaves nothing (COLLECTION_SEED=${SEED})`, async () => {
  busy = await BusyRepository.start({ seed: SEED, forMs: 3000, writers: 8, leaseMs: 1500 })

  await busy.run()
  const { missing, left, chunkCount } = await busy.finish()

  expect({ missing, left }).toEqual({ missing: [], left: [] })
  expect(chunkCount).toBeGreaterThan(10)
  const { collections, published, clones, removals, reads, heldReads } = busy.counts
  const { collectedChunks, collectedNodes } = busy.counts
  for (const count of [published, clones, removals, reads, heldReads, collections]) {
    expect(count).toBeGreaterThan(3)
  }
  expect(Math.min(collectedChunks, collectedNodes)).toBeGreaterThan(20)
}, 60_000)
