import { createHash } from 'node:crypto'
import type { KadDHT } from '@libp2p/kad-dht'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import pLimit from 'p-limit'
import type { AbortOptions } from '../chunks/types.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { LimitExceededError } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Random } from '../lib/random.ts'
import { settledOrAborted } from '../lib/signals.ts'
import { PeerTimeoutError } from './errors.ts'
import type { ImageDirectory, PeerNode } from './types.ts'

export interface ImageDirectoryComponents {
  readonly node: Pick<PeerNode, 'peerId' | 'members' | 'onMembersChanged'>
  readonly dht: Pick<KadDHT, 'provide' | 'findProviders' | 'cancelReprovide'>
  readonly clock: Clock
  readonly random: Random
  readonly logger: LoggerFactory
}

export interface ImageDirectoryOptions {
  /** Images announced at a time. @default 10000 */
  maxImages?: number
  /** Time between announcements of an image, in milliseconds: servers keep them in memory. @default 5 minutes */
  refreshMs?: number
  /** First wait after nobody took an announcement, in milliseconds; doubled each time. @default 250 */
  retryMs?: number
  /** How long one query may take, in milliseconds. @default 10000 */
  queryTimeoutMs?: number
}

// Queries that announce, at a time.
const MAX_QUERIES = 4
// A member that has just said hello enters the routing table a little later: wait, and ask again.
const SETTLE_MS = 250
const MAX_SETTLE_WAITS = 8
const MAX_RETRY_MS = 30_000

/** Announces and finds images by provider records of the DHT, whose servers are the metadata providers. */
export class KadImageDirectory implements ImageDirectory {
  readonly #components: ImageDirectoryComponents
  readonly #log: Logger
  readonly #maxImages: number
  readonly #refreshMs: number
  readonly #retryMs: number
  readonly #queryTimeoutMs: number
  readonly #queries = pLimit(MAX_QUERIES)
  readonly #announced = new Map<
    string,
    { readonly end: AbortController; readonly task: Promise<void> }
  >()
  readonly #ending = new Set<Promise<void>>()
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
    this.#queryTimeoutMs = queryTimeoutMs
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
    this.#announced.set(name, { end, task: this.#keepAnnounced(manifestRoot, end.signal) })
  }

  withdraw(manifestRoot: Uint8Array): void {
    const name = toHex(manifestRoot)
    const announcement = this.#announced.get(name)
    if (announcement === undefined) return
    this.#announced.delete(name)
    announcement.end.abort()
    const ending = announcement.task.finally(() => this.#ending.delete(ending))
    this.#ending.add(ending)
  }

  async *find(manifestRoot: Uint8Array, options: AbortOptions = {}): AsyncGenerator<string> {
    const { node, clock } = this.#components
    const seen = new Set([node.peerId])
    for (let waits = 0; ; waits++) {
      let answers = 0
      for await (const found of this.#query(manifestRoot, options)) {
        answers += 1
        for (const peerId of found) {
          if (seen.has(peerId)) continue
          seen.add(peerId)
          yield peerId
        }
      }
      if (answers > 0 || this.#servers.size === 0 || waits >= MAX_SETTLE_WAITS) return
      await clock.sleep(SETTLE_MS, options.signal === undefined ? {} : { signal: options.signal })
    }
  }

  /** Ends all announcements; what servers keep of them expires there. */
  async stop(): Promise<void> {
    this.#stopListening()
    const tasks = [...this.#announced.values()].map(async ({ end, task }) => {
      end.abort()
      await task
    })
    this.#announced.clear()
    await Promise.all([...tasks, ...this.#ending])
  }

  async #keepAnnounced(manifestRoot: Uint8Array, signal: AbortSignal): Promise<void> {
    const { random, dht } = this.#components
    let failures = 0
    while (!signal.aborted) {
      const serverCame = this.#serverCame.promise
      const taken = await this.#announceOnce(manifestRoot, signal)
      failures = taken || this.#servers.size === 0 ? 0 : failures + 1
      const pauseMs =
        failures === 0
          ? this.#refreshMs * (0.75 + 0.5 * random())
          : Math.min(MAX_RETRY_MS, this.#retryMs * 2 ** (failures - 1))
      await this.#pause(pauseMs, serverCame, signal)
    }
    await dht.cancelReprovide(imageKey(manifestRoot))
  }

  /** Waits for the time, or for a server that may not have the announcement. */
  async #pause(pauseMs: number, serverCame: Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#components
    const waked = new AbortController()
    const slept = clock.sleep(pauseMs, { signal: AbortSignal.any([signal, waked.signal]) })
    const came = serverCame.then(async () => clock.sleep(SETTLE_MS, { signal: waked.signal }))
    await settledOrAborted(Promise.race([slept, came]), [signal])
    came.catch(() => {})
    slept.catch(() => {})
    waked.abort()
  }

  /** @returns whether any server took it. */
  async #announceOnce(manifestRoot: Uint8Array, signal: AbortSignal): Promise<boolean> {
    const { node, dht, clock } = this.#components
    const timeoutMs = this.#queryTimeoutMs
    let taken = false
    const provide = async (options: AbortOptions): Promise<void> => {
      for await (const event of dht.provide(imageKey(manifestRoot), queryOptions(options))) {
        if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') taken = true
      }
    }
    try {
      await this.#queries(async () =>
        withDeadline(provide, {
          clock,
          timeoutMs,
          timedOut: () => new PeerTimeoutError(node.peerId, 'an announcement', timeoutMs),
          signal
        })
      )
    } catch (error) {
      if (!signal.aborted) this.#log.debug('announcement failed: %e', error)
    }
    return taken
  }

  /**
   * Asks the DHT's servers. A query that takes too long ends as if it had converged.
   *
   * @yields the peers that one answer names, none or more.
   */
  async *#query(manifestRoot: Uint8Array, options: AbortOptions): AsyncGenerator<string[]> {
    const { dht, clock } = this.#components
    const timeout = new AbortController()
    const cancel = clock.schedule(() => timeout.abort(), this.#queryTimeoutMs)
    const signal =
      options.signal === undefined
        ? timeout.signal
        : AbortSignal.any([options.signal, timeout.signal])
    try {
      for await (const event of dht.findProviders(imageKey(manifestRoot), { signal })) {
        if (event.name === 'PROVIDER') yield event.providers.map(({ id }) => id.toString())
        else if (event.name === 'PEER_RESPONSE') yield []
      }
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!timeout.signal.aborted) throw error
    } finally {
      cancel()
    }
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

const RAW_CODEC = 0x55
const SHA2_256_CODE = 0x12

/** The DHT takes keys that are SHA-256 multihashes only, so an image's key is the SHA-256 of its root. */
function imageKey(manifestRoot: Uint8Array): CID {
  const digest = createHash('sha256').update('blobswarm image\n').update(manifestRoot).digest()
  return CID.createV1(RAW_CODEC, createDigest(SHA2_256_CODE, new Uint8Array(digest)))
}

function queryOptions({ signal }: AbortOptions): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal }
}
