import { InvalidNodeError } from './errors.ts'
import { chunkLengthAt, isDyadic, meetsRanges, ownership } from './geometry.ts'
import type { Ticket } from './ticket-types.ts'
import type { KeyedNode, LeafNode } from './tree-types.ts'
import { borderRule, coveredFrom0, fragmentsProblem } from './tree-write.ts'
import type { VersionRef } from './types.ts'

/**
 * Checks that nodes follow from a ticket as far as can be told without reading other nodes: each
 * stands where the version owns one, links to itself where it owns and to what is in flight below
 * it where that owns, and elsewhere to nothing newer than the published tree. So a writer can
 * spoil only what it writes.
 *
 * @throws {InvalidNodeError} naming the first node that does not.
 */
export function checkNodes(ticket: Ticket, nodes: readonly KeyedNode[]): void {
  for (const keyed of nodes) {
    const problem = nodeProblem(ticket, keyed)
    if (problem === undefined) continue
    const { version, offset, span } = keyed.key
    throw new InvalidNodeError(`${problem} at ${offset}+${span} of version ${version}`)
  }
}

function nodeProblem(ticket: Ticket, { key, node }: KeyedNode): string | undefined {
  const { blob, version, offset, span } = key
  if (blob !== ticket.blob || version !== ticket.version) return "not the ticket's version"
  if (!isDyadic(offset, span)) return 'no place of a tree'
  if (ownership(ticket, ticket.chunkBytes, offset, span) !== 'owned') return 'not owned'
  if (node.kind === 'leaf') return span > 1 ? 'a leaf' : leafProblem(ticket, offset, node)
  if (span === 1) return 'an inner node'
  const half = span / 2
  return (
    linkProblem(ticket, offset, half, node.left) ??
    linkProblem(ticket, offset + half, half, node.right)
  )
}

function leafProblem(ticket: Ticket, index: number, leaf: LeafNode): string | undefined {
  const leafBytes = chunkLengthAt(ticket.bytes, ticket.chunkBytes, index)
  const problem = fragmentsProblem(leaf.fragments, leafBytes)
  if (problem !== undefined) return problem
  const isWritten = meetsRanges(ticket.ranges, index, index + 1)
  if (leaf.fragments.length > 0 && !isWritten) return 'fragments outside the ranges'
  if (ticket.truncates || coveredFrom0(leaf.fragments) >= leafBytes) {
    return leaf.previous === undefined ? undefined : 'a link behind a full leaf'
  }
  return borderProblem(ticket, index, 1, leaf.previous)
}

function linkProblem(
  ticket: Ticket,
  offset: number,
  span: number,
  ref: VersionRef | undefined
): string | undefined {
  if (ownership(ticket, ticket.chunkBytes, offset, span) === 'owned') {
    const own: VersionRef = { blob: ticket.blob, version: ticket.version }
    return isSame(ref, own) ? undefined : 'a link past its own node'
  }
  return borderProblem(ticket, offset, span, ref)
}

function borderProblem(
  ticket: Ticket,
  offset: number,
  span: number,
  ref: VersionRef | undefined
): string | undefined {
  const { base } = ticket
  const rule = borderRule(ticket, offset, span)
  if (rule !== 'base') {
    return isSame(ref, rule) ? undefined : 'a link past a version in flight'
  }
  if (ref === undefined) return undefined
  if (base === undefined || offset >= base.span) return 'a link to where nothing is'
  if (ref.blob === base.blob) {
    return ref.version <= base.version ? undefined : 'a link above the published tree'
  }
  return ref.blob === ticket.blob ? 'a link to its own blob above its source' : undefined
}

function isSame(left: VersionRef | undefined, right: VersionRef | undefined): boolean {
  return left?.blob === right?.blob && left?.version === right?.version
}
