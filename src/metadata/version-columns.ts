import type { SQLOutputValue } from 'node:sqlite'
import type { SignedEnvelope } from './signature-types.ts'
import { decodeEnvelope, encodeEnvelope } from './signed.ts'
import type { RootRef } from './ticket-types.ts'
import type { ChunkRange, VersionRef } from './types.ts'
import type {
  BlobRow,
  CloneSource,
  EntryRow,
  HoldRow,
  PolicyRow,
  RowCondition,
  SetTime,
  StateRow,
  VersionRow
} from './version-rows.ts'

/** A row of a table, by the names of its columns. */
export type Columns = Record<string, SQLOutputValue>

/** Kinds of rows that are loaded, each in the order of its keys. */
export type LoadedKind = 'origin' | 'blob' | 'version' | 'entry' | 'policy' | 'hold'

type Parameters = (string | number | Uint8Array | null)[]

/** Values of a row, in the order of the statements that write it. */
export function parametersOf(row: StateRow): Parameters {
  switch (row.kind) {
    case 'origin':
      return [row.beganMs]
    case 'blob':
      return parametersOfBlob(row)
    case 'version':
      return parametersOfVersion(row)
    case 'entry':
      return parametersOfEntry(row)
    case 'policy':
      return [row.entry, row.policy.last ?? null, row.policy.youngerMs ?? null]
    case 'hold':
      return [row.holder, row.purpose, row.blob, row.version, row.forMs, row.untilMs]
    case 'blob-removal':
      return [row.blob]
    case 'policy-removal':
      return [row.entry]
    case 'hold-removal':
      return [row.holder, row.purpose, row.blob, row.version]
    case 'entry-removal':
    default:
      return [row.id]
  }
}

function parametersOfEntry({ setTime, ...row }: EntryRow): Parameters {
  return [
    row.id,
    row.parent,
    row.name,
    row.blob ?? null,
    row.isVisible ? 1 : 0,
    row.modifiedMs,
    setTime?.version ?? null,
    setTime?.modifiedMs ?? null
  ]
}

function parametersOfBlob({ source, ...row }: BlobRow): Parameters {
  return [
    row.blob,
    row.chunkBytes,
    row.replicas,
    row.createdMs,
    row.hintSpan,
    source?.version.blob ?? null,
    source?.version.version ?? null,
    source?.bytes ?? null,
    source?.root?.blob ?? null,
    source?.root?.version ?? null,
    source?.root?.span ?? null,
    row.isNamed ? 1 : 0,
    source?.isRetired === true ? 1 : 0,
    source?.isPinned === true ? 1 : 0,
    source?.seal === undefined ? null : encodeEnvelope(source.seal)
  ]
}

function parametersOfVersion(row: VersionRow): Parameters {
  return [
    row.blob,
    row.version,
    row.condition,
    encodeRanges(row.ranges),
    row.bytes,
    row.span,
    row.previousSpan,
    row.truncates ? 1 : 0,
    row.writer,
    row.leafList,
    row.note,
    row.assignedMs,
    row.publishedMs,
    row.leaseUntilMs,
    row.seal === undefined ? null : encodeEnvelope(row.seal),
    row.base,
    row.isPinned ? 1 : 0
  ]
}

/** A row as it was written. @throws {Error} saying what is corrupt. */
export function toRow(kind: LoadedKind, row: Columns): StateRow {
  switch (kind) {
    case 'blob':
      return toBlob(row)
    case 'version':
      return toVersion(row)
    case 'entry':
      return toEntry(row)
    case 'policy':
      return toPolicy(row)
    case 'origin':
      return { kind: 'origin', beganMs: number(row, 'began_ms') }
    case 'hold':
    default:
      return toHold(row)
  }
}

function toBlob(row: Columns): BlobRow {
  return {
    kind: 'blob',
    blob: text(row, 'blob'),
    chunkBytes: number(row, 'chunk_bytes'),
    replicas: number(row, 'replicas'),
    createdMs: number(row, 'created_ms'),
    hintSpan: number(row, 'hint_span'),
    isNamed: number(row, 'is_named') === 1,
    source: row['source_blob'] === null ? undefined : toSource(row)
  }
}

