import { chunkKey, verifyChunk } from '../../chunks/chunk-id.ts'
import { ChunkMismatchError } from '../../chunks/errors.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { toHex } from '../../lib/bytes.ts'
import { withDeadline } from '../../lib/deadline.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Counter } from '../../lib/metrics.ts'
import { toError } from '../../lib/to-error.ts'
import { type Bans, isViolation } from '../bans.ts'
import {
  PeerChunkMismatchError,
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolViolationError
} from '../errors.ts'
import { MAX_PAGES, type SwarmMessage } from '../protocols/swarm.ts'
import { encodeSwarmMessage } from '../protocols/swarm-codec.ts'
import { PagesUnavailableError } from './errors.ts'
import {
  decodeFrom,
  type IntroducedChannel,
  type MeetingComponents,
  type MeetingOptions,
  meet,
  pagesHandshake
} from './meeting.ts'

export interface PagesComponents extends MeetingComponents {
  readonly log: Logger
  /** Peers that are not asked, and those that turn out to lie. */
  readonly bans: Bans
  /** Counts pages that were wrong, or whose sender broke the protocol, by `reason`. */
  readonly rejected?: Counter | undefined
}

/** What is to be fetched, and from whom. */
export interface PagesWanted {
  readonly root: ChunkId
  readonly ids: readonly ChunkId[]
  /** Peers to ask, in this order. */
  readonly peers: AsyncIterable<string> | Iterable<string>
}

/**
 * Fetches manifest pages from agents that hold the image, one after the other, and verifies them. Whoever
 * sends a wrong one is banned.
 *
 * @returns the pages in the order of `wanted.ids`.
 * @throws {PagesUnavailableError} if nobody gave one of them.
 */
export async function fetchPages(
  components: PagesComponents,
  wanted: PagesWanted,
  options: MeetingOptions = {}
): Promise<Uint8Array[]> {
  const { root, ids, peers } = wanted
  const { signal } = options
  const { bans, clock } = components
  const found = new Map<string, Uint8Array>()
  const missing = (): ChunkId[] => ids.filter((id) => !found.has(chunkKey(id)))
  const asked: string[] = []
  const liars: string[] = []
  let cause: unknown
  for await (const peer of peers) {
    signal?.throwIfAborted()
    if (asked.includes(peer) || bans.isBanned(peer, clock.monotonic())) continue
    asked.push(peer)
    try {
      await fetchFrom(components, { root, ids: missing(), peer }, found, options)
    } catch (thrown) {
      signal?.throwIfAborted()
      cause = thrown // the next peer may do better
      judge(components, peer, toError(thrown))
      if (thrown instanceof PeerChunkMismatchError) liars.push(peer)
    }
    if (missing().length === 0) break
  }
  const pages = ids.map((id) => found.get(chunkKey(id)))
  const whole = pages.filter((page) => page !== undefined)
  if (whole.length === ids.length) return whole
  const failure = { missing: ids.length - whole.length, asked, liars }
  throw new PagesUnavailableError(toHex(root), failure, { cause })
}

/** Has nothing to do for a while with a peer that lied or broke the protocol. */
function judge(components: PagesComponents, peer: string, error: Error): void {
  const { log, bans, clock, rejected } = components
  const hasLied = error instanceof PeerChunkMismatchError
  if (hasLied || isViolation(error)) {
    rejected?.add(1, { reason: hasLied ? 'wrong' : 'violation' })
    log.info('peer %p is banned for its manifest pages: %e', peer, error)
    bans.punish(peer, clock.monotonic())
  } else log.debug('no manifest pages of %p: %e', peer, error)
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
        verifyPage(id, bytes, peer)
        found.set(chunkKey(id), bytes)
      }
    }
    await opened.channel.close()
  } catch (thrown) {
    opened.channel.abort(toError(thrown))
    throw thrown
  }
}

/** @throws {PeerChunkMismatchError} that names the peer. */
function verifyPage(id: ChunkId, bytes: Uint8Array, peer: string): void {
  try {
    verifyChunk(id, bytes)
  } catch (error) {
    if (error instanceof ChunkMismatchError) throw new PeerChunkMismatchError(peer, error)
    throw error
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
  const message = decodeFrom(peerId, next.value)
  const { request, place } = expected
  if (message.type === 'page' && message.request === request && message.place === place) {
    return message.page
  }
  throw new ProtocolViolationError(peerId, `${message.type} instead of page ${place}`)
}
