import { describe, expect, test } from '@jest/globals'
import type { ChunkId } from '../../src/chunks/types.ts'
import type { BlobRoots } from '../../src/metadata/collection-types.ts'
import { CollectionHistory } from '../support/collection/collection-history.ts'
import type { CollectorParts } from '../support/collection/gates.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'

const LEASE_MS = 1000
const STEPS = 300

/** Histories within which each mutation has to be found out. */
const MAX_HISTORIES = 40

type Spoil = (parts: CollectorParts, bench: TestRepository) => Partial<CollectorParts>

/** Changes what the version manager says of each blob. */
function withRoots(change: (root: BlobRoots) => BlobRoots): Spoil {
  return ({ versions }) => ({
    versions: {
      ...versions,
      roots: async (retired, options) => (await versions.roots(retired, options)).map(change)
    }
  })
}

/** Each with the seed of a history that is known to find it out, where the search begins. */
const MUTATIONS: readonly (readonly [string, number, Spoil])[] = [
  [
    'leaf lists of versions in flight are no roots',
    213,
    withRoots((root) => ({
      ...root,
      leafLists: []
    }))
  ],
  [
    'held versions, which nobody can see any more, are no roots',
    1,
    withRoots((root) => ({
      ...root,
      manifests: root.manifests.filter((version) => version === root.published),
      trees: root.trees.filter((version) => version === root.published)
    }))
  ],
  [
    'what the next version stands on is no root',
    1,
    withRoots((root) => ({
      ...root,
      manifests: root.manifests.filter((version) => version !== root.published),
      trees: root.trees.filter((version) => version !== root.published)
    }))
  ],
  [
    'what clones stand on is no root',
    1,
    withRoots((root) => ({
      ...root,
      trees: root.manifests
    }))
  ],
  [
    'roots are older than the collection',
    38,
    ({ versions }) => {
      const taken: (readonly BlobRoots[])[] = []
      return {
        versions: {
          ...versions,
          roots: async (retired, options) => {
            const now = await versions.roots(retired, options)
            taken.push(now)
            return taken.at(-4) ?? now // a collection asks twice
          }
        }
      }
    }
  ],
  [
    'leases count for nothing',
    1,
    ({ providers }, { stores }) => ({
      providers: async (options) =>
        (await providers(options)).map(({ id, store }) => ({
          id,
          store: store && {
            ...store,
            unleased: async (collection: string, after: ChunkId | undefined) => {
              await store.unleased(collection, after) // waits for its gate
              return after === undefined ? Array.from(stores.get(id)?.ids() ?? []) : []
            },
            collect: async (collection: string, ids: readonly ChunkId[]) => {
              await store.collect(collection, []) // waits for its gate
              for (const chunk of ids) await stores.get(id)?.delete(chunk)
              return { count: ids.length, bytes: 0 }
            }
          }
        }))
    })
  ],
  [
    'nodes go that only a version above the next tree has again',
    23,
    ({ versions }) => ({
      versions: {
        ...versions,
        assigned: async (blob, { from, to }, options) =>
          await versions.assigned(blob, { from, to: to + 1 }, options)
      }
    })
  ]
]

/** @returns the seed of the first history that goes wrong. */
async function firstFailure(spoil: Spoil, from: number): Promise<number | undefined> {
  for (let seed = from; seed < from + MAX_HISTORIES; seed++) {
    const leaseClock = new ManualClock()
    const clock = new ManualClock()
    const bench = await startTestRepository({ clock, leaseClock, leaseMs: LEASE_MS })
    const spoilHere = (parts: CollectorParts) => spoil(parts, bench)
    const on = { bench, leaseClock, leaseMs: LEASE_MS, counts: new Map(), spoil: spoilHere }
    try {
      await new CollectionHistory(seed, on).run(STEPS)
    } catch {
      return seed
    } finally {
      await bench.stop()
    }
  }
  return undefined
}

describe('a collection that goes wrong is found out', () => {
  test.each(MUTATIONS)(
    'when %s',
    async (_name, seed, spoil) => {
      expect(await firstFailure(spoil, seed)).toBeDefined()
    },
    120_000
  )
})
