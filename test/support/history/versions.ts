import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { errorCode } from '../../../src/lib/errors.ts'
import type { PublishedVersions } from '../../../src/metadata/publishing.ts'
import type { OpenVersions } from '../../../src/metadata/roll-forward.ts'
import type { SignedVersionRecord } from '../../../src/metadata/sealing-types.ts'
import type { SignedEnvelope, Signer } from '../../../src/metadata/signature-types.ts'
import type {
  AssignedVersion,
  SignedTicket,
  Ticket,
  TicketRequest
} from '../../../src/metadata/ticket-types.ts'
import { signTicket, verifyTicket } from '../../../src/metadata/tickets.ts'
import type { TreeSnapshot } from '../../../src/metadata/tree-read.ts'
import type {
  BlobDescription,
  BlobId,
  Version,
  VersionRef,
  VersionSummary
} from '../../../src/metadata/types.ts'
import type { Change, VersionManagerState } from '../../../src/metadata/version-manager.ts'
import { decodeVersionRecord } from '../../../src/metadata/version-record.ts'
import type { BlobRow, StateRow, VersionRow } from '../../../src/metadata/version-rows.ts'
import type { ManualClock } from '../manual-clock.ts'
import { gullible } from '../plain-signing.ts'
import { CELL_BYTES, CHUNK_BYTES, cellsIn } from './cells.ts'
import type { HistoryCounts } from './counts.ts'
import { HistoryFailure } from './failure.ts'
import type { HistoryModel, ModelWrite } from './model.ts'
import type { HistoryRules } from './rules.ts'
import type { Actor, Scheduler } from './scheduler.ts'

/** In steps; long enough that most writers need no renewal, and some are late for one. */
const LEASE_MS = 200

export interface HistoryVersionsParts {
  readonly rules: HistoryRules
  readonly scheduler: Scheduler
  readonly clock: ManualClock
  readonly model: HistoryModel
  readonly manager: Signer
  readonly counts: HistoryCounts
}

/** A write whose ticket is asked for. */
export interface AskedWrite {
  /** What the model is to apply once there is a ticket, at the place that the request says. */
  readonly modelWrite: (request: TicketRequest) => ModelWrite
  readonly changeRequest: (request: TicketRequest) => TicketRequest
  readonly onTicket: (signed: SignedTicket) => void
}

/**
 * The version manager of a history: the real rules over rows that are durable at once, and out of
 * which it can be made again at any time.
 */
export class HistoryVersions {
  readonly #parts: HistoryVersionsParts
  readonly #rows = new Map<string, BlobRow | VersionRow>()
  /** What every version wrote, which rows of published ones no longer say. */
  readonly #assigned = new Map<string, AssignedVersion>()
  /** Versions that repairers are at work on, and how many of them. */
  readonly #repairs = new Map<string, number>()
  #state: VersionManagerState

  constructor(parts: HistoryVersionsParts) {
    this.#parts = parts
    this.#state = parts.rules.newState({ leaseMs: LEASE_MS })
  }

