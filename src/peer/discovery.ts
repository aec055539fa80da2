import type { CID } from 'multiformats/cid'
import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { LimitExceededError } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Random } from '../lib/random.ts'
import { settledOrAborted } from '../lib/signals.ts'
import { type DirectoryDht, DirectoryQueries } from './directory-queries.ts'
import { imageKey, SHARDS, shardKey, shardOf } from './image-keys.ts'
import type { ImageDirectory, PeerNode } from './types.ts'

export interface ImageDirectoryComponents {
  readonly node: Pick<PeerNode, 'peerId' | 'members' | 'onMembersChanged'>
  readonly dht: DirectoryDht
  readonly clock: Clock
  readonly random: Random
  readonly logger: LoggerFactory
}

export interface ImageDirectoryOptions {
  /** Images announced at a time. @default 10000 */
  maxImages?: number
  /**
   * Time between announcements of an image, in milliseconds, on average: a third of what servers keep them for.
   *
   * @default 5 minutes
   */
  refreshMs?: number
  /** First wait after nobody took an announcement, in milliseconds; doubled each time. @default 250 */
  retryMs?: number
  /** How long one query may take, in milliseconds. @default 10000 */
  queryTimeoutMs?: number
}

interface Announcement {
  readonly end: AbortController
  readonly task: Promise<void>
}

// A member that has just said hello enters the routing table a little later: wait, and ask again.
const SETTLE_MS = 250
const MAX_SETTLE_WAITS = 8
const MAX_RETRY_MS = 30_000
// When a server has come back, what this agent announces goes there one after the other.
const SPREAD_MS_PER_IMAGE = 20
const MAX_SPREAD_MS = 10_000
// Withdrawals of an agent that stops may take so long.
const STOP_MS = 1000
// Announcers at the key of a large image that are found; the others come out of its shards.
const FOUND_AT_KEY = 16
const FOUND_ENOUGH = 32
const SHARDS_ASKED = 2
const FOUND_IN_SHARD = 24

/**
 * Announces and finds images by provider records of the DHT, whose servers are the metadata providers.
 * An image that so many announce that an answer cannot name them all is announced in shards.
 */
export class KadImageDirectory implements ImageDirectory {
  readonly #components: ImageDirectoryComponents
  readonly #log: Logger
  readonly #maxImages: number
  readonly #refreshMs: number
  readonly #retryMs: number
  readonly #queries: DirectoryQueries
  readonly #announced = new Map<string, Announcement>()
  readonly #ending = new Map<string, Promise<void>>()
  readonly #stopped = new AbortController()
  readonly #stopListening: () => void
  #servers: ReadonlySet<string> = new Set()
  #serverCame = Promise.withResolvers<void>()

  constructor(components: ImageDirectoryComponents, options: ImageDirectoryOptions = {}) {
    const { maxImages = 10_000, refreshMs = 5 * 60_000 } = options
    const { retryMs = 250, queryTimeoutMs = 10_000 } = options
    this.#components = components
    this.#log = components.logger.forComponent('blobswarm:peer:discovery')
    this.#maxImages = maxImages
    this.#refreshMs = refreshMs
    this.#retryMs = retryMs
    const { peerId } = components.node
    this.#queries = new DirectoryQueries({ ...components, peerId, log: this.#log }, queryTimeoutMs)
    this.#servers = this.#connectedServers()
    this.#stopListening = components.node.onMembersChanged(() => this.#noticeServers())
  }

