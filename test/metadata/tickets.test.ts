import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { joinRanges, spanFor } from '../../src/metadata/geometry.ts'
import { checkNodes } from '../../src/metadata/node-check.ts'
import type { AssignedVersion, Ticket } from '../../src/metadata/ticket-types.ts'
import {
  decodeTicket,
  encodeTicket,
  proveNodes,
  signTicket,
  verifyNodes,
  verifyTicket
} from '../../src/metadata/tickets.ts'
import type { Fragment, KeyedNode } from '../../src/metadata/tree-types.ts'
import type { VersionRef } from '../../src/metadata/types.ts'
import { testSigner, trusting } from '../support/signing.ts'
import { sampleWrite } from '../support/tree-samples.ts'

const BLOB = 'ab'.repeat(32)
const SOURCE = 'cd'.repeat(32)
const leafList = chunkId(Buffer.from('leaf list'))

const someAssigned = fc
  .record({
    chunks: fc.nat(100),
    starts: fc.array(fc.nat(99), { maxLength: 8 }),
    truncates: fc.boolean(),
    isFirst: fc.boolean()
  })
  .map(({ chunks, starts, truncates, isFirst }) => {
    const some = starts
      .filter((start) => start < chunks)
      .map((start) => ({ start, end: start + 1 }))
    const all = chunks === 0 ? [] : [{ start: 0, end: chunks }]
    const span = spanFor(chunks)
    const ranges = truncates ? all : joinRanges(some)
    return { ranges, bytes: chunks * 4, span, previousSpan: isFirst ? 0 : span, truncates }
  })

const someTicket: fc.Arbitrary<Ticket> = fc
  .record({
    assigned: fc.array(someAssigned, { minLength: 1, maxLength: 5 }),
    base: fc.option(fc.nat(9), { nil: undefined }),
    writer: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
    leaseUntilMs: fc.maxSafeNat()
  })
  .map(({ assigned, base, writer, leaseUntilMs }) => {
    const first = (base ?? 0) + 1
    const inFlight = assigned.map((fields, at) => Object.assign({ version: first + at }, fields))
    const own = inFlight.pop() as AssignedVersion
    const root =
      base === undefined ? undefined : { blob: base === 0 ? SOURCE : BLOB, version: base, span: 8 }
    const rest = { blob: BLOB, chunkBytes: 4, writer, leafList, leaseUntilMs, inFlight, base: root }
    return Object.assign(rest, own)
  })

describe('tickets', () => {
  test('come back from their bytes', () => {
    fc.assert(
      fc.property(someTicket, (ticket) => {
        expect(decodeTicket(encodeTicket(ticket))).toEqual(ticket)
      })
    )
  })

  test('whatever bytes are taken for a ticket are exactly what it encodes to', () => {
    const mutated = fc.tuple(someTicket, fc.nat(), fc.nat(255)).map(([ticket, at, byte]) => {
      const bytes = encodeTicket(ticket)
      bytes[at % bytes.byteLength] = byte
      return bytes
    })

    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array()), (bytes) => {
        let ticket: Ticket
        try {
          ticket = decodeTicket(bytes)
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_MALFORMED' })
          return
        }
        expect(encodeTicket(ticket)).toEqual(new Uint8Array(bytes))
      }),
      { numRuns: 2000 }
    )
  })

  test('are taken from a signer that is trusted and from no other', () => {
    const signer = testSigner(1)
    const [ticket] = fc.sample(someTicket, 1) as [Ticket]
    const { envelope } = signTicket(signer, ticket)

    expect(verifyTicket(trusting(signer), envelope).ticket).toEqual(ticket)
    expect(() => verifyTicket(trusting(testSigner(2)), envelope)).toThrow('not trusted')
  })

  test('nodes may be put by the manager that signed the ticket too, for repair', async () => {
    const writer = testSigner(1)
    const manager = testSigner(2)
    const { nodes, signed } = await sampleWrite(3, { signer: writer })
    const { envelope } = signTicket(manager, signed.ticket)
    const verifier = trusting(writer, manager)

    for (const putter of [writer, manager]) {
      const proof = proveNodes(putter, envelope, nodes)
      expect(verifyNodes(verifier, proof, nodes).version).toBe(1)
    }
  })
})

