import { subtractRanges } from '../lib/range-arithmetic.ts'
import type { Range } from '../lib/range-set.ts'
import type { BlockSource, OutgoingBlock } from './block-sender.ts'
import { CommandRefusedError } from './errors.ts'

/** Ranges that REST takes; the longest command line has room for about 1,000. */
const MAX_RANGES = 4096

/** What REST asks for: to go on from an offset, or to leave out what has arrived. */
export type RestartPoint =
  | { readonly kind: 'offset'; readonly offset: number }
  /** In ascending order, without overlaps, none empty. */
  | { readonly kind: 'ranges'; readonly ranges: readonly Range[] }

/**
 * Reads the argument of REST: `n`, or half-open ranges `a-b,c-d` as restart markers have them.
 *
 * @returns undefined if it is neither, a range is reversed, or two overlap.
 * @see GFD.020, restart of extended block mode
 */
export function parseRestartPoint(argument: string): RestartPoint | undefined {
  const text = argument.trim()
  if (/^\d{1,16}$/.test(text)) {
    const offset = Number(text)
    return Number.isSafeInteger(offset) ? { kind: 'offset', offset } : undefined
  }
  if (!/^\d{1,16}-\d{1,16}(,\d{1,16}-\d{1,16})*$/.test(text)) return undefined
  const ranges = text.split(',').map((range): Range => {
    const [start = 0, end = 0] = range.split('-').map(Number)
    return { start, end }
  })
  if (ranges.length > MAX_RANGES || !ranges.every(isRange)) return undefined
  const sorted = ranges.toSorted((left, right) => left.start - right.start)
  const filled = sorted.filter(({ start, end }) => start < end)
  const overlaps = filled.some(({ start }, at) => start < (filled[at - 1]?.end ?? 0))
  return overlaps ? undefined : { kind: 'ranges', ranges: filled }
}

function isRange({ start, end }: Range): boolean {
  return Number.isSafeInteger(start) && Number.isSafeInteger(end) && start <= end
}

/**
 * Formats ranges for a marker: `0-262144,524288-786432`.
 *
 * @param base subtracted from each: partial transfers count from 0.
 */
export function formatRanges(ranges: Iterable<Range>, base = 0): string {
  return Array.from(ranges, ({ start, end }) => `${start - base}-${end - base}`).join(',')
}

/** Ranges of a restart marker; none if the text is of something else. */
export function parseRangeMarker(text: string): readonly Range[] {
  const found = /^Range Marker:? (.*)$/i.exec(text)
  const point = found === null ? undefined : parseRestartPoint(found[1] ?? '')
  return point?.kind === 'ranges' ? point.ranges : []
}

/** What of `[start, end)` is left when `arrived` is left out, in order. */
export function gapsBetween(arrived: readonly Range[], { start, end }: Range): Range[] {
  return Array.from(subtractRanges([{ start, end }], arrived))
}

/**
 * The one offset that ranges stand for in stream mode, which has no others.
 *
 * @throws {CommandRefusedError} if they are no such offset.
 */
export function streamOffsetOf(ranges: readonly Range[]): number {
  const [first, second] = ranges
  if (first === undefined) return 0
  if (first.start === 0 && second === undefined) return first.end
  throw new CommandRefusedError(501, 'Stream mode restarts from one offset: give MODE E.')
}

/** Sends the blocks of several sources, one source after the other. */
export class ChainedBlocks implements BlockSource {
  readonly #sources: Iterator<BlockSource>
  #current: BlockSource | undefined

  /** `sources` are made when it is their turn. */
  constructor(sources: Iterable<BlockSource>) {
    this.#sources = sources[Symbol.iterator]()
    this.#current = this.#sources.next().value ?? undefined
  }

  async next(): Promise<OutgoingBlock | undefined> {
    for (;;) {
      const source = this.#current
      const block = await source?.next()
      if (source === undefined || block !== undefined) return block
      // Several callers may find the same source at its end.
      if (this.#current !== source) continue
      await source.close?.()
      if (this.#current === source) this.#current = this.#sources.next().value ?? undefined
    }
  }

  async close(): Promise<void> {
    await this.#current?.close?.()
    this.#current = undefined
  }
}
