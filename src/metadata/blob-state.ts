import { MetadataLimitError } from './errors.ts'
import type { AssignedVersion, RootRef } from './ticket-types.ts'
import { MAX_IN_FLIGHT_RANGES, MAX_IN_FLIGHT_VERSIONS } from './tickets.ts'
import type { Version, VersionSummary } from './types.ts'
import type { BlobRow, VersionRow } from './version-rows.ts'

/** A blob with its versions, as the version manager's rules see it. */
export interface BlobState {
  readonly row: BlobRow
  /** Version v stands at v − 1. */
  readonly versions: readonly VersionRow[]
  /** Every version up to this one is published or retired. */
  readonly published: Version
}

/** Tells whether a version has been published, be it retired since. */
export function isPublished({ condition }: VersionRow): boolean {
  return condition === 'published' || condition === 'retired'
}

/** What tickets tell of a version that is in flight. */
export function assignedOf(row: VersionRow): AssignedVersion {
  const { version, ranges, bytes, span, previousSpan, truncates } = row
  return { version, ranges, bytes, span, previousSpan, truncates }
}

/** What callers see of a version. */
export function summaryOf(row: VersionRow): VersionSummary {
  const { version, bytes, note, isPinned } = row
  const timeMs = isPublished(row) ? row.publishedMs : row.assignedMs
  const condition = row.condition === 'fenced' ? 'assigned' : row.condition
  return { version, bytes, timeMs, note, condition, isPinned }
}

/** What callers see of version 0; undefined unless the blob is a clone. */
export function sourceSummaryOf({ source, createdMs }: BlobRow): VersionSummary | undefined {
  if (source === undefined) return undefined
  const { bytes, isPinned, isRetired } = source
  const condition = isRetired ? 'retired' : 'published'
  return { version: 0, bytes, timeMs: createdMs, note: '', condition, isPinned }
}

/**
 * Versions that can be read.
 *
 * @yields those above `after`, oldest first.
 */
export function* readableVersions(
  { row, versions, published }: BlobState,
  after: Version = -1
): Generator<VersionSummary> {
  const source = after < 0 ? sourceSummaryOf(row) : undefined
  if (source?.condition === 'published') yield source
  for (let at = Math.max(0, after); at < published; at++) {
    const version = versions[at]
    if (version?.condition === 'published') yield summaryOf(version)
  }
}

/** Newest version that can be read; undefined if there is none. */
export function newestReadable({
  row,
  versions,
  published
}: BlobState): VersionSummary | undefined {
  for (let at = published - 1; at >= 0; at--) {
    const version = versions[at]
    if (version?.condition === 'published') return summaryOf(version)
  }
  const source = sourceSummaryOf(row)
  return source?.condition === 'published' ? source : undefined
}

/** Root that a ticket stands on that is made now; undefined if there is no tree yet. */
export function baseOf({ row, versions, published }: BlobState): RootRef | undefined {
  const last = versions[published - 1]
  if (last === undefined) return row.source?.root
  return { blob: row.blob, version: last.version, span: last.span }
}

/** @throws {MetadataLimitError} if tickets would have to tell of too much with `row` in flight. */
export function checkInFlight({ versions, published }: BlobState, row: VersionRow): void {
  const count = versions.length - published
  if (count >= MAX_IN_FLIGHT_VERSIONS) {
    throw new MetadataLimitError('versions in flight', count + 1, MAX_IN_FLIGHT_VERSIONS)
  }
  let ranges = row.ranges.length
  for (let at = published; at < versions.length; at++) ranges += versions[at]?.ranges.length ?? 0
  if (ranges > MAX_IN_FLIGHT_RANGES) {
    throw new MetadataLimitError('ranges in flight', ranges, MAX_IN_FLIGHT_RANGES)
  }
}
