import assert from 'node:assert/strict'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import type { Counter } from '../lib/metrics.ts'
import type { DurableState } from './durable-state.ts'
import type { NamespaceRow } from './entry-tree.ts'
import { loadLeafList } from './leaf-list-codec.ts'
import type { NewFileRequest } from './namespace-types.ts'
import type { NewBlobs } from './new-blobs.ts'
import { pageFetcher } from './page-fetch.ts'
import type { SealQueue } from './seal-queue.ts'
import type { Signer } from './signature-types.ts'
import type { MetadataStore, Page } from './store-types.ts'
import type { TicketRequest } from './ticket-types.ts'
import { proveNodes, signTicket } from './tickets.ts'
import { weaveNodes } from './tree-write.ts'
import type { BlobId, VersionSummary } from './types.ts'
import { VersionManagerState } from './version-manager.ts'
import { carriedPages } from './version-requests.ts'
import type { StateRow } from './version-rows.ts'

export interface NewFilesComponents {
  readonly state: DurableState
  readonly metadata: MetadataStore
  readonly signer: Signer
  readonly clock: Clock
  readonly newBlobs: NewBlobs
  /** Where published versions wait for their manifests. */
  readonly seals: Pick<SealQueue, 'add'>
  /** Counts published versions. */
  readonly published?: Counter | undefined
}

/** Batches of nodes that are stored at the same time. */
const NODE_BATCHES = 2

/**
 * Publishes short files in one step. Blob, version and path become durable together, and nothing is
 * known of any of them before. Their nodes are stored first, so that nobody has to finish anything:
 * where the path is taken meanwhile, or this process dies, those are left to collection.
 */
export class NewFiles {
  readonly #components: NewFilesComponents

  constructor(components: NewFilesComponents) {
    this.#components = components
  }

  /**
   * @returns version 1 of the new blob; undefined if the path names a blob, seen or only reserved.
   * @throws what `NamespaceState.reserved` and `VersionManagerState.assign` throw
   */
  async publish(
    request: NewFileRequest,
    options: AbortOptions = {}
  ): Promise<VersionSummary | undefined> {
    const { state, newBlobs, seals, published, clock } = this.#components
    state.begin(options)
    if (state.namespace.reserved(request.path) !== undefined) return undefined
    newBlobs.check(request)
    const blob = newBlobs.newId()
    state.coming.add(blob)
    try {
      const ticketRequest = await this.#storeTree(blob, request, options)
      state.begin(options)
      if (state.namespace.reserved(request.path) !== undefined) return undefined
      const rows = this.#rowsOf(request, ticketRequest, clock.now())
      state.countBytes(blob)
      await state.write(rows)
      published?.add(1)
      seals.add(blob, 1)
      return state.versions.summary(blob, 1)
    } finally {
      state.coming.delete(blob)
    }
  }

  /** Stores leaf list and nodes, as a state that has the blob would have them. */
  async #storeTree(
    blob: BlobId,
    request: NewFileRequest,
    options: AbortOptions
  ): Promise<TicketRequest> {
    const { metadata, signer, clock } = this.#components
    const { writer, endBytes, leafList, note } = request
    const pages = carriedPages(request)
    const fetchPages = pageFetcher({ getPages: async (ids) => pagesAmong(pages, ids) })
    const leaves = await loadLeafList(leafList, fetchPages, options)
    const ranges = leaves.ranges()
    const ticketRequest = { blob, writer, ranges, endBytes, truncates: true, leafList, note }
    const draft = new VersionManagerState()
    draft.createBlob(blob, request, clock.now())
    const { result: ticket } = draft.assign(ticketRequest, clock.now())
    const { envelope } = signTicket(signer, ticket)
    await Promise.all([
      metadata.putPages(pages, options),
      forEachConcurrently(
        weaveNodes(ticket, leaves, metadata, options),
        NODE_BATCHES,
        async (nodes, signal) =>
          await metadata.putNodes(nodes, proveNodes(signer, envelope, nodes), { signal }),
        options
      )
    ])
    return ticketRequest
  }

  /** Changes the state, which cannot fail any more, and gives each row as it is in the end. */
  #rowsOf(request: NewFileRequest, ticketRequest: TicketRequest, nowMs: number): StateRow[] {
    const { versions, namespace } = this.#components.state
    const { blob } = ticketRequest
    const named = { ...request, isNamed: true }
    const { rows: created } = versions.createBlob(blob, named, nowMs)
    const { result: ticket } = versions.assign(ticketRequest, nowMs)
    const { result: published } = versions.commit(blob, ticket.version, nowMs)
    const reserved = namespace.reserve(request.path, blob, nowMs)
    const entries = lastOfEach([...reserved, ...namespace.show(blob, nowMs)])
    // The only row of the version is its first one, which says what it has written.
    const [version] = published
    assert(version !== undefined, 'a first version that is committed and not published')
    return [...created, { ...version, ranges: ticket.ranges }, ...entries]
  }
}

function pagesAmong(
  pages: readonly Page[],
  ids: readonly Uint8Array[]
): (Uint8Array | undefined)[] {
  return ids.map((id) => pages.find((page) => Buffer.compare(page.id, id) === 0)?.bytes)
}

/** Leaves out entries that later rows replace. */
function lastOfEach(rows: readonly NamespaceRow[]): NamespaceRow[] {
  const last = new Map<string, NamespaceRow>()
  for (const row of rows) {
    const isEntry = row.kind === 'entry' || row.kind === 'entry-removal'
    last.set(isEntry ? `entry ${row.id}` : `policy ${row.entry}`, row)
  }
  return Array.from(last.values())
}