function toSource(row: Columns): CloneSource {
  const version: VersionRef = {
    blob: text(row, 'source_blob'),
    version: number(row, 'source_version')
  }
  const root: RootRef | undefined =
    row['root_blob'] === null
      ? undefined
      : {
          blob: text(row, 'root_blob'),
          version: number(row, 'root_version'),
          span: number(row, 'root_span')
        }
  return {
    version,
    root,
    bytes: number(row, 'source_bytes'),
    isRetired: number(row, 'source_retired') === 1,
    isPinned: number(row, 'source_pinned') === 1,
    seal: toSeal(row, 'source_seal')
  }
}

function toVersion(row: Columns): VersionRow {
  return {
    kind: 'version',
    blob: text(row, 'blob'),
    version: number(row, 'version'),
    condition: conditionOf(text(row, 'condition')),
    ranges: rangesColumn(row) ?? [],
    bytes: number(row, 'bytes'),
    span: number(row, 'span'),
    previousSpan: number(row, 'previous_span'),
    truncates: number(row, 'truncates') === 1,
    writer: text(row, 'writer'),
    leafList: bytes(row, 'leaf_list'),
    note: text(row, 'note'),
    assignedMs: number(row, 'assigned_ms'),
    publishedMs: number(row, 'published_ms'),
    leaseUntilMs: number(row, 'lease_until_ms'),
    base: number(row, 'base_version'),
    isPinned: number(row, 'is_pinned') === 1,
    seal: toSeal(row, 'seal')
  }
}

function toSeal(row: Columns, name: string): SignedEnvelope | undefined {
  return row[name] === null ? undefined : decodeEnvelope(bytes(row, name))
}

function toEntry(row: Columns): EntryRow {
  return {
    kind: 'entry',
    id: number(row, 'id'),
    parent: number(row, 'parent'),
    name: text(row, 'name'),
    blob: row['blob'] === null ? undefined : text(row, 'blob'),
    isVisible: number(row, 'is_visible') === 1,
    modifiedMs: number(row, 'modified_ms'),
    setTime: row['set_version'] === null ? undefined : toSetTime(row)
  }
}

function toSetTime(row: Columns): SetTime {
  return { version: number(row, 'set_version'), modifiedMs: number(row, 'set_ms') }
}

function toPolicy(row: Columns): PolicyRow {
  const last = row['last'] === null ? undefined : number(row, 'last')
  const youngerMs = row['younger_ms'] === null ? undefined : number(row, 'younger_ms')
  return { kind: 'policy', entry: number(row, 'entry'), policy: { last, youngerMs } }
}

function toHold(row: Columns): HoldRow {
  return {
    kind: 'hold',
    holder: text(row, 'holder'),
    purpose: text(row, 'purpose'),
    blob: text(row, 'blob'),
    version: number(row, 'version'),
    forMs: number(row, 'for_ms'),
    untilMs: number(row, 'until_ms')
  }
}

function conditionOf(value: string): RowCondition {
  switch (value) {
    case 'assigned':
    case 'fenced':
    case 'committed':
    case 'published':
    case 'retired':
      return value
    default:
      throw new Error(`it is corrupt (condition ${value})`)
  }
}

function encodeRanges(ranges: readonly ChunkRange[]): Uint8Array {
  const encoded = new Uint8Array(ranges.length * 8)
  const view = new DataView(encoded.buffer)
  for (const [at, { start, end }] of ranges.entries()) {
    view.setUint32(at * 8, start)
    view.setUint32(at * 8 + 4, end - start - 1)
  }
  return encoded
}

/** What a version was allowed to write; undefined if that was lost. */
export function rangesColumn(row: Columns): ChunkRange[] | undefined {
  const encoded = bytes(row, 'ranges')
  if (encoded.byteLength % 8 !== 0) return undefined
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength)
  const ranges: ChunkRange[] = []
  for (let at = 0; at + 8 <= encoded.byteLength; at += 8) {
    const start = view.getUint32(at)
    ranges.push({ start, end: start + view.getUint32(at + 4) + 1 })
  }
  return ranges
}

function number(row: Columns, name: string): number {
  const value = row[name]
  if (typeof value !== 'number') throw new Error(`it is corrupt (${name} is no number)`)
  return value
}

function text(row: Columns, name: string): string {
  const value = row[name]
  if (typeof value !== 'string') throw new Error(`it is corrupt (${name} is no text)`)
  return value
}

function bytes(row: Columns, name: string): Uint8Array {
  const value = row[name]
  if (!(value instanceof Uint8Array)) throw new Error(`it is corrupt (${name} are no bytes)`)
  return value
}
