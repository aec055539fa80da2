import { type Bitfield, onesOfWord } from '../../chunks/bitfield.ts'
import type { ChunkTable } from './chunk-table.ts'

/** Whoever may hold chunks of an image. */
export interface Holder {
  /** It wanted nothing when it came. */
  readonly isSource: boolean
  readonly held: Bitfield
  readonly holdsAll: boolean
}

/** Where the chunks are that are not here. */
export interface CopyCount {
  /** How many missing chunks so many holders have, by that number; 0 where there are none. */
  readonly chunksByCopies: readonly number[]
  /** Missing chunks that only sources hold. */
  readonly atSourcesOnly: number
  /** The first few that nobody holds. */
  readonly nobodyHolds: readonly number[]
}

const ALL = -1
const BITS = 8
// A count has eight bits; who comes after so many is left out.
const MAX_COUNTED = 2 ** BITS - 1

/**
 * Counts the copies of all chunks that are not in `own`. Those of 32 chunks are added up at a time, as words
 * of one bit of each sum, so that it takes tens of milliseconds for an image of 1 TiB.
 */
export function countCopies(
  table: Pick<ChunkTable, 'distinctField'>,
  own: Bitfield,
  holders: readonly Holder[],
  maxNamed: number
): CopyCount {
  const everything = holders.filter(({ holdsAll }) => holdsAll)
  const some = holders.filter(({ holdsAll }) => !holdsAll).slice(0, MAX_COUNTED)
  const sums = new CopySums(some.length)
  const [sources, others] = [wordsOf(some, true), wordsOf(some, false)]
  const allSources = everything.some(({ isSource }) => isSource) ? ALL : 0
  const allOthers = everything.some(({ isSource }) => !isSource) ? ALL : 0
  const [wanted, here] = [table.distinctField.words, own.words]
  const nobodyHolds: number[] = []
  let atSourcesOnly = 0
  for (let at = 0; at < wanted.length; at++) {
    const missing = (wanted[at] ?? 0) & ~(here[at] ?? 0)
    if (missing === 0) continue
    const atSources = allSources | sums.addAll(sources, at)
    const atOthers = allOthers | sums.addAll(others, at)
    sums.tally(missing)
    const fromSources = missing & atSources & ~atOthers
    if (fromSources !== 0) atSourcesOnly += onesOfWord(fromSources)
    const lost = missing & ~(atSources | atOthers)
    if (lost !== 0 && nobodyHolds.length < maxNamed) nobodyHolds.push(...indexesOf(lost, at))
  }
  const none = everything.map(() => 0)
  return {
    chunksByCopies: [...none, ...sums.chunksByCopies()],
    atSourcesOnly,
    nobodyHolds: nobodyHolds.slice(0, maxNamed)
  }
}

function wordsOf(holders: readonly Holder[], isSource: boolean): Uint32Array[] {
  return holders.filter((one) => one.isSource === isSource).map(({ held }) => held.words)
}

/** For each byte of bits two words with a byte for each of its bits, 1 or 0. */
const SPREAD = Uint32Array.from({ length: 512 }, (_, at) => {
  const bits = [0, 1, 2, 3].map((bit) => ((at >> 1) >> ((at & 1) * 4 + bit)) & 1)
  return bits.reduce((word, bit, place) => word + bit * 2 ** (8 * place), 0)
})

/** The numbers of copies of 32 chunks at a time: a word for each of their bits. */
class CopySums {
  readonly #bits = new Int32Array(BITS)
  readonly #bitCount: number
  readonly #chunksByCopies: Uint32Array
  /** Numbers of four chunks each, a byte a chunk. */
  readonly #lanes = new Int32Array(8)
  readonly #copies = new Uint8Array(this.#lanes.buffer)

  constructor(most: number) {
    this.#bitCount = Math.ceil(Math.log2(most + 1))
    this.#chunksByCopies = new Uint32Array(most + 1)
  }

  chunksByCopies(): number[] {
    return Array.from(this.#chunksByCopies)
  }

  /** Adds one to the numbers of the chunks of a word that each holder has. @returns those that any has. */
  addAll(holders: readonly Uint32Array[], at: number): number {
    const bits = this.#bits
    let [ones, twos, anybody] = [bits[0] ?? 0, bits[1] ?? 0, 0]
    for (let first = 0; first < holders.length; first += 2) {
      const one = holders[first]?.[at] ?? 0
      const other = holders[first + 1]?.[at] ?? 0
      anybody |= one | other
      const either = ones ^ one
      const carried = (ones & one) | (either & other)
      ones = either ^ other
      let carry = twos & carried
      twos ^= carried
      for (let bit = 2; carry !== 0; bit++) {
        const before = bits[bit] ?? 0
        bits[bit] = before ^ carry
        carry &= before
      }
    }
    bits[0] = ones
    bits[1] = twos
    return anybody
  }

  /** Notes the numbers of these chunks of the word, and begins the next one. */
  tally(chunks: number): void {
    const bits = this.#bits
    const lanes = this.#lanes.fill(0)
    for (let bit = 0; bit < this.#bitCount; bit++) {
      const word = (bits[bit] ?? 0) & chunks
      if (word === 0) continue
      for (let byte = 0; byte < 4; byte++) {
        const at = ((word >>> (8 * byte)) & 0xff) * 2
        lanes[2 * byte] = (lanes[2 * byte] ?? 0) | ((SPREAD[at] ?? 0) << bit)
        lanes[2 * byte + 1] = (lanes[2 * byte + 1] ?? 0) | ((SPREAD[at + 1] ?? 0) << bit)
      }
    }
    const copies = this.#copies
    const counts = this.#chunksByCopies
    for (let chunk = 0; chunk < 32; chunk++) {
      const count = copies[chunk] ?? 0
      counts[count] = (counts[count] ?? 0) + 1
    }
    // Those that were not asked about have been counted as chunks without copies.
    counts[0] = (counts[0] ?? 0) - 32 + onesOfWord(chunks)
    bits.fill(0)
  }
}

/** Indexes of the chunks of a word, ascending: in each byte the highest bit is the first. */
function indexesOf(word: number, at: number): number[] {
  const bytes = new Uint8Array(Uint32Array.of(word).buffer)
  return Array.from(bytes).flatMap((byte, place) =>
    EIGHT.filter((bit) => (byte & (0x80 >> bit)) !== 0).map((bit) => at * 32 + place * 8 + bit)
  )
}

const EIGHT = [0, 1, 2, 3, 4, 5, 6, 7]
