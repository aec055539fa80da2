import type { AbortOptions } from '../lib/abort-options.ts'
import { BaseTree } from './base-tree.ts'
import {
  chunkLengthAt,
  coveredChunks,
  type Interval,
  MAX_LEAF_FRAGMENTS,
  meetsRanges,
  ownership
} from './geometry.ts'
import type { NodeStore } from './store-types.ts'
import type { Ticket } from './ticket-types.ts'
import type { Fragment, InnerNode, KeyedNode, LeafEntry, LeafNode } from './tree-types.ts'
import type { VersionRef } from './types.ts'

/**
 * A piece is at most this many times as wide as its narrowest nodes, so it has at most 511 nodes.
 */
const PIECE_WIDTH = 256

/**
 * Nodes after which a batch is handed on; few enough to be hashed and signed in a few
 * milliseconds.
 */
const BATCH_NODES = 512

export interface WeaveOptions extends AbortOptions {
  /**
   * Called with leaf entries that the ticket does not cover, which are then left out. Only a
   * repairer wants that, so that a wrong leaf list cannot hold up the blob; without it they are
   * refused.
   */
  readonly onMisfit?: ((entry: LeafEntry, reason: string) => void) | undefined
}

/** An owned interval whose subtree is planned as one, with the entries of its leaves. */
interface Piece extends Interval {
  /** Smallest span of its nodes; what is below belongs to other pieces. */
  readonly downTo: number
  readonly entries: readonly LeafEntry[]
}

/** Gives the node that stands at an interval that the ticket does not own. */
type FindBorder = (offset: number, span: number) => VersionRef | undefined

/**
 * Makes the tree nodes of a version from its ticket and its leaf list, in batches of at most
 * 1,022: the same nodes whoever does it and whenever. What the version does not own is linked: to
 * versions in flight, whose nodes need not exist yet, and below those to the published tree,
 * which is read from `store`, all borders of a batch level by level together. A leaf inside the
 * ticket's ranges that has no entry only links to the older one.
 *
 * @yields batches, which together hold each node once.
 * @throws {RangeError} for an entry that the ticket does not cover, or a list that is not sorted.
 * @throws {MetadataMissingError} if a node of the published tree is nowhere.
 */
export async function* weaveNodes(
  ticket: Ticket,
  leaves: Iterable<LeafEntry>,
  store: NodeStore,
  options: WeaveOptions = {}
): AsyncGenerator<KeyedNode[]> {
  const base = new BaseTree(store, ticket.base)
  const weaver = new Weaver(ticket)
  let pieces: Piece[] = []
  let expected = 0
  for (const piece of piecesOf(ticket, new FittingEntries(ticket, leaves, options))) {
    pieces.push(piece)
    expected += expectedNodes(ticket, piece)
    if (expected < BATCH_NODES) continue
    yield weaver.weave(pieces, await base.resolve(weaver.borders(pieces), options))
    pieces = []
    expected = 0
  }
  if (pieces.length > 0) {
    yield weaver.weave(pieces, await base.resolve(weaver.borders(pieces), options))
  }
}

/**
 * Cuts the owned part of a ticket's tree.
 *
 * @yields strips of leaves from left to right, then what is above them, level by level.
 */
function* piecesOf(ticket: Ticket, entries: FittingEntries): Generator<Piece> {
  let downTo = 1
  for (let top = Math.min(PIECE_WIDTH, ticket.span); ; ) {
    for (const { offset, span } of ownedIntervals(ticket, top)) {
      yield { offset, span, downTo, entries: downTo > 1 ? [] : entries.takeBelow(offset + span) }
    }
    if (downTo === 1) entries.finish()
    if (top === ticket.span) return
    downTo = top * 2
    top = Math.min(top * PIECE_WIDTH, ticket.span)
  }
}

function expectedNodes(ticket: Ticket, { offset, span, downTo }: Piece): number {
  const leaves = Math.ceil(coveredChunks(ticket.ranges, offset, offset + span) / downTo)
  return Math.min(2 * leaves, leaves + span / downTo) + 1
}

/** @yields owned intervals of one span, from left to right. */
function* ownedIntervals(ticket: Ticket, wantedSpan: number): Generator<Interval> {
  const open: Interval[] = [{ offset: 0, span: ticket.span }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { offset, span } = next
    if (ownership(ticket, ticket.chunkBytes, offset, span) !== 'owned') continue
    if (span === wantedSpan) {
      yield next
    } else {
      open.push({ offset: offset + span / 2, span: span / 2 }, { offset, span: span / 2 })
    }
  }
}

/**
 * Walks pieces twice in the same order: once to learn which borders are needed, once to make
 * nodes.
 */
class Weaver {
  readonly #ticket: Ticket
  readonly #own: VersionRef

  constructor(ticket: Ticket) {
    this.#ticket = ticket
    this.#own = { blob: ticket.blob, version: ticket.version }
  }

  /**
   * Intervals whose node stands in the published tree, in the order in which `weave` needs them.
   */
  borders(pieces: readonly Piece[]): Interval[] {
    const wanted: Interval[] = []
    for (const piece of pieces) {
      this.#walk(piece, (offset, span) => void wanted.push({ offset, span }))
    }
    return wanted
  }

  /** Makes the nodes, given what `borders` asked for. */
  weave(pieces: readonly Piece[], resolved: readonly (VersionRef | undefined)[]): KeyedNode[] {
    const nodes: KeyedNode[] = []
    let at = 0
    for (const piece of pieces) this.#walk(piece, () => resolved[at++], nodes)
    return nodes
  }

