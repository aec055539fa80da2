import type { ChunkId } from '../chunks/types.ts'
import type { RetentionPolicy } from './namespace-types.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { AssignedVersion, RootRef } from './ticket-types.ts'
import type { BlobDescription, BlobId, Version, VersionRef } from './types.ts'
import type { HoldRequest } from './version-manager-types.ts'

/**
 * What the version manager makes durable, one row a thing. The rows are its whole state: what is
 * loaded at start is what was written, and a later row with the same key replaces an earlier one.
 */
export type StateRow =
  | OriginRow
  | BlobRow
  | BlobRemovalRow
  | VersionRow
  | EntryRow
  | EntryRemovalRow
  | PolicyRow
  | PolicyRemovalRow
  | HoldRow
  | HoldRemovalRow

/** What version 0 of a clone stands for: root, size and record of the source. */
export interface CloneSource {
  /** The version that was cloned, which is the parent of the clone's first version. */
  readonly version: VersionRef
  /** Its tree; undefined if it has none. */
  readonly root: RootRef | undefined
  readonly bytes: number
  /** True if version 0 is hidden from readers. */
  readonly isRetired: boolean
  readonly isPinned: boolean
  /** Signed record of version 0; undefined until it is sealed. */
  readonly seal: SignedEnvelope | undefined
}

/** Key: `blob`. */
export interface BlobRow extends BlobDescription {
  readonly kind: 'blob'
  /** Smallest tree span of its versions, from the size that was announced; in chunks. */
  readonly hintSpan: number
  /** True if it was made for a path, so that nobody can reach it any more once it has none. */
  readonly isNamed: boolean
  /** undefined unless it is a clone. */
  readonly source: CloneSource | undefined
}

/** Removes the row of a blob and those of its versions. */
export interface BlobRemovalRow {
  readonly kind: 'blob-removal'
  readonly blob: BlobId
}

/**
 * assigned → committed → published → retired, where `fenced` is an assigned version whose lease
 * has run out, so that somebody else may be finishing it.
 */
export type RowCondition = 'assigned' | 'fenced' | 'committed' | 'published' | 'retired'

/**
 * Key: `blob`, `version`. Ranges are written with the first row of a version and stay as they are
 * whatever later rows say; a published version is loaded without them.
 */
export interface VersionRow extends AssignedVersion {
  readonly kind: 'version'
  readonly blob: BlobId
  readonly version: Version
  readonly condition: RowCondition
  readonly writer: string
  readonly leafList: ChunkId
  readonly note: string
  readonly assignedMs: number
  /** 0 until it is published. */
  readonly publishedMs: number
  readonly leaseUntilMs: number
  /** Newest published version when it was assigned, which its writer's tree stands on; or 0. */
  readonly base: Version
  readonly isPinned: boolean
  /** Signed version record; undefined until it is sealed. */
  readonly seal: SignedEnvelope | undefined
}

/** Entry of the namespace. Key: `id`. The root folder has no row and id 0. */
export interface EntryRow {
  readonly kind: 'entry'
  readonly id: number
  /** Id of the folder that it is in. */
  readonly parent: number
  readonly name: string
  /** undefined for a folder. */
  readonly blob: BlobId | undefined
  /** False for a reservation, and for folders that only hold such. */
  readonly isVisible: boolean
  readonly modifiedMs: number
  /** Of a file whose time somebody has set; a folder's is its `modifiedMs`. */
  readonly setTime?: SetTime | undefined
}

/** A time that somebody has set for a file, shown as long as this version is the newest. */
export interface SetTime {
  readonly version: Version
  readonly modifiedMs: number
}

export interface EntryRemovalRow {
  readonly kind: 'entry-removal'
  readonly id: number
}

/** Retention policy of a namespace entry. Key: `entry`, the root folder's being 0. */
export interface PolicyRow {
  readonly kind: 'policy'
  readonly entry: number
  readonly policy: RetentionPolicy
}

export interface PolicyRemovalRow {
  readonly kind: 'policy-removal'
  readonly entry: number
}

/** Keeps a version from collection. Key: `holder`, `purpose`, `blob`, `version`. */
export interface HoldRow extends HoldRequest {
  readonly kind: 'hold'
  /** When it ends unless it is renewed; milliseconds since the epoch. */
  readonly untilMs: number
}

export interface HoldRemovalRow extends Omit<HoldRequest, 'forMs'> {
  readonly kind: 'hold-removal'
}

/** When this state began; there is one. What is older was made under another, which is lost. */
export interface OriginRow {
  readonly kind: 'origin'
  /** Milliseconds since the epoch; 0 in a file of a program that did not write it down. */
  readonly beganMs: number
}