describe('nodes beside a ticket', () => {
  // 6 chunks of 4 bytes over a published tree of 8; version 4 below it rewrites chunk 1.
  const lower: AssignedVersion = {
    version: 4,
    ranges: [{ start: 1, end: 2 }],
    bytes: 24,
    span: 8,
    previousSpan: 8,
    truncates: false
  }
  const ticket: Ticket = {
    blob: BLOB,
    version: 5,
    ranges: [{ start: 4, end: 6 }],
    bytes: 24,
    span: 8,
    previousSpan: 8,
    truncates: false,
    chunkBytes: 4,
    writer: 'writer',
    leafList,
    inFlight: [lower],
    base: { blob: BLOB, version: 3, span: 8 },
    leaseUntilMs: 0
  }
  const own: VersionRef = { blob: BLOB, version: 5 }
  const inFlight: VersionRef = { blob: BLOB, version: 4 }
  const full: Fragment = { at: 0, length: 4, chunk: leafList, chunkOffset: 0, replicas: [] }

  const inner = (
    offset: number,
    span: number,
    left?: VersionRef,
    right?: VersionRef
  ): KeyedNode => ({
    key: { ...own, offset, span },
    node: { kind: 'inner', left, right }
  })
  const leaf = (offset: number, fragments: Fragment[], previous?: VersionRef): KeyedNode => ({
    key: { ...own, offset, span: 1 },
    node: { kind: 'leaf', fragments, previous }
  })
  const check =
    (node: KeyedNode, of: Ticket = ticket) =>
    () =>
      checkNodes(of, [node])

  test('are taken where they follow from it', () => {
    const good = [
      inner(0, 8, inFlight, own),
      inner(4, 4, own, undefined),
      inner(4, 4, own, { blob: BLOB, version: 3 }),
      inner(4, 4, own, { blob: SOURCE, version: 77 }),
      inner(4, 2, own, own),
      leaf(4, [full]),
      leaf(5, [{ ...full, length: 2 }], { blob: BLOB, version: 2 })
    ]

    for (const node of good) expect(check(node)).not.toThrow()
  })

  test('are refused where the version owns nothing', () => {
    expect(check(inner(0, 4, undefined, undefined))).toThrow('not owned')
    expect(check(leaf(6, [full]))).toThrow('not owned')
    expect(check(inner(1, 2, undefined, undefined))).toThrow('no place')
    expect(check({ ...leaf(4, [full]), key: { ...inFlight, offset: 4, span: 1 } })).toThrow(
      'version'
    )
  })

  test('are refused with a link past what owns the place', () => {
    const wrong: [KeyedNode, string][] = [
      [inner(0, 8, inFlight, undefined), 'its own node'],
      [inner(0, 8, inFlight, { blob: BLOB, version: 3 }), 'its own node'],
      [inner(0, 8, undefined, own), 'in flight'],
      [inner(0, 8, { blob: BLOB, version: 3 }, own), 'in flight'],
      [inner(4, 4, own, { blob: BLOB, version: 4 }), 'above the published tree'],
      [inner(4, 4, own, own), 'above the published tree']
    ]

    for (const [node, reason] of wrong) expect(check(node)).toThrow(reason)
    const alone = { ...ticket, base: undefined, inFlight: [] }
    expect(check(inner(4, 4, own, { blob: BLOB, version: 3 }), alone)).toThrow('nothing is')
  })

  test('are refused with leaves that do not fit', () => {
    const wrong: [KeyedNode, string][] = [
      [leaf(5, [{ ...full, length: 5 }]), 'bytes up to 5'],
      [leaf(5, [full, full]), 'out of order'],
      [leaf(5, [full], { blob: BLOB, version: 2 }), 'behind a full leaf'],
      [leaf(5, [{ ...full, length: 2 }], own), 'above the published tree'],
      [{ key: { ...own, offset: 4, span: 2 }, node: leaf(4, [full]).node }, 'a leaf'],
      [{ key: { ...own, offset: 4, span: 1 }, node: inner(4, 2).node }, 'an inner node']
    ]

    for (const [node, reason] of wrong) expect(check(node)).toThrow(reason)
  })

  test('are refused with data at a root of one chunk that was not to be written', () => {
    const bare = { ranges: [], span: 1, previousSpan: 1, bytes: 4 }
    const small = { ...ticket, ...bare, inFlight: [], base: { ...ticket.base!, span: 1 } }

    expect(check(leaf(0, [], { blob: BLOB, version: 3 }), small)).not.toThrow()
    expect(check(leaf(0, [full]), small)).toThrow('outside the ranges')
  })

  test('of a version that truncates link to nothing older', () => {
    const truncating = { ...ticket, ranges: [{ start: 0, end: 6 }], truncates: true }

    expect(check(leaf(5, [{ ...full, length: 2 }]), truncating)).not.toThrow()
    expect(check(leaf(5, [], inFlight), truncating)).toThrow('full leaf')
    expect(check(inner(4, 4, own, undefined), truncating)).not.toThrow()
    expect(check(inner(4, 4, own, { blob: BLOB, version: 3 }), truncating)).toThrow('in flight')
  })
})
