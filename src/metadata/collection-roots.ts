import { type BlobState, readableVersions } from './blob-state.ts'
import type { BlobRoots } from './collection-types.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { BlobId, Version, VersionRef } from './types.ts'
import type { VersionRow } from './version-rows.ts'

/** What the rules see of all blobs at one moment. */
export interface RootsView {
  blobs(): Iterable<BlobState>
  blob(blob: BlobId): BlobState
  seal(ref: VersionRef): SignedEnvelope | undefined
  /** The version whose manifest that of this one is made from. */
  manifestBaseOf(ref: VersionRef): VersionRef | undefined
  /** Versions of the same blob that the tree of a version in flight is being woven into; or 0. */
  basesOf(row: VersionRow): readonly Version[]
  /** Tells whether a path names the blob. */
  hasPath(blob: BlobId): boolean
  heldVersions(blob: BlobId): ReadonlySet<Version>
}

/** Versions that are counted as retired already, by `refKey`. */
export type RetiredRefs = ReadonlySet<string>

/** Key of a version in a set. */
export function refKey({ blob, version }: VersionRef): string {
  return `${blob}/${version}`
}

/** Tells whether something of a blob can be read, is held or is in flight. */
export function isInUse(view: RootsView, blob: BlobState, retired?: RetiredRefs): boolean {
  if (blob.versions.length > blob.published) return true
  if (readableOf(blob, retired).next().done !== true) return true
  return view.heldVersions(blob.row.blob).size > 0
}

/**
 * Tells whether nobody can come to need a blob any more, except clones of it: no path names it, and
 * it is not in use. It stays so, because such a blob gets no tickets, holds and clones.
 */
export function isGone(view: RootsView, blob: BlobState, retired?: RetiredRefs): boolean {
  const { isNamed, blob: id } = blob.row
  const isYoung = !isNamed && blob.published === 0
  return !isYoung && !view.hasPath(id) && !isInUse(view, blob, retired)
}

/** What must stay of all blobs, each of which is in the answer. */
export function rootsOf(view: RootsView, retired?: RetiredRefs): BlobRoots[] {
  const marking = new RootMarking(view)
  for (const blob of view.blobs()) {
    if (!isGone(view, blob, retired)) marking.addBlob(blob, readableOf(blob, retired))
  }
  return Array.from(view.blobs(), (blob) => marking.rootsOf(blob))
}

interface Marks {
  readonly manifests: Set<Version>
  readonly trees: Set<Version>
  /** Versions of which leaf lists are needed. */
  readonly unsealed: Set<Version>
  /** Number of the first version that stands on nothing older; undefined until it is needed. */
  firstTruncating?: Version
}

class RootMarking {
  readonly #view: RootsView
  readonly #marks = new Map<BlobId, Marks>()

  constructor(view: RootsView) {
    this.#view = view
  }

  /** Marks what a blob that can be reached needs. */
  addBlob(blob: BlobState, readable: Iterable<Version>): void {
    const { row, versions, published } = blob
    for (const version of readable) this.#addManifest({ blob: row.blob, version })
    for (const version of this.#view.heldVersions(row.blob)) {
      this.#addManifest({ blob: row.blob, version })
    }
    // What is written next stands on the newest one, readable or not.
    if (published > 0 || row.source !== undefined) {
      this.#addManifest({ blob: row.blob, version: published })
    }
    for (const open of versions.slice(published)) {
      for (const base of this.#view.basesOf(open)) this.#addTree({ blob: row.blob, version: base })
    }
  }

  rootsOf({ row, versions, published }: BlobState): BlobRoots {
    const { manifests, trees, unsealed } = this.#marksOf(row.blob)
    const inFlight = versions.slice(published).map(({ leafList }) => leafList)
    return {
      blob: row.blob,
      chunkBytes: row.chunkBytes,
      published,
      manifests: sorted(manifests),
      unsealed: sorted(manifests).filter((version) => unsealed.has(version)),
      trees: sorted(trees),
      leafLists: [
        ...sorted(unsealed).flatMap((version) => versions[version - 1]?.leafList ?? []),
        ...inFlight
      ]
    }
  }

  /**
   * Keeps a version that can be sealed, and for one that is not sealed yet all that it takes: leaf
   * lists down to a version that is, whose manifest the others begin with.
   */
  #addManifest(ref: VersionRef): void {
    for (let next: VersionRef | undefined = ref; next !== undefined; ) {
      const { manifests, unsealed } = this.#marksOf(next.blob)
      const isSealed = this.#view.seal(next) !== undefined
      if (isSealed || next === ref) {
        manifests.add(next.version)
        this.#addTree(next)
      }
      if (isSealed || unsealed.has(next.version)) return
      unsealed.add(next.version)
      next = this.#view.manifestBaseOf(next)
    }
  }

  /** Keeps a tree, and what a clone's stands on in its source. */
  #addTree(ref: VersionRef): void {
    for (let next: VersionRef | undefined = ref; next !== undefined; ) {
      const marks = this.#marksOf(next.blob)
      if (marks.trees.has(next.version)) return
      if (next.version > 0) marks.trees.add(next.version)
      next = this.#sourceBelow(next, marks)
    }
  }

  /** What the tree of a version shows of the source of its blob; undefined if nothing. */
  #sourceBelow({ blob, version }: VersionRef, marks: Marks): VersionRef | undefined {
    const { row, versions, published } = this.#view.blob(blob)
    if (row.source?.root === undefined) return undefined
    if (marks.firstTruncating === undefined) {
      const at = versions.findIndex(({ truncates }) => truncates)
      marks.firstTruncating = at < 0 ? Number.POSITIVE_INFINITY : at + 1
    }
    const isCutOff = version <= published && version >= marks.firstTruncating
    return isCutOff ? undefined : row.source.root
  }

  #marksOf(blob: BlobId): Marks {
    const known = this.#marks.get(blob)
    if (known !== undefined) return known
    const made: Marks = { manifests: new Set(), trees: new Set(), unsealed: new Set() }
    this.#marks.set(blob, made)
    return made
  }
}

/** @yields numbers of versions that can be read. */
function* readableOf(blob: BlobState, retired: RetiredRefs | undefined): Generator<Version> {
  for (const { version } of readableVersions(blob)) {
    const isRetired = retired?.has(refKey({ blob: blob.row.blob, version })) === true
    if (!isRetired) yield version
  }
}

function sorted(versions: ReadonlySet<Version>): Version[] {
  return Array.from(versions).toSorted((left, right) => left - right)
}
