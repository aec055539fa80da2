import type { ProviderId } from '../chunks/types.ts'
import type { ByteReader, ByteWriter } from '../lib/bytes.ts'
import { MetadataLimitError } from './errors.ts'

/** Providers that one chunk can be listed at. */
export const MAX_REPLICAS_LISTED = 64

/** Bytes of a provider's name; peer ids have 46 to 66. */
const MAX_PROVIDER_ID_BYTES = 128

/** Different replica sets in one page or record, which name at most 1,024 chunks and their like. */
const MAX_SETS = 1025

const NOWHERE: readonly ProviderId[] = []

/**
 * Gives each replica set that occurs a small number. Uploads use few sets for many chunks, so that
 * a number a chunk is nearly all that remains of them.
 */
export class ReplicaSets {
  readonly #sets: (readonly ProviderId[])[] = [NOWHERE]
  readonly #numbers = new Map<string, number>([['', 0]])

  /** Number of different sets, with the empty one, which is always number 0. */
  get size(): number {
    return this.#sets.length
  }

  /** Gives the number of a set; order and repetition of the providers do not matter. */
  intern(replicas: readonly ProviderId[]): number {
    if (replicas.length === 0) return 0
    const sorted = sortedReplicas(replicas)
    const key = sorted.join('\n')
    const known = this.#numbers.get(key)
    if (known !== undefined) return known
    const number = this.#sets.push(sorted) - 1
    this.#numbers.set(key, number)
    return number
  }

  /** The set of a number, sorted. @throws {RangeError} for a number that was never given. */
  get(number: number): readonly ProviderId[] {
    const set = this.#sets[number]
    if (set === undefined) throw new RangeError(`no replica set ${number}`)
    return set
  }
}

/**
 * Sorts providers by their code units and removes repetitions, the canonical order everywhere.
 *
 * @throws {MetadataLimitError} above MAX_REPLICAS_LISTED.
 */
export function sortedReplicas(replicas: Iterable<ProviderId>): readonly ProviderId[] {
  const sorted = Array.from(new Set(replicas)).toSorted()
  if (sorted.length > MAX_REPLICAS_LISTED) {
    throw new MetadataLimitError('replicas of a chunk', sorted.length, MAX_REPLICAS_LISTED)
  }
  return sorted
}

/**
 * Collects the replica sets of one page or record in the order in which they first occur, which
 * makes the encoded table canonical. Part of the formats of leaf-list-codec.ts and location.ts:
 *
 * ```text
 * u16 providers · providers × (u16 length · UTF-8)        in order of first occurrence in the sets
 * u16 sets      · sets × (u8 count · count × u16 provider number)      each sorted by provider name
 * ```
 */
export class ReplicaTable {
  readonly #sets: (readonly ProviderId[])[] = []
  readonly #numbers = new Map<string, number>()

  /** Gives the number of a set that is sorted already. */
  number(sorted: readonly ProviderId[]): number {
    const key = sorted.join('\n')
    const known = this.#numbers.get(key)
    if (known !== undefined) return known
    this.#numbers.set(key, this.#sets.length)
    return this.#sets.push(sorted) - 1
  }

  /** Writes the table, once all sets have their number. */
  encodeTo(writer: ByteWriter): void {
    const providers = new Map<ProviderId, number>()
    for (const set of this.#sets) {
      for (const id of set) if (!providers.has(id)) providers.set(id, providers.size)
    }
    writer.u16(providers.size)
    for (const id of providers.keys()) writer.text(id)
    writer.u16(this.#sets.length)
    for (const set of this.#sets) {
      writer.u8(set.length)
      for (const id of set) writer.u16(providers.get(id) ?? 0)
    }
  }
}

/**
 * Reads a table back: the set of each number. @throws {MalformedError} for anything non-canonical.
 */
export function decodeReplicaTable(reader: ByteReader): (readonly ProviderId[])[] {
  const providers = decodeProviders(reader)
  const sets: (readonly ProviderId[])[] = []
  const seen = new Set<string>()
  const count = reader.u16()
  if (count > MAX_SETS) reader.fail(`${count} replica sets, at most ${MAX_SETS}`)
  let used = 0
  for (let at = 0; at < count; at++) {
    const set: ProviderId[] = []
    const size = reader.u8()
    if (size > MAX_REPLICAS_LISTED) reader.fail(`a set of ${size} providers`)
    for (let i = 0; i < size; i++) {
      const number = reader.u16()
      const id = providers[number]
      if (id === undefined || number > used) reader.fail(`provider number ${number}`)
      if (number === used) used++
      const previous = set.at(-1)
      if (previous !== undefined && previous >= id) reader.fail('a set that is not sorted')
      set.push(id)
    }
    const key = set.join('\n')
    if (seen.has(key)) reader.fail('a replica set twice')
    seen.add(key)
    sets.push(set)
  }
  if (used !== providers.length) reader.fail('providers that no set names')
  return sets
}

function decodeProviders(reader: ByteReader): ProviderId[] {
  const providers: ProviderId[] = []
  const count = reader.u16()
  for (let at = 0; at < count; at++) {
    const id = reader.text()
    if (id === '' || id.includes('\n') || id.length > MAX_PROVIDER_ID_BYTES) {
      reader.fail(`provider name ${JSON.stringify(id.slice(0, 80))}`)
    }
    providers.push(id)
  }
  if (new Set(providers).size !== count) reader.fail('a provider twice')
  return providers
}