  announce(manifestRoot: Uint8Array): void {
    const name = toHex(manifestRoot)
    if (this.#announced.has(name)) return
    if (this.#announced.size >= this.#maxImages) {
      throw new LimitExceededError('number of announced images', this.#maxImages)
    }
    const end = new AbortController()
    const before = this.#ending.get(name) ?? Promise.resolve()
    const task = before.then(async () => this.#keepAnnounced(manifestRoot, end.signal))
    this.#announced.set(name, { end, task })
  }

  withdraw(manifestRoot: Uint8Array): void {
    const name = toHex(manifestRoot)
    const announcement = this.#announced.get(name)
    if (announcement === undefined) return
    this.#announced.delete(name)
    announcement.end.abort()
    const ending = announcement.task.finally(() => {
      if (this.#ending.get(name) === ending) this.#ending.delete(name)
    })
    this.#ending.set(name, ending)
  }

  async *find(manifestRoot: Uint8Array, options: AbortOptions = {}): AsyncGenerator<string> {
    const { node, clock } = this.#components
    const seen = new Set([node.peerId])
    for (let waits = 0; ; waits++) {
      const count = yield* this.#findAround(manifestRoot, seen, options)
      if (count > 0 || this.#servers.size === 0 || waits >= MAX_SETTLE_WAITS) return
      await clock.sleep(SETTLE_MS, options.signal === undefined ? {} : { signal: options.signal })
    }
  }

  /** Takes all announcements back, as far as servers can be told soon. */
  async stop(): Promise<void> {
    this.#stopListening()
    const cancel = this.#components.clock.schedule(() => this.#stopped.abort(), STOP_MS)
    const tasks = [...this.#announced.values()].map(async ({ end, task }) => {
      end.abort()
      await task
    })
    this.#announced.clear()
    await Promise.all([...tasks, ...this.#ending.values()])
    cancel()
  }

  /**
   * Asks once.
   *
   * @yields who is found and was not seen before.
   * @returns how many servers answered.
   */
  async *#findAround(
    manifestRoot: Uint8Array,
    seen: Set<string>,
    options: AbortOptions
  ): AsyncGenerator<string, number> {
    const later: string[] = []
    let answers = 0
    let isLarge = false
    let found = 0
    for await (const answer of this.#queries.ask(imageKey(manifestRoot), options)) {
      if (answer.isServers || answer.isFull) answers += 1
      isLarge ||= answer.isFull
      for (const peerId of unseen(answer.announcers, seen)) {
        if (found++ < FOUND_AT_KEY) yield peerId
        else later.push(peerId)
      }
    }
    const inShards = isLarge ? yield* this.#findInShards(manifestRoot, seen, options) : 0
    if (isLarge) yield* later.slice(0, Math.max(0, FOUND_ENOUGH - FOUND_AT_KEY - inShards))
    else yield* later
    return answers
  }

  /**
   * Looks into a few shards.
   *
   * @yields who is found there and was not seen before.
   * @returns how many that are.
   */
  async *#findInShards(
    manifestRoot: Uint8Array,
    seen: Set<string>,
    options: AbortOptions
  ): AsyncGenerator<string, number> {
    const { random } = this.#components
    let shard = Math.floor(random() * SHARDS)
    let found = 0
    for (let nth = 0; nth < SHARDS_ASKED; nth++) {
      shard = (shard + 1 + Math.floor(random() * (SHARDS - 1))) % SHARDS
      let left = FOUND_IN_SHARD
      for await (const { announcers } of this.#queries.ask(
        shardKey(manifestRoot, shard),
        options
      )) {
        for (const peerId of unseen(announcers, seen)) {
          if (left-- <= 0) break
          found += 1
          yield peerId
        }
      }
    }
    return found
  }

  async #keepAnnounced(manifestRoot: Uint8Array, signal: AbortSignal): Promise<void> {
    const { random } = this.#components
    const keys = new Map<string, CID>()
    let failures = 0
    while (!signal.aborted) {
      const serverCame = this.#serverCame.promise
      const taken = await this.#announceOnce(manifestRoot, keys, signal)
      failures = taken || this.#servers.size === 0 ? 0 : failures + 1
      const pauseMs =
        failures === 0
          ? this.#refreshMs * (0.75 + 0.5 * random())
          : Math.min(MAX_RETRY_MS, this.#retryMs * 2 ** (failures - 1))
      await this.#pause(pauseMs, serverCame, signal)
    }
    for (const key of keys.values()) {
      if (this.#servers.size > 0) await this.#queries.withdraw(key, this.#stopped)
      await this.#queries.forget(key)
    }
  }

  /** Waits for the time, or for a server that may not have the announcement. */
  async #pause(pauseMs: number, serverCame: Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#components
    const waked = new AbortController()
    const spreadMs = Math.min(MAX_SPREAD_MS, SPREAD_MS_PER_IMAGE * this.#announced.size)
    const settleMs = SETTLE_MS + spreadMs * random()
    const slept = clock.sleep(pauseMs, { signal: AbortSignal.any([signal, waked.signal]) })
    const came = serverCame.then(async () => clock.sleep(settleMs, { signal: waked.signal }))
    await settledOrAborted(Promise.race([slept, came]), [signal])
    came.catch(() => {})
    slept.catch(() => {})
    waked.abort()
  }

  /**
   * Announces at the image's own key or, where that is full, in this agent's shard; a few do both.
   *
   * @returns whether any server took it.
   */
  async #announceOnce(
    manifestRoot: Uint8Array,
    keys: Map<string, CID>,
    signal: AbortSignal
  ): Promise<boolean> {
    const { peerId } = this.#components.node
    const { shard, isSampled } = shardOf(manifestRoot, peerId)
    const isLarge = await this.#isLarge(manifestRoot, signal)
    const wanted: CID[] = []
    if (!isLarge || isSampled) wanted.push(imageKey(manifestRoot))
    if (isLarge) wanted.push(shardKey(manifestRoot, shard))
    let taken = false
    for (const key of wanted) {
      if (signal.aborted) break
      keys.set(key.toString(), key)
      if (await this.#queries.announce(key, { signal })) taken = true
    }
    return taken
  }

  async #isLarge(manifestRoot: Uint8Array, signal: AbortSignal): Promise<boolean> {
    try {
      for await (const { isFull } of this.#queries.ask(imageKey(manifestRoot), { signal })) {
        if (isFull) return true
      }
    } catch (error) {
      if (!signal.aborted) this.#log.debug('an image cannot be looked up: %e', error)
    }
    return false
  }

  #connectedServers(): Set<string> {
    const servers = this.#components.node.members().filter(({ roles }) => roles.has('metadata'))
    return new Set(servers.map(({ peerId }) => peerId))
  }

  #noticeServers(): void {
    const before = this.#servers
    this.#servers = this.#connectedServers()
    if ([...this.#servers].every((peerId) => before.has(peerId))) return
    this.#serverCame.resolve()
    this.#serverCame = Promise.withResolvers()
  }
}

/** Those that were not seen before; they are now. */
function unseen(peerIds: readonly string[], seen: Set<string>): string[] {
  const news = peerIds.filter((peerId) => !seen.has(peerId))
  for (const peerId of news) seen.add(peerId)
  return news
}
