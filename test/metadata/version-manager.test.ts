import { beforeEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { SignedEnvelope } from '../../src/metadata/signature-types.ts'
import type { TicketRequest } from '../../src/metadata/ticket-types.ts'
import { VersionManagerState } from '../../src/metadata/version-manager.ts'
import type { BlobRow, VersionRow } from '../../src/metadata/version-rows.ts'

const BLOB = 'ab'.repeat(32)
const CLONE = 'cd'.repeat(32)
const leafList = chunkId(Buffer.from('leaf list'))
const SEAL: SignedEnvelope = {
  payload: new Uint8Array(1),
  signature: new Uint8Array(64),
  certificate: new Uint8Array(1)
}

let state: VersionManagerState
let rows: (BlobRow | VersionRow)[]

function request(fields: Partial<TicketRequest> = {}): TicketRequest {
  const { endBytes = 4, ranges = [{ start: 0, end: 1 }], truncates = false } = fields
  return { blob: BLOB, writer: 'writer', leafList, ...fields, ranges, endBytes, truncates }
}

/** Makes a change and keeps its rows. */
function keep<T>(change: { result: T; rows: readonly unknown[] }): T {
  rows.push(...(change.rows as (BlobRow | VersionRow)[]))
  return change.result
}

function publish(fields: Partial<TicketRequest> = {}): number {
  const { blob, version } = keep(state.assign(request(fields), 100))
  keep(state.commit(blob, version, 200))
  return version
}

beforeEach(() => {
  rows = []
  state = new VersionManagerState({ leaseMs: 1000 })
  keep(state.createBlob(BLOB, { chunkBytes: 4, replicas: 2 }, 1))
})

describe('a ticket', () => {
  test('names what is in flight below it and the newest published tree', () => {
    publish({ endBytes: 16 })
    const second = keep(state.assign(request({ ranges: [{ start: 1, end: 2 }], endBytes: 8 }), 300))
    const third = keep(state.assign(request(), 400))

    expect(third).toMatchObject({ version: 3, span: 4, previousSpan: 4, leaseUntilMs: 1400 })
    expect(third.base).toEqual({ blob: BLOB, version: 1, span: 4 })
    const { version, ranges, bytes, span, previousSpan, truncates } = second
    expect(third.inFlight).toEqual([{ version, ranges, bytes, span, previousSpan, truncates }])
  })

  test('of a first version has no base and no previous span', () => {
    const ticket = keep(state.assign(request(), 0))

    expect(ticket).toMatchObject({ version: 1, base: undefined, previousSpan: 0, inFlight: [] })
  })

  test('counts the size that is assigned, not the one that is published', () => {
    keep(state.assign(request({ ranges: [{ start: 0, end: 8 }], endBytes: 30 }), 0))

    const over = keep(state.assign(request({ endBytes: 4 }), 0))

    expect(over.bytes).toBe(30)
    expect(state.newest(BLOB)).toEqual({ version: 2, bytes: 30 })
  })

  test('that truncates owns everything up to its end and makes the blob shorter', () => {
    publish({ ranges: [{ start: 0, end: 8 }], endBytes: 30 })

    const ranges = [{ start: 1, end: 2 }]
    const ticket = keep(state.assign(request({ truncates: true, endBytes: 9, ranges }), 0))
    const empty = keep(state.assign(request({ truncates: true, endBytes: 0, ranges: [] }), 0))

    expect(ticket).toMatchObject({ bytes: 9, span: 8, ranges: [{ start: 0, end: 3 }] })
    expect(empty).toMatchObject({ bytes: 0, span: 8, ranges: [] })
  })

  test('has the span that fits what was announced, or else what is needed', () => {
    keep(state.createBlob(CLONE, { chunkBytes: 4, replicas: 1, sizeHint: 33 }, 1))

    const hinted = keep(state.assign(request({ blob: CLONE }), 0))
    const grown = keep(
      state.assign(request({ blob: CLONE, ranges: [{ start: 16, end: 17 }], endBytes: 65 }), 0)
    )

    expect([hinted.span, grown.span, grown.previousSpan]).toEqual([16, 32, 16])
  })

  test('is refused when a condition does not hold, and nothing is assigned then', () => {
    publish({ endBytes: 4 })

    const conflicts = [
      [{ ifNewest: 0 }, 'ERR_TICKET_CONFLICT'],
      [{ ifNewest: 2 }, 'ERR_TICKET_CONFLICT'],
      [{ ifBytes: 3 }, 'ERR_SIZE_CONFLICT'],
      [{ ifBytes: 5 }, 'ERR_SIZE_CONFLICT']
    ] as const
    for (const [fields, code] of conflicts) {
      expect(() => state.assign(request(fields), 0)).toThrow(expect.objectContaining({ code }))
    }
    expect(state.newest(BLOB)).toEqual({ version: 1, bytes: 4 })
    expect(keep(state.assign(request({ ifNewest: 1, ifBytes: 4 }), 0)).version).toBe(2)
  })

  test('is refused for what cannot be', () => {
    const many = Array.from({ length: 4097 }, (_, at) => ({ start: at * 2, end: at * 2 + 1 }))
    const wrong: [Partial<TicketRequest>, string][] = [
      [{ ranges: [{ start: 0, end: 2 }], endBytes: 4 }, 'past the end'],
      [
        {
          ranges: [
            { start: 3, end: 4 },
            { start: 0, end: 1 }
          ],
          endBytes: 99
        },
        'out of order'
      ],
      [{ ranges: many, endBytes: 99_999 }, 'ranges of a write is 4097'],
      [{ endBytes: -1 }, 'a size of -1'],
      [{ endBytes: 2 ** 52, ranges: [] }, 'number of chunks'],
      [{ note: 'x'.repeat(1025) }, 'bytes of a note'],
      [{ writer: '' }, 'a writer']
    ]

    for (const [fields, reason] of wrong) {
      expect(() => state.assign(request(fields), 0)).toThrow(reason)
    }
    expect(() => state.assign(request({ blob: CLONE }), 0)).toThrow('no blob')
    expect(state.newest(BLOB).version).toBe(0)
  })

  test('is refused when too much is in flight', () => {
    for (let at = 0; at < 1024; at++) state.assign(request(), 0)

    expect(() => state.assign(request(), 0)).toThrow('versions in flight is 1025, at most 1024')
  })
})

describe('versions', () => {
  test('are published in the order of their tickets, whoever commits first', () => {
    for (let at = 0; at < 3; at++) keep(state.assign(request(), 100))

    expect(keep(state.commit(BLOB, 2, 200))).toEqual([])
    expect(keep(state.commit(BLOB, 3, 200))).toEqual([])
    expect(state.latest(BLOB)).toBeUndefined()
    const published = keep(state.commit(BLOB, 1, 300))

    expect(published.map(({ version }) => version)).toEqual([1, 2, 3])
    expect(state.latest(BLOB)).toMatchObject({ version: 3, timeMs: 300, condition: 'published' })
    expect(state.history(BLOB).map(({ version }) => version)).toEqual([1, 2, 3])
  })

  test('are committed once; again does nothing', () => {
    publish()

    expect(state.commit(BLOB, 1, 999)).toEqual({ result: [], rows: [] })
    expect(state.latest(BLOB)?.timeMs).toBe(200)
  })

  test('never go back in time, though the clock does', () => {
    publish()
    keep(state.assign(request(), 50))

    keep(state.commit(BLOB, 2, 60))

    expect(state.latest(BLOB)?.timeMs).toBe(200)
  })

  test('keep their lease while it is renewed, and lose it for good when fenced', () => {
    keep(state.assign(request(), 0))
    expect(keep(state.renew(BLOB, 1, 500))).toBe(1500)
    expect(keep(state.renew(BLOB, 1, 100))).toBe(1100)
    keep(state.fence(BLOB, 1))

    expect(() => state.renew(BLOB, 1, 600)).toThrow('is fenced, no longer assigned')
    expect(state.fence(BLOB, 1).rows).toEqual([])
    expect(Array.from(state.open(), ({ condition }) => condition)).toEqual(['fenced'])
    expect(state.summary(BLOB, 1).condition).toBe('assigned')
    keep(state.commit(BLOB, 1, 700))
    expect(() => state.fence(BLOB, 1)).toThrow('is published, it cannot be fenced')
    expect(Array.from(state.open())).toEqual([])
  })

  test('are hidden once retired, while later ones still stand on them', () => {
    publish()
    publish()
    keep(state.retire(BLOB, 2))

    expect(state.latest(BLOB)?.version).toBe(1)
    expect(state.history(BLOB).map(({ version }) => version)).toEqual([1])
    expect(() => state.checkReadable(BLOB, 2)).toThrow('was removed')
    expect(state.retire(BLOB, 2).rows).toEqual([])
    expect(keep(state.assign(request(), 0))).toMatchObject({ version: 3, base: { version: 2 } })
    expect(() => state.retire(BLOB, 3)).toThrow('is not published')
    expect(() => state.retire(BLOB, 9)).toThrow('was never assigned')
  })

  test('drop their ranges once published, when nobody links to them unseen', () => {
    publish()

    expect(state.version(BLOB, 1).ranges).toEqual([])
    expect(() => state.ticket(BLOB, 1)).toThrow('is published')
  })
})

const base = (blob: string, version: number) => state.manifestBaseOf({ blob, version })

describe('a clone', () => {
  beforeEach(() => {
    publish({ endBytes: 30, ranges: [{ start: 0, end: 8 }] })
    keep(state.cloneBlob(CLONE, { blob: BLOB, version: 1 }, 5))
  })

  test('begins as the version that was cloned', () => {
    const ticket = keep(state.assign(request({ blob: CLONE }), 0))

    expect(ticket).toMatchObject({ version: 1, bytes: 30, span: 8, previousSpan: 8 })
    expect(ticket.base).toEqual({ blob: BLOB, version: 1, span: 8 })
    expect(state.parentOf(CLONE, 1)).toEqual({ blob: BLOB, version: 1 })
    expect(state.parentOf(CLONE, 2)).toEqual({ blob: CLONE, version: 1 })
    expect(state.parentOf(BLOB, 1)).toBeUndefined()
  })

  test('can be read as its version 0, until that is retired', () => {
    const summary = { version: 0, bytes: 30, timeMs: 5, note: '', isPinned: false }

    expect(state.latest(CLONE)).toEqual({ ...summary, condition: 'published' })
    expect(state.history(CLONE)).toEqual([state.latest(CLONE)])
    expect(state.history(CLONE, 0)).toEqual([])
    keep(state.retire(CLONE, 0))

    expect(state.retire(CLONE, 0).rows).toEqual([])
    expect(state.latest(CLONE)).toBeUndefined()
    expect(state.history(CLONE)).toEqual([])
    expect(state.summary(CLONE, 0)).toEqual({ ...summary, condition: 'retired' })
    expect(() => state.checkReadable(CLONE, 0)).toThrow('was removed')
    expect(() => state.setPinned({ blob: CLONE, version: 0 }, true)).toThrow('was removed')
  })

  test('has its own first version over its version 0', () => {
    publish({ blob: CLONE })

    expect(state.latest(CLONE)?.version).toBe(1)
    expect(state.history(CLONE).map(({ version }) => version)).toEqual([0, 1])
    expect(state.history(CLONE, -1, 1).map(({ version }) => version)).toEqual([0])
    expect(state.history(CLONE, 0).map(({ version }) => version)).toEqual([1])
  })

  test('of a version 0 is one of the source', () => {
    const third = 'ef'.repeat(32)
    keep(state.retire(BLOB, 1))
    keep(state.setPinned({ blob: CLONE, version: 0 }, true))
    keep(state.cloneBlob(third, { blob: CLONE, version: 0 }, 6))

    expect(state.blob(third).row.source).toEqual({
      version: { blob: BLOB, version: 1 },
      root: { blob: BLOB, version: 1, span: 8 },
      bytes: 30,
      isRetired: false,
      isPinned: false,
      seal: undefined
    })
  })

  test('is refused of what cannot be read', () => {
    keep(state.assign(request(), 0))
    keep(state.retire(BLOB, 1))

    const clone = (version: number) => () =>
      state.cloneBlob('ef'.repeat(32), { blob: BLOB, version }, 0)
    expect(clone(2)).toThrow('is not published')
    expect(clone(1)).toThrow('was removed')
    expect(clone(0)).toThrow('was never assigned')
  })

  test('makes its manifest from that of its source, unless it truncates', () => {
    publish({ blob: CLONE })
    publish({ blob: CLONE, truncates: true, endBytes: 4 })
    expect(base(CLONE, 0)).toEqual({ blob: BLOB, version: 1 })
    expect(base(CLONE, 1)).toEqual({ blob: BLOB, version: 1 })
    expect(base(CLONE, 2)).toBeUndefined()
    expect(base(BLOB, 1)).toBeUndefined()
    expect(base(BLOB, 0)).toBeUndefined()
  })
})

describe('a pinned version', () => {
  test('is not retired before it is unpinned', () => {
    publish()
    publish()
    const ref = { blob: BLOB, version: 1 }
    keep(state.setPinned(ref, true))

    expect(state.setPinned(ref, true).rows).toEqual([])
    expect(state.history(BLOB).map(({ isPinned }) => isPinned)).toEqual([true, false])
    expect(state.firstPinned(BLOB)).toBe(1)
    expect(() => state.retire(BLOB, 1)).toThrow(
      expect.objectContaining({ code: 'ERR_VERSION_PINNED', version: 1 })
    )
    keep(state.setPinned(ref, false))
    keep(state.retire(BLOB, 1))
    expect(state.firstPinned(BLOB)).toBeUndefined()
    expect(state.latest(BLOB)?.version).toBe(2)
  })

  test('must be one that can be read', () => {
    keep(state.assign(request(), 0))
    const pin = (version: number) => () => state.setPinned({ blob: BLOB, version }, true)

    expect(pin(1)).toThrow('is not published')
    expect(pin(2)).toThrow('was never assigned')
    expect(pin(0)).toThrow('was never assigned')
  })
})

describe('a blob that is forgotten', () => {
  test('is unknown from then on', () => {
    publish()

    expect(state.forget(BLOB).rows).toEqual([{ kind: 'blob-removal', blob: BLOB }])

    expect(() => state.latest(BLOB)).toThrow('no blob')
    expect(() => state.forget(BLOB)).toThrow('no blob')
  })

  test('has nothing in flight', () => {
    keep(state.assign(request(), 0))

    expect(() => state.forget(BLOB)).toThrow('in flight')
  })
})

describe('the state', () => {
  test('is what its rows say', () => {
    publish({ endBytes: 30, ranges: [{ start: 0, end: 8 }] })
    keep(state.assign(request({ ranges: [{ start: 1, end: 2 }], endBytes: 8 }), 300))
    keep(state.assign(request(), 300))
    keep(state.commit(BLOB, 3, 400))
    keep(state.fence(BLOB, 2))
    keep(state.setPinned({ blob: BLOB, version: 1 }, true))
    keep(state.cloneBlob(CLONE, { blob: BLOB, version: 1 }, 5))
    keep(state.sealed(CLONE, 0, SEAL))
    const latestRows = new Map(
      rows.map((row) => [row.kind === 'blob' ? row.blob : `${row.blob}/${row.version}`, row])
    )

    const again = new VersionManagerState({ leaseMs: 1000 })
    for (const row of latestRows.values()) again.load(row)

    expect(again.newest(BLOB)).toEqual(state.newest(BLOB))
    expect(again.latest(BLOB)).toEqual(state.latest(BLOB))
    expect(Array.from(again.open())).toEqual(Array.from(state.open()))
    expect(again.ticket(BLOB, 2)).toEqual(state.ticket(BLOB, 2))
    expect(again.latest(CLONE)).toEqual(state.latest(CLONE))
    expect(again.seal({ blob: CLONE, version: 0 })).toEqual(SEAL)
    expect(again.firstPinned(BLOB)).toBe(1)
    expect(again.commit(BLOB, 2, 500)).toEqual(state.commit(BLOB, 2, 500))
  })

  test('refuses rows with a gap', () => {
    publish()
    publish()
    const again = new VersionManagerState()
    again.load(rows[0]!)

    expect(() => again.load(rows.at(-1)!)).toThrow('version 2 follows version 0')
  })

  test('refuses blobs that cannot be', () => {
    const create = (fields: object) => () =>
      state.createBlob(CLONE, { chunkBytes: 4, replicas: 1, ...fields }, 0)

    expect(create({ chunkBytes: 5 })).toThrow('chunk')
    expect(create({ chunkBytes: 2 ** 25 })).toThrow('chunk')
    expect(create({ replicas: 0 })).toThrow('replicas')
    expect(create({ sizeHint: -1 })).toThrow('size')
    expect(create({ sizeHint: 2 ** 52 })).toThrow('number of chunks')
    expect(() => state.createBlob(BLOB, { chunkBytes: 4, replicas: 1 }, 0)).toThrow('exists')
    expect(state.describe(CLONE)).toBeUndefined()
  })
})
