import { toError } from '../../lib/to-error.ts'
import type { NamedRecord } from '../../metadata/types.ts'
import { majorityOf } from '../owners.ts'

/** Records to look for, and how. */
export interface RecordRead {
  readonly names: readonly string[]
  /** Owners of a record in the order in which they are asked. */
  ownersOf(name: string): readonly string[]
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
  readonly owners: readonly string[]
  readonly answers: Map<string, NamedRecord | undefined>
  asked: number
  failure: Error | undefined
}

/**
 * Reads the newest of each record that a majority of its owners knows. The rest of the owners is
 * asked when one of them failed or none has it.
 *
 * @throws {Error} what an owner failed with, if a record was not found and too few owners answered.
 */
export async function readRecords(read: RecordRead): Promise<RecordFinding[]> {
  const ballots = read.names.map((name): Ballot => {
    const owners = read.ownersOf(name)
    return { name, owners, answers: new Map(), asked: 0, failure: undefined }
  })
  const ask = ballots.map((ballot) => [ballot, majorityOf(ballot.owners.length)] as const)
  await askAll(read, ask)
  const undecided = ballots.filter((ballot) => !isDecided(read, ballot))
  await askAll(
    read,
    undecided.map((ballot) => [ballot, ballot.owners.length] as const)
  )
  return ballots.map((ballot) => findingOf(read, ballot))
}

/** Asks the owners of each ballot up to the given number, with one call an owner. */
async function askAll(
  read: RecordRead,
  ballots: readonly (readonly [Ballot, number])[]
): Promise<void> {
  read.signal?.throwIfAborted()
  const groups = new Map<string, Ballot[]>()
  for (const [ballot, upTo] of ballots) {
    for (const owner of ballot.owners.slice(ballot.asked, upTo)) {
      const group = groups.get(owner)
      if (group === undefined) groups.set(owner, [ballot])
      else group.push(ballot)
    }
    ballot.asked = upTo
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
      for (const ballot of group) ballot.failure = error
    }
  }
  await Promise.all([...groups].map(askOwner))
  read.signal?.throwIfAborted()
}

function isDecided(read: RecordRead, ballot: Ballot): boolean {
  const { answers, owners } = ballot
  return answers.size >= majorityOf(owners.length) && newestOf(read, ballot) !== undefined
}

function newestOf(read: RecordRead, { name, answers }: Ballot): NamedRecord | undefined {
  return [...answers.values()]
    .filter((record) => record !== undefined)
    .toSorted((left, right) => right.sequence - left.sequence)
    .find((record) => read.isTrue(name, record))
}

function findingOf(read: RecordRead, ballot: Ballot): RecordFinding {
  const { answers, owners, failure } = ballot
  const newest = newestOf(read, ballot)
  if (newest === undefined) {
    const absent = [...answers.values()].filter((record) => record === undefined).length
    if (failure !== undefined && absent < majorityOf(owners.length)) throw failure
    return { newest, behind: [] }
  }
  const behind = [...answers]
    .filter(([, record]) => record === undefined || record.sequence < newest.sequence)
    .map(([owner]) => owner)
  return { newest, behind }
}
