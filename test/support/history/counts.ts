/** What happened in histories, to see that all cases occur. */
export interface HistoryCounts {
  histories: number
  /** Steps of the scheduler. */
  steps: number
  writes: number
  appends: number
  truncations: number
  merges: number
  clones: number
  /** Clones of the version 0 of a clone. */
  clonesOfClones: number
  /** Writes of at least a hundred extents. */
  manyExtents: number
  /** Writes whose ranges were joined, so that there are leaves that only link. */
  joinedRanges: number
  /** Writes whose leaf list goes beyond the ranges of their ticket. */
  lies: number
  zeroRuns: number
  /** Trees that grew by more than one level at once, which takes a spine. */
  growths: number
  /** Appends that were cut again because others were faster. */
  conflicts: number
  /** Writes whose condition on the newest version did not hold. */
  refusedConditions: number
  /** Versions in flight that tickets named, all together. */
  inFlight: number
  crashes: number
  /** Crashes of writers that had their ticket. */
  crashesInFlight: number
  repairs: number
  /** Repairs that began while another repair of the version was under way. */
  doubleRepairs: number
  /** Nodes that their writer stored after a repairer had begun to. */
  zombiePuts: number
  /** Commits and renewals of writers whose versions had been fenced. */
  lateCommits: number
  refusedRenewals: number
  /** Puts of which a part was stored and the rest failed. */
  partialPuts: number
  /** Nodes that a writer tried to put in the place of its own, after it had published them. */
  rewrites: number
  restarts: number
  seals: number
  /** Versions that two sealers began to seal at the same time. */
  doubleSeals: number
  /** Sealings that were cut off by a crash. */
  cutSeals: number
  /** Versions that were sealed twice, each time from nothing. */
  sealedAgain: number
  reads: number
  /** Reads of trees of which only the nodes were left that collection keeps. */
  collectedReads: number
  comparedVersions: number
  /** Versions of more chunks than one manifest page lists. */
  largeVersions: number
}

/** All counts at zero. */
export function noCounts(): HistoryCounts {
  return {
    histories: 0,
    steps: 0,
    writes: 0,
    appends: 0,
    truncations: 0,
    merges: 0,
    clones: 0,
    clonesOfClones: 0,
    manyExtents: 0,
    joinedRanges: 0,
    lies: 0,
    zeroRuns: 0,
    growths: 0,
    conflicts: 0,
    refusedConditions: 0,
    inFlight: 0,
    crashes: 0,
    crashesInFlight: 0,
    repairs: 0,
    doubleRepairs: 0,
    zombiePuts: 0,
    lateCommits: 0,
    refusedRenewals: 0,
    partialPuts: 0,
    rewrites: 0,
    restarts: 0,
    seals: 0,
    doubleSeals: 0,
    cutSeals: 0,
    sealedAgain: 0,
    reads: 0,
    collectedReads: 0,
    comparedVersions: 0,
    largeVersions: 0
  }
}
