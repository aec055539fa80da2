import { chunkKey, verifyChunk } from '../../chunks/chunk-id.ts'
import { buildManifest, type Manifest } from '../../chunks/manifest.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { toHex } from '../../lib/bytes.ts'
import { withDeadline } from '../../lib/deadline.ts'
import { toError } from '../../lib/to-error.ts'
import { PeerTimeoutError, PeerUnreachableError, ProtocolViolationError } from '../errors.ts'
import {
  decodeSwarmMessage,
  encodeSwarmMessage,
  type HandshakeMessage,
  MAX_PAGES,
  type SwarmMessage
} from '../protocols/swarm.ts'
import { PagesUnavailableError } from './errors.ts'
import type { SwarmLink } from './link.ts'
import {
  type IntroducedChannel,
  type MeetingComponents,
  type MeetingOptions,
  meet
} from './meeting.ts'

type PagesRequest = Extract<SwarmMessage, { type: 'pages' }>

/** Gives out the pages of a manifest, which are rebuilt from it at the first request. */
export class ManifestPages {
  readonly #manifest: Manifest
  readonly #answering = new WeakSet<SwarmLink>()
  #pages: Map<string, Uint8Array> | undefined

  constructor(manifest: Manifest) {
    this.#manifest = manifest
  }

  /** The page with an id; undefined if the manifest has none. */
  page(id: ChunkId): Uint8Array | undefined {
    this.#pages ??= this.#build()
    return this.#pages.get(chunkKey(id))
  }

  /**
   * Sends what was asked for; pages that the manifest does not have are answered as not held.
   *
   * @throws {ProtocolViolationError} if the last request of this link is still being answered.
   */
  answer(link: SwarmLink, message: PagesRequest): void {
    if (this.#answering.has(link)) {
      throw new ProtocolViolationError(link.peerId, 'pages asked for before the last ones came')
    }
    this.#answering.add(link)
    this.#send(link, message).catch(() => {}) // the link ended
  }

  async #send(link: SwarmLink, message: PagesRequest): Promise<void> {
    const { request, ids } = message
    try {
      for (const [place, id] of ids.entries()) {
        if (place === ids.length - 1) this.#answering.delete(link)
        await link.send({ type: 'page', request, place, page: this.page(id) })
      }
    } finally {
      this.#answering.delete(link)
    }
  }

  #build(): Map<string, Uint8Array> {
    const { ids, bytes, chunkBytes } = this.#manifest
    const { pages } = buildManifest(ids, bytes, chunkBytes)
    return new Map(pages.map((page) => [chunkKey(page.id), page.bytes]))
  }
}

/** What is to be fetched, and from whom. */
export interface PagesWanted {
  readonly root: ChunkId
  readonly ids: readonly ChunkId[]
  /** Peers to ask, in this order. */
  readonly peers: AsyncIterable<string> | Iterable<string>
}

/**
 * Fetches manifest pages from agents that hold the image, one after the other, and verifies them.
 *
 * @returns the pages in the order of `wanted.ids`.
 * @throws {PagesUnavailableError} if nobody gave one of them.
 */
export async function fetchPages(
  components: MeetingComponents,
  wanted: PagesWanted,
  options: MeetingOptions = {}
): Promise<Uint8Array[]> {
  const { root, ids, peers } = wanted
  const { signal } = options
  const found = new Map<string, Uint8Array>()
  const missing = (): ChunkId[] => ids.filter((id) => !found.has(chunkKey(id)))
  const asked: string[] = []
  let cause: unknown
  for await (const peer of peers) {
    signal?.throwIfAborted()
    if (asked.includes(peer)) continue
    asked.push(peer)
    try {
      await fetchFrom(components, { root, ids: missing(), peer }, found, options)
    } catch (thrown) {
      signal?.throwIfAborted()
      cause = thrown // the next peer may do better
    }
    if (missing().length === 0) break
  }
  const pages = ids.map((id) => found.get(chunkKey(id)))
  const whole = pages.filter((page) => page !== undefined)
  if (whole.length === ids.length) return whole
  throw new PagesUnavailableError(toHex(root), ids.length - whole.length, asked, { cause })
}

interface OneSource {
  readonly root: ChunkId
  readonly ids: readonly ChunkId[]
  readonly peer: string
}

async function fetchFrom(
  components: MeetingComponents,
  wanted: OneSource,
  found: Map<string, Uint8Array>,
  options: MeetingOptions
): Promise<void> {
  const { ids, peer, root } = wanted
  const opened = await meet(components, peer, () => pagesHandshake(root), options)
  try {
    for (let start = 0; start < ids.length; start += MAX_PAGES) {
      const asked = ids.slice(start, start + MAX_PAGES)
      const message: SwarmMessage = { type: 'pages', request: start, ids: asked }
      await opened.channel.send(encodeSwarmMessage(message), { signal: options.signal })
      for (const [place, id] of asked.entries()) {
        const bytes = await nextPage(opened, { request: start, place }, components, options)
        if (bytes === undefined) continue
        verifyChunk(id, bytes)
        found.set(chunkKey(id), bytes)
      }
    }
    await opened.channel.close()
  } catch (thrown) {
    opened.channel.abort(toError(thrown))
    throw thrown
  }
}

async function nextPage(
  opened: IntroducedChannel,
  expected: { request: number; place: number },
  components: MeetingComponents,
  options: MeetingOptions
): Promise<Uint8Array | undefined> {
  const { timeoutMs = 10_000, signal } = options
  const { peerId } = opened.channel.remote
  const timedOut = (): Error => new PeerTimeoutError(peerId, 'a manifest page', timeoutMs)
  const deadline = { clock: components.clock, timeoutMs, timedOut, signal }
  const next = await withDeadline(async () => opened.incoming.next(), deadline)
  if (next.done === true) throw new PeerUnreachableError(peerId, 'it closed the channel')
  const message = decodeSwarmMessage(next.value)
  const { request, place } = expected
  if (message.type === 'page' && message.request === request && message.place === place) {
    return message.page
  }
  throw new ProtocolViolationError(peerId, `${message.type} instead of page ${place}`)
}

/** What an agent says that came for manifest pages and does not know the image yet. */
function pagesHandshake(root: ChunkId): HandshakeMessage {
  return {
    type: 'handshake',
    root,
    wants: false,
    holdsAll: false,
    pagesOnly: true,
    chunkCount: 0,
    addresses: [],
    bitfield: undefined
  }
}
