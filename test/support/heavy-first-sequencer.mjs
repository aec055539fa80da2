import TestSequencer from '@jest/test-sequencer'

// Suites that take longest, so that none of them begins when the others are done and one processor has nothing to do. A
// fresh clone has no timings to go by. First one that computes, then those that wait for processes: the two workers share
// the processors best when they do not do the same at the same time.
const HEAVY = [
  'metadata/tree.test',
  'system/providers',
  'system/bad-input-faults',
  'system/provider-faults',
  'system/concurrent-writers',
  'system/main-job',
  'system/image-cache',
  'system/swarm-faults',
  'system/demo',
  'system/bad-input.',
  'system/operations',
  'system/many-agents',
  'system/',
  'simulation/faults',
  'simulation/swarm.sim',
  'simulation/hostile',
  'metadata/collection-under-writers',
  'metadata/repository.test',
  'gridftp/interruptions',
  'chunks/segment-store',
  'chunks/power-cut',
  'gridftp/large-listing',
  'gridftp/stream-mode',
  'metadata/mutations',
  'simulation/'
]

/** Starts the heaviest suites first, the others as jest would. */
export default class HeavyFirstSequencer extends TestSequencer {
  /** @param {Array<import('@jest/test-result').Test>} tests */
  sort(tests) {
    // oxlint-disable-next-line unicorn/no-array-sort -- no array's
    const asJestWould = super.sort(tests)
    return asJestWould.toSorted((left, right) => rankOf(left.path) - rankOf(right.path))
  }
}

function rankOf(path) {
  const at = HEAVY.findIndex((name) => path.includes(name))
  return at === -1 ? HEAVY.length : at
}
