import type { AbortOptions } from '../lib/abort-options.ts'
import { errorCode, MalformedError } from '../lib/errors.ts'
import type { Participant, Tally } from './collection-participants.ts'
import { metadataSweep, sweep } from './collection-sweep.ts'
import type { BlobRoots, CollectedVersions } from './collection-types.ts'
import { nodePrefix } from './metadata-keys.ts'
import { decodeNodeKey } from './node-codec.ts'
import type { CollectableMetadata } from './store-types.ts'
import { SupersededNodes } from './superseded-nodes.ts'
import type { BlobId, Version, VersionRef } from './types.ts'

/** Versions of which is asked what they wrote in one call. */
const VERSIONS_PER_CALL = 256

export interface NodeSweepComponents {
  readonly versions: Pick<CollectedVersions, 'assigned'>
  readonly roots: readonly BlobRoots[]
}

/** Versions between two trees that stay, that have nodes somewhere. */
interface Stretch {
  /** The tree above them that stays; undefined if there is none. */
  readonly above: Version | undefined
  /** In falling order. */
  readonly versions: readonly Version[]
}

/** Deletes tree nodes that no tree that stays has. */
export class NodeSweep {
  readonly #versions: NodeSweepComponents['versions']
  readonly #roots: ReadonlyMap<BlobId, BlobRoots>

  constructor({ versions, roots }: NodeSweepComponents) {
    this.#versions = versions
    this.#roots = new Map(roots.map((root) => [root.blob, root]))
  }

  /**
   * Sweeps the nodes of one metadata provider, blob by blob.
   *
   * @param to where they are counted; a dry run only counts.
   */
  async run(
    participant: Participant<CollectableMetadata>,
    to: { readonly tally: Tally; readonly isDryRun: boolean },
    options: AbortOptions
  ): Promise<void> {
    for await (const { blob, versions } of this.#blobsOf(participant, options)) {
      await this.#sweepBlob(participant, { blob, versions }, to, options)
    }
  }

  /** @yields each blob that has nodes there, with its versions in rising order. */
  async *#blobsOf(
    participant: Participant<CollectableMetadata>,
    options: AbortOptions
  ): AsyncGenerator<{ blob: BlobId; versions: Version[] }> {
    let current: { blob: BlobId; versions: Version[] } | undefined
    for (let after: VersionRef | undefined; ; ) {
      const above = after
      const listed = await participant.ask(
        async (store, collection, asked) =>
          checkOrder(await store.nodeVersions(collection, above, asked), above),
        options
      )
      for (const { blob, version } of listed ?? []) {
        if (current !== undefined && current.blob !== blob) {
          yield current
          current = undefined
        }
        current ??= { blob, versions: [] }
        current.versions.push(version)
      }
      after = listed?.at(-1)
      if (after === undefined) break
    }
    if (current !== undefined) yield current
  }

  async #sweepBlob(
    participant: Participant<CollectableMetadata>,
    { blob, versions }: { readonly blob: BlobId; readonly versions: readonly Version[] },
    to: { readonly tally: Tally; readonly isDryRun: boolean },
    options: AbortOptions
  ): Promise<void> {
    const root = this.#roots.get(blob)
    if (root === undefined && !(await this.#isForgotten(blob, options))) return
    const trees = root?.trees ?? []
    for (const stretch of stretchesOf(versions, trees, root?.published)) {
      const superseded = new SupersededNodes(root?.chunkBytes ?? 1)
      let added = stretch.above === undefined ? 0 : stretch.above + 1
      for (const version of stretch.versions) {
        if (stretch.above !== undefined) {
          await this.#addDownTo(superseded, { blob, from: version + 1, to: added - 1 }, options)
          added = version + 1
        }
        const isGarbage = (key: Uint8Array): boolean =>
          stretch.above === undefined || superseded.has(decodeNodeKey(key))
        const ofVersion = metadataSweep('nodes', isGarbage, nodePrefix({ blob, version }))
        await sweep(participant, ofVersion, to, options)
      }
    }
  }

  async #addDownTo(
    superseded: SupersededNodes,
    { blob, from, to }: { readonly blob: BlobId; readonly from: Version; readonly to: Version },
    options: AbortOptions
  ): Promise<void> {
    for (let last = to; last >= from; last -= VERSIONS_PER_CALL) {
      const range = { from: Math.max(from, last - VERSIONS_PER_CALL + 1), to: last }
      const assigned = await this.#versions.assigned(blob, range, options)
      for (const version of assigned.toReversed()) superseded.add(version)
    }
  }

  /**
   * Tells a blob that was forgotten from one that is newer than the roots. Nodes outlast their blob
   * only where a metadata provider was away when it was forgotten.
   */
  async #isForgotten(blob: BlobId, options: AbortOptions): Promise<boolean> {
    try {
      await this.#versions.assigned(blob, { from: 1, to: 1 }, options)
      return false
    } catch (error) {
      if (errorCode(error) === 'ERR_UNKNOWN_BLOB') return true
      throw error
    }
  }
}

/**
 * Cuts versions at the trees that stay. Left out are those trees themselves, and what was published
 * after the roots were taken or not at all.
 */
function stretchesOf(
  versions: readonly Version[],
  trees: readonly Version[],
  published: Version = Number.POSITIVE_INFINITY
): Stretch[] {
  const stretches = new Map<Version | undefined, Version[]>()
  let next = 0
  for (const version of versions) {
    while ((trees[next] ?? Number.POSITIVE_INFINITY) < version) next++
    const above = trees[next]
    if (version > published || above === version) continue
    const stretch = stretches.get(above)
    if (stretch === undefined) stretches.set(above, [version])
    else stretch.push(version)
  }
  return Array.from(stretches, ([above, some]) => ({ above, versions: some.toReversed() }))
}

/** @throws {MalformedError} if versions are not in order, so that listing them might never end. */
function checkOrder(
  listed: readonly VersionRef[],
  after: VersionRef | undefined
): readonly VersionRef[] {
  let before = after
  for (const ref of listed) {
    const isAbove =
      before === undefined ||
      ref.blob > before.blob ||
      (ref.blob === before.blob && ref.version > before.version)
    if (!isAbove) throw new MalformedError('list of versions', 'it is not in order')
    before = ref
  }
  return listed
}