  /** Begins again from what was made durable. */
  restart(): void {
    this.#state = this.#parts.rules.newState({ leaseMs: LEASE_MS })
    const rows = Array.from(this.#rows.values())
    for (const row of rows) if (row.kind === 'blob') this.#state.load(row)
    const versions = rows.filter((row) => row.kind === 'version')
    for (const row of versions.toSorted((a, b) => a.version - b.version)) this.#state.load(row)
  }

  create(sizeHint: number): BlobId {
    const create = { chunkBytes: CHUNK_BYTES, replicas: 1, sizeHint }
    const nowMs = this.#parts.clock.now()
    return this.#addBlob((blob) => this.#state.createBlob(blob, create, nowMs), new Uint8Array())
  }

  clone(from: VersionRef): BlobId {
    const nowMs = this.#parts.clock.now()
    const cells = this.#parts.model.cells(from)
    return this.#addBlob((blob) => this.#state.cloneBlob(blob, from, nowMs), cells)
  }

  /** Number of the newest published version. */
  published(blob: BlobId): Version {
    return this.#state.latest(blob)?.version ?? 0
  }

  newest(blob: BlobId): { version: Version; bytes: number } {
    return this.#state.newest(blob)
  }

  /** Versions that are assigned and not published. */
  inFlight(blob: BlobId): number {
    return this.#parts.model.newest(blob) - this.published(blob)
  }

  /** Versions that wait for a commit. */
  open(): VersionRow[] {
    return Array.from(this.#state.open())
  }

  isPublished({ blob, version }: VersionRef): boolean {
    return version <= this.published(blob)
  }

  row({ blob, version }: VersionRef): VersionRow {
    return this.#state.version(blob, version)
  }

  describe(blob: BlobId): BlobDescription {
    const description = this.#state.describe(blob)
    if (description === undefined) throw new HistoryFailure(`no blob ${blob}`)
    return description
  }

  parentOf({ blob, version }: VersionRef): VersionRef | undefined {
    return this.#state.parentOf(blob, version)
  }

  assigned({ blob, version }: VersionRef): AssignedVersion {
    const assigned = this.#assigned.get(`${blob}/${version}`)
    if (assigned === undefined) throw new HistoryFailure(`version ${version} was not assigned`)
    return assigned
  }

  /** The version that version 0 of a clone stands for. */
  sourceOf(blob: BlobId): VersionRef | undefined {
    const row = this.#rows.get(blob)
    return row?.kind === 'blob' ? row.source?.version : undefined
  }

  /** Where the tree of a published version stands. */
  snapshot({ blob, version }: VersionRef): TreeSnapshot {
    const row = this.#rows.get(version === 0 ? blob : `${blob}/${version}`)
    if (row?.kind === 'version') {
      const root = { blob, version, span: row.span }
      return { root, bytes: row.bytes, chunkBytes: CHUNK_BYTES }
    }
    const { root, bytes = 0 } = row?.source ?? {}
    return { root, bytes, chunkBytes: CHUNK_BYTES }
  }

  /** The record of a version, if it was sealed. */
  seal(ref: VersionRef): SignedVersionRecord | undefined {
    const { seal: envelope } = this.row(ref)
    return envelope && { record: decodeVersionRecord(envelope.payload), envelope }
  }

  keepSeal({ blob, version }: VersionRef, envelope: SignedEnvelope): void {
    this.#keep(this.#state.sealed(blob, version, envelope).rows)
  }

  /** The version manager as a writer sees it. */
  forWriter(actor: Actor, asked: AskedWrite): PublishedVersions {
    const { scheduler } = this.#parts
    const waitPublished = (blob: BlobId, version: Version): Promise<VersionSummary> =>
      scheduler.call(
        actor,
        'wait',
        () => this.#state.summary(blob, version),
        () => this.isPublished({ blob, version })
      )
    return {
      assign: (request) =>
        scheduler.call(actor, 'assign', () => this.#assign(asked.changeRequest(request), asked)),
      newest: (blob) => scheduler.call(actor, 'read', () => this.#state.newest(blob)),
      renew: (blob, version) =>
        scheduler.call(actor, 'renew', () => this.#renew({ blob, version })),
      finish: async (blob, version) => {
        await scheduler.call(actor, 'commit', () => this.#commit({ blob, version }, true))
        return await waitPublished(blob, version)
      },
      waitPublished
    }
  }

  /** The version manager as a repairer of one version sees it; `onDone` when it looks for more. */
  forRepairer(actor: Actor, row: VersionRow, onDone: () => void): OpenVersions {
    const { scheduler, rules } = this.#parts
    let isTaken = false
    return {
      open: () => {
        if (isTaken) onDone()
        const open: VersionRow[] = isTaken ? [] : [{ ...row, condition: 'fenced' }]
        isTaken = true
        return open
      },
      leaseEnd: () => 0,
      fence: async (blob, version): Promise<Ticket> =>
        await scheduler.call(actor, 'commit', () => {
          this.#keep(this.#state.fence(blob, version).rows)
          return rules.repairTicket(this.#state.ticket(blob, version))
        }),
      commit: async (blob, version) =>
        await scheduler.call(actor, 'commit', () => this.#commit({ blob, version }, false))
    }
  }

  /** Notes that a repair begins, or ends. @returns how many are under way then. */
  countRepairs({ blob, version }: VersionRef, change: 1 | -1): number {
    const key = `${blob}/${version}`
    const count = (this.#repairs.get(key) ?? 0) + change
    this.#repairs.set(key, count)
    return count
  }

  #assign(request: TicketRequest, { modelWrite, onTicket }: AskedWrite): SignedTicket {
    const { clock, model, manager, rules, counts } = this.#parts
    const change = this.#tryAssign(request, clock.now())
    const ticket = change.result
    this.#keep(change.rows)
    const { version, ranges, bytes, span, previousSpan, truncates, inFlight } = ticket
    const assigned = { version, ranges, bytes, span, previousSpan, truncates }
    this.#assigned.set(`${request.blob}/${version}`, assigned)
    model.assign({ blob: request.blob, version }, modelWrite(request))
    counts.inFlight += inFlight.length
    if (previousSpan > 0 && span > previousSpan * 2) counts.growths++
    const { envelope } = signTicket(manager, ticket)
    const signed = verifyTicket(gullible, envelope)
    onTicket(signed)
    return { ticket: rules.writerTicket(signed.ticket), envelope }
  }

  #tryAssign(request: TicketRequest, nowMs: number): Change<Ticket> {
    const { counts } = this.#parts
    try {
      return this.#state.assign(request, nowMs)
    } catch (error) {
      if (errorCode(error) === 'ERR_SIZE_CONFLICT') counts.conflicts++
      if (errorCode(error) === 'ERR_TICKET_CONFLICT') counts.refusedConditions++
      throw error
    }
  }

  #renew({ blob, version }: VersionRef): number {
    const { clock, counts } = this.#parts
    try {
      const { rows, result } = this.#state.renew(blob, version, clock.now())
      this.#keep(rows)
      return result
    } catch (error) {
      counts.refusedRenewals++
      throw error
    }
  }

  #commit(ref: VersionRef, isByWriter: boolean): void {
    const { clock, model, counts } = this.#parts
    if (isByWriter && this.row(ref).condition !== 'assigned') counts.lateCommits++
    const { rows, result } = this.#state.commit(ref.blob, ref.version, clock.now())
    this.#keep(rows)
    for (const { blob, version, bytes } of result) {
      const expected = model.cells({ blob, version }).byteLength
      if (bytes !== expected * CELL_BYTES) {
        const actual = cellsIn(bytes, 'size')
        throw new HistoryFailure(`version ${version} has ${actual} cells in place of ${expected}`)
      }
    }
  }

  #addBlob(make: (blob: BlobId) => Change<unknown>, cells: Uint8Array): BlobId {
    const { model } = this.#parts
    const blob = Buffer.from(chunkId(Buffer.from(`blob ${model.blobs.length}`))).toString('hex')
    this.#keep(make(blob).rows)
    model.addBlob(blob, cells)
    return blob
  }

  #keep(rows: readonly StateRow[]): void {
    for (const row of rows) {
      if (row.kind === 'blob') this.#rows.set(row.blob, row)
      if (row.kind === 'version') this.#rows.set(`${row.blob}/${row.version}`, row)
    }
  }
}
