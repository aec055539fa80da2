import { chunkKey } from '../../chunks/chunk-id.ts'
import { buildManifest, type Manifest } from '../../chunks/manifest.ts'
import type { ChunkId } from '../../chunks/types.ts'
import type { Clock } from '../../lib/clock.ts'
import { PeerTimeoutError, ProtocolViolationError } from '../errors.ts'
import type { SwarmMessage } from '../protocols/swarm.ts'
import type { SwarmLink } from './link.ts'

type PagesRequest = Extract<SwarmMessage, { type: 'pages' }>

export interface PageServerOptions {
  /** Channels of one image that came for manifest pages only. @default 32 */
  readonly maxPageChannels?: number
  /** How long such a channel may last. @default 60 seconds */
  readonly pageChannelMs?: number
}

/** Gives out the pages of a manifest, which are rebuilt from it at the first request. */
export class PageServer {
  readonly #manifest: Manifest
  readonly #clock: Clock
  readonly #maxPageChannels: number
  readonly #pageChannelMs: number
  readonly #answering = new WeakSet<SwarmLink>()
  #channelCount = 0
  #pages: Map<string, Uint8Array> | undefined

  constructor(manifest: Manifest, clock: Clock, options: PageServerOptions = {}) {
    const { maxPageChannels = 32, pageChannelMs = 60_000 } = options
    this.#manifest = manifest
    this.#clock = clock
    this.#maxPageChannels = maxPageChannels
    this.#pageChannelMs = pageChannelMs
  }

  /** Channels that are being served. */
  get channelCount(): number {
    return this.#channelCount
  }

  /** There is no room for another channel. */
  get isFull(): boolean {
    return this.#channelCount >= this.#maxPageChannels
  }

  /** Serves a channel that came for pages only, until it ends or its time is over. */
  async serve(link: SwarmLink): Promise<void> {
    const timeoutMs = this.#pageChannelMs
    const cancel = this.#clock.schedule(
      () => link.channel.abort(new PeerTimeoutError(link.peerId, 'to finish', timeoutMs)),
      timeoutMs
    )
    this.#channelCount++
    try {
      await link.run((message) => {
        if (message.type === 'pages') this.answer(link, message)
        else if (message.type !== 'goodbye') {
          throw new ProtocolViolationError(link.peerId, `${message.type} where pages were wanted`)
        }
      })
    } finally {
      cancel()
      this.#channelCount--
    }
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
        await link.send({ type: 'page', request, place, page: this.#page(id) })
      }
    } finally {
      this.#answering.delete(link)
    }
  }

  #page(id: ChunkId): Uint8Array | undefined {
    this.#pages ??= this.#build()
    return this.#pages.get(chunkKey(id))
  }

  #build(): Map<string, Uint8Array> {
    const { ids, bytes, chunkBytes } = this.#manifest
    const { pages } = buildManifest(ids, bytes, chunkBytes)
    return new Map(pages.map((page) => [chunkKey(page.id), page.bytes]))
  }
}