  #walk(piece: Piece, findBorder: FindBorder, nodes?: KeyedNode[]): void {
    const entries = piece.entries.values()
    let entry = entries.next().value
    const refAt = (offset: number, span: number): VersionRef | undefined => {
      if (ownership(this.#ticket, this.#ticket.chunkBytes, offset, span) !== 'owned') {
        return this.#border(offset, span, findBorder)
      }
      if (span >= piece.downTo) visit(offset, span)
      return this.#own
    }
    const visit = (offset: number, span: number): void => {
      const key = { ...this.#own, offset, span }
      if (span > 1) {
        const left = refAt(offset, span / 2)
        const right = refAt(offset + span / 2, span / 2)
        const node: InnerNode = { kind: 'inner', left, right }
        nodes?.push({ key, node })
        return
      }
      const fragments = entry?.index === offset ? entry.fragments : []
      if (entry?.index === offset) entry = entries.next().value
      const node = this.#leaf(offset, fragments, findBorder)
      nodes?.push({ key, node })
    }
    visit(piece.offset, piece.span)
  }

  #leaf(index: number, fragments: readonly Fragment[], findBorder: FindBorder): LeafNode {
    const { truncates, bytes, chunkBytes } = this.#ticket
    // Beyond the version's end nothing older can be seen either, so a leaf that is full up to there
    // is
    // full.
    const isFull = coveredFrom0(fragments) >= chunkLengthAt(bytes, chunkBytes, index)
    const previous = truncates || isFull ? undefined : this.#border(index, 1, findBorder)
    return { kind: 'leaf', fragments, previous }
  }

  #border(offset: number, span: number, findBorder: FindBorder): VersionRef | undefined {
    const { base } = this.#ticket
    const rule = borderRule(this.#ticket, offset, span)
    if (rule !== 'base') return rule
    return base === undefined || offset >= base.span ? undefined : findBorder(offset, span)
  }
}

/**
 * Tells what a version links to at an interval that it does not own: a version in flight below it,
 * nothing (a hole), or whatever the published tree has there.
 */
export function borderRule(
  ticket: Ticket,
  offset: number,
  span: number
): VersionRef | undefined | 'base' {
  if (ownership(ticket, ticket.chunkBytes, offset, span) === 'hole') return undefined
  for (let at = ticket.inFlight.length - 1; at >= 0; at--) {
    const lower = ticket.inFlight[at]
    if (lower === undefined) continue
    const rule = ownership(lower, ticket.chunkBytes, offset, span)
    if (rule === 'owned') return { blob: ticket.blob, version: lower.version }
    if (rule === 'hole') return undefined
  }
  return 'base'
}

/** How far fragments cover a leaf from its start without a gap. */
export function coveredFrom0(fragments: readonly Fragment[]): number {
  let end = 0
  for (const fragment of fragments) {
    if (fragment.at !== end) break
    end += fragment.length
  }
  return end
}

/** The entries of a leaf list that fit the ticket, taken strip by strip. */
class FittingEntries {
  readonly #ticket: Ticket
  readonly #entries: Iterator<LeafEntry>
  readonly #onMisfit: WeaveOptions['onMisfit']
  #next: LeafEntry | undefined
  #lastIndex = -1

  constructor(ticket: Ticket, leaves: Iterable<LeafEntry>, options: WeaveOptions) {
    this.#ticket = ticket
    this.#entries = leaves[Symbol.iterator]()
    this.#onMisfit = options.onMisfit
    this.#advance()
  }

  /** Takes the entries up to and without chunk `end`. */
  takeBelow(end: number): LeafEntry[] {
    const taken: LeafEntry[] = []
    for (let entry = this.#next; entry !== undefined && entry.index < end; entry = this.#next) {
      taken.push(entry)
      this.#advance()
    }
    return taken
  }

  /** Looks at what is left after the last strip, none of which can fit. */
  finish(): void {
    this.takeBelow(Number.POSITIVE_INFINITY)
  }

  #advance(): void {
    for (;;) {
      const { value, done } = this.#entries.next()
      if (done === true) {
        this.#next = undefined
        return
      }
      if (value.index <= this.#lastIndex) throw new RangeError('leaf list is not sorted')
      this.#lastIndex = value.index
      const misfit = this.#misfit(value)
      if (misfit === undefined) {
        this.#next = value
        return
      }
      if (this.#onMisfit === undefined) {
        throw new RangeError(`leaf ${value.index} does not fit its ticket: ${misfit}`)
      }
      this.#onMisfit(value, misfit)
    }
  }

  #misfit({ index, fragments }: LeafEntry): string | undefined {
    const { bytes, chunkBytes } = this.#ticket
    // A tree of one chunk has its leaf as root, which is owned even if nothing may be written there.
    if (!meetsRanges(this.#ticket.ranges, index, index + 1)) return 'outside the ranges'
    return fragmentsProblem(fragments, chunkLengthAt(bytes, chunkBytes, index))
  }
}

/**
 * Says what is wrong with the fragments of a leaf of `leafBytes`; undefined if they are in order.
 */
export function fragmentsProblem(
  fragments: readonly Fragment[],
  leafBytes: number
): string | undefined {
  if (fragments.length > MAX_LEAF_FRAGMENTS) return `${fragments.length} fragments`
  let free = 0
  for (const { at, length } of fragments) {
    if (at < free || length < 1) return `fragments out of order at ${at}`
    free = at + length
  }
  return free > leafBytes ? `bytes up to ${free} of ${leafBytes}` : undefined
}
