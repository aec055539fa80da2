import { toError } from '../../lib/to-error.ts'
import type { NamedRecord } from '../../metadata/store-types.ts'
import { majorityOf } from '../owners.ts'
import { isSurelyAbsent, type Placement } from './owner-lists.ts'

/** Records to look for, and how. */
export interface RecordRead {
  readonly names: readonly string[]
  /** Who may have a record; owners in the order in which they are asked. */
  placementOf(name: string): Placement
  ask(owner: string, names: readonly string[]): Promise<readonly (NamedRecord | undefined)[]>
  /** Tells whether a record is what it says. */
  isTrue(name: string, record: NamedRecord): boolean
  /** Rejects with its reason. */
  readonly signal?: AbortSignal | undefined
}

/** What became of one record. */
export interface RecordFinding {
  readonly newest: NamedRecord | undefined
  /** Owners that answered without it or with an older one. */
  readonly behind: readonly string[]
}

interface Ballot {
  readonly name: string
  readonly placement: Placement
  readonly answers: Map<string, NamedRecord | undefined>
  readonly asked: Set<string>
  failure: Error | undefined
}

/**
 * Reads the newest of each record that a majority of its owners knows; while it may be on its way
 * to new owners, also a majority of those by the lists before. The rest of the owners is asked when
 * one of them failed or none has it.
 *
 * @throws {Error} what an owner failed with, if a record was not found and too few owners answered.
 */
export async function readRecords(read: RecordRead): Promise<RecordFinding[]> {
  const ballots = read.names.map((name): Ballot => {
    const placement = read.placementOf(name)
    return { name, placement, answers: new Map(), asked: new Set(), failure: undefined }
  })
  await askAll(
    read,
    ballots.map((ballot) => [ballot, majorities(ballot.placement)] as const)
  )
  const undecided = ballots.filter((ballot) => !isDecided(read, ballot))
  await askAll(
    read,
    undecided.map((ballot) => {
      const { owners, former, others } = ballot.placement
      const isKnown = newestOf(read, ballot) !== undefined
      return [ballot, [...owners, ...former.flat(), ...(isKnown ? [] : others)]] as const
    })
  )
  return ballots.map((ballot) => findingOf(read, ballot))
}

/** The first owners that make up a majority by each list. */
function majorities({ owners, former }: Placement): string[] {
  const chosen = new Set(owners.slice(0, majorityOf(owners.length)))
  for (const set of former) {
    const missing = majorityOf(set.length) - set.filter((owner) => chosen.has(owner)).length
    const more = set.filter((owner) => !chosen.has(owner)).slice(0, Math.max(0, missing))
    for (const owner of more) chosen.add(owner)
  }
  return [...chosen]
}

/** Asks these owners of each ballot that were not asked yet, with one call an owner. */
async function askAll(
  read: RecordRead,
  ballots: readonly (readonly [Ballot, readonly string[]])[]
): Promise<void> {
  read.signal?.throwIfAborted()
  const groups = new Map<string, Ballot[]>()
  for (const [ballot, owners] of ballots) {
    for (const owner of owners) {
      if (ballot.asked.has(owner)) continue
      ballot.asked.add(owner)
      const group = groups.get(owner)
      if (group === undefined) groups.set(owner, [ballot])
      else group.push(ballot)
    }
  }
  const askOwner = async ([owner, group]: [string, Ballot[]]): Promise<void> => {
    try {
      const records = await read.ask(
        owner,
        group.map(({ name }) => name)
      )
      for (const [at, { answers }] of group.entries()) answers.set(owner, records[at])
    } catch (thrown) {
      const error = toError(thrown)
      for (const ballot of group) ballot.failure ??= error
    }
  }
  await Promise.all([...groups].map(askOwner))
  read.signal?.throwIfAborted()
}

function isDecided(read: RecordRead, ballot: Ballot): boolean {
  const { answers, placement } = ballot
  const hasMajorities = [placement.owners, ...placement.former].every((set) => {
    return set.filter((owner) => answers.has(owner)).length >= majorityOf(set.length)
  })
  return hasMajorities && newestOf(read, ballot) !== undefined
}

function newestOf(read: RecordRead, { name, answers }: Ballot): NamedRecord | undefined {
  return [...answers.values()]
    .filter((record) => record !== undefined)
    .toSorted((left, right) => right.sequence - left.sequence)
    .find((record) => read.isTrue(name, record))
}

function findingOf(read: RecordRead, ballot: Ballot): RecordFinding {
  const { answers, placement, failure } = ballot
  const newest = newestOf(read, ballot)
  if (newest === undefined) {
    const answered = [...answers].filter(([, record]) => record === undefined)
    const absent = new Set(answered.map(([owner]) => owner))
    if (failure !== undefined && !isSurelyAbsent(placement, absent)) throw failure
    return { newest, behind: [] }
  }
  const behind = placement.owners.filter((owner) => {
    if (!answers.has(owner)) return false
    const record = answers.get(owner)
    return record === undefined || record.sequence < newest.sequence
  })
  return { newest, behind }
}
