import { isZeroChunk } from '../../../src/chunks/chunk-id.ts'
import { loadManifest } from '../../../src/chunks/manifest-load.ts'
import type { ChunkId } from '../../../src/chunks/types.ts'
import { toHex } from '../../../src/lib/bytes.ts'
import type { BlobRoots } from '../../../src/metadata/collection-types.ts'
import { locationRecordName } from '../../../src/metadata/location.ts'
import { recordName } from '../../../src/metadata/metadata-keys.ts'
import { decodeNodeKey } from '../../../src/metadata/node-codec.ts'
import { pageFetcher } from '../../../src/metadata/page-fetch.ts'
import type { KeptMetadata, MetadataKind } from '../../../src/metadata/store-types.ts'
import type { NodeKey } from '../../../src/metadata/tree-types.ts'
import type { BlobId, VersionRef } from '../../../src/metadata/types.ts'
import { versionRecordName } from '../../../src/metadata/version-record.ts'
import type { TestRepository } from '../repository.ts'

/** What should be stored and what is, by names that tell the kind. */
export interface Audit {
  /** What some version needs and is nowhere. */
  readonly missing: readonly string[]
  /** What is stored although nothing needs it. */
  readonly left: readonly string[]
  /** Chunks that are needed. */
  readonly chunkCount: number
}

/**
 * Works out anew, from paths and versions alone, what must be stored, and compares it with what the
 * stores hold. Nothing may be in flight.
 */
export async function audit(test: TestRepository): Promise<Audit> {
  const stored = await storedIn(test)
  const needs = new Needs(test)
  const shown = new Set(await blobsOf(test, '/'))
  for (const blob of shown) await needs.addBlob(blob)
  // A file whose versions were all removed cannot be seen, but its next version stands on the last.
  const hidden = (await test.versions.collected.roots([])).filter(({ blob }) => !shown.has(blob))
  for (const root of hidden) await needs.addHidden(root)
  const { names, allowed } = needs
  return {
    missing: Array.from(names.difference(stored)).toSorted(),
    left: Array.from(stored.difference(names).difference(allowed)).toSorted(),
    chunkCount: Array.from(names).filter((name) => name.startsWith('chunk ')).length
  }
}

class Needs {
  readonly names = new Set<string>()
  /** What may stay: nodes of the whole tree that a clone was made of. */
  readonly allowed = new Set<string>()
  readonly #test: TestRepository

  constructor(test: TestRepository) {
    this.#test = test
  }

  async addBlob(blob: BlobId): Promise<void> {
    const { versions } = this.#test
    const { version: newest } = await versions.newest(blob)
    const readable = (await versions.history(blob)).map(({ version }) => version)
    for (const version of new Set([...readable, newest])) await this.#addVersion({ blob, version })
  }

  async addHidden({ blob, manifests }: BlobRoots): Promise<void> {
    for (const version of manifests) await this.#addVersion({ blob, version })
  }

  async #addVersion(ref: VersionRef): Promise<void> {
    const { versions, kept } = this.#test
    const { record } = await versions.collected.recordOf(ref)
    this.names.add(`record ${versionRecordName(ref.blob, ref.version)}`)
    const manifest = await loadManifest(record.manifestRoot, pageFetcher(kept))
    for (const id of manifest.pageIds) this.names.add(`page ${toHex(id)}`)
    for (const id of manifest.ids) if (!isZeroChunk(id)) this.names.add(`chunk ${toHex(id)}`)
    for (let page = 0; page < manifest.leafPageCount; page++) {
      const id = manifest.leafPageId(page)
      if (!isZeroChunk(id) && manifest.chunkCount > 0) {
        this.names.add(`record ${locationRecordName(id)}`)
      }
    }
    if (ref.version > 0) await this.#addTree(ref, this.names)
    const source = await this.#sourceOf(ref.blob)
    if (source === undefined) return
    if (ref.version === 0) await this.#addTree(source, this.names)
    // A clone may have been made of a clone, whose own source stands behind it.
    for (let next: VersionRef | undefined = source; next !== undefined; ) {
      if (!(await this.#isKnown(next))) return
      await this.#addTree(next, this.allowed)
      next = await this.#sourceOf(next.blob)
    }
  }

  /** A source can be forgotten once its clones have been written over as a whole. */
  async #isKnown({ blob }: VersionRef): Promise<boolean> {
    return (await this.#test.versions.describe(blob)) !== undefined
  }

  async #sourceOf(blob: BlobId): Promise<VersionRef | undefined> {
    try {
      return (await this.#test.versions.collected.recordOf({ blob, version: 0 })).record.parent
    } catch {
      return undefined // it is no clone
    }
  }

  async #addTree(ref: VersionRef, to: Set<string>): Promise<void> {
    const { blob, version } = ref
    const [assigned] = await this.#test.versions.collected.assigned(blob, {
      from: version,
      to: version
    })
    if (assigned === undefined) return
    let level: NodeKey[] = [{ ...ref, offset: 0, span: assigned.span }]
    while (level.length > 0) {
      for (const key of level) to.add(nameOfNode(key))
      level = await childrenOf(this.#test.kept, level)
    }
  }
}

async function childrenOf(kept: KeptMetadata, keys: readonly NodeKey[]): Promise<NodeKey[]> {
  const nodes = await kept.getNodes(keys)
  return keys.flatMap(({ offset, span }, at) => {
    const node = nodes[at]
    if (node?.kind !== 'inner') return []
    const half = span / 2
    return [
      ...(node.left === undefined ? [] : [{ ...node.left, offset, span: half }]),
      ...(node.right === undefined ? [] : [{ ...node.right, offset: offset + half, span: half }])
    ]
  })
}

async function storedIn({ stores, kept }: TestRepository): Promise<Set<string>> {
  const stored = new Set<string>()
  for (const store of stores.values()) {
    for (const id of store.ids()) stored.add(`chunk ${toHex(id)}`)
  }
  for (const key of await keysOf(kept, 'pages')) stored.add(`page ${toHex(key)}`)
  for (const key of await keysOf(kept, 'records')) stored.add(`record ${recordName(key)}`)
  for (const key of await keysOf(kept, 'nodes')) stored.add(nameOfNode(decodeNodeKey(key)))
  return stored
}

async function keysOf(kept: KeptMetadata, kind: MetadataKind): Promise<ChunkId[]> {
  const keys: Uint8Array[] = []
  for (let after: Uint8Array | undefined; ; ) {
    const some = await kept.scan({ kind, after })
    keys.push(...some)
    after = some.at(-1)
    if (after === undefined) return keys
  }
}

async function blobsOf({ repository }: TestRepository, folder: string): Promise<BlobId[]> {
  const blobs: BlobId[] = []
  const folders = [folder]
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for await (const entry of repository.list(next)) {
      if (entry.kind === 'file') blobs.push(entry.blob)
      else folders.push(entry.path)
    }
  }
  return blobs
}

function nameOfNode({ blob, version, offset, span }: NodeKey): string {
  return `node ${blob.slice(0, 8)}/${version}/${offset}/${span}`
}
