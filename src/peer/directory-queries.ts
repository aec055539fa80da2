import type { KadDHT } from '@libp2p/kad-dht'
import type { CID } from 'multiformats/cid'
import pLimit from 'p-limit'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../lib/logger.ts'
import { PeerTimeoutError } from './errors.ts'
import { withdrawalKey } from './image-keys.ts'
import { MAX_ANNOUNCERS_TOLD } from './provider-records.ts'

/** What an image directory asks of the DHT. */
export type DirectoryDht = Pick<KadDHT, 'provide' | 'findProviders' | 'cancelReprovide'>

export interface DirectoryQueriesComponents {
  readonly peerId: string
  readonly dht: DirectoryDht
  readonly clock: Clock
  readonly log: Logger
}

/** What one server of the DHT knows of a key. */
export interface DirectoryAnswer {
  readonly announcers: readonly string[]
  /** It came from a server, not from what this agent itself remembers. */
  readonly isServers: boolean
  /** There may be more announcers than an answer names. */
  readonly isFull: boolean
}

// Queries that announce, at a time.
const MAX_QUERIES = 4
const WITHDRAWAL_MS = 2000
// kad-dht asks nobody else when it remembers so many announcers itself.
const KAD_ENOUGH = 20

/** Announcements and questions of an image directory, one query of the DHT each. */
export class DirectoryQueries {
  readonly #components: DirectoryQueriesComponents
  readonly #timeoutMs: number
  readonly #announcing = pLimit(MAX_QUERIES)

  constructor(components: DirectoryQueriesComponents, timeoutMs: number) {
    this.#components = components
    this.#timeoutMs = timeoutMs
  }

  /** Announces this agent under a key. @returns whether any server took it. */
  async announce(key: CID, options: AbortOptions): Promise<boolean> {
    return this.#provide(key, this.#timeoutMs, options)
  }

  /** Takes an announcement back at the servers that can be reached soon. */
  async withdraw(key: CID, options: AbortOptions): Promise<void> {
    await this.#provide(withdrawalKey(key), WITHDRAWAL_MS, options)
  }

  /** Forgets an announcement that this agent remembers of itself. */
  async forget(key: CID): Promise<void> {
    await this.#components.dht.cancelReprovide(key)
  }

  /**
   * Asks the DHT's servers. A query that takes too long ends as if it had converged.
   *
   * @yields what each of them knows.
   */
  async *ask(key: CID, options: AbortOptions): AsyncGenerator<DirectoryAnswer> {
    const { dht, clock, peerId } = this.#components
    const timeout = new AbortController()
    const cancel = clock.schedule(() => timeout.abort(), this.#timeoutMs)
    const signal =
      options.signal === undefined
        ? timeout.signal
        : AbortSignal.any([options.signal, timeout.signal])
    try {
      for await (const event of dht.findProviders(key, { signal })) {
        if (event.name !== 'PEER_RESPONSE') continue
        const announcers = event.providers.map(({ id }) => id.toString())
        const isServers = event.from.toString() !== peerId
        const limit = isServers ? MAX_ANNOUNCERS_TOLD : KAD_ENOUGH
        yield { announcers, isServers, isFull: announcers.length >= limit }
      }
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!timeout.signal.aborted) throw error
    } finally {
      cancel()
    }
  }

  async #provide(key: CID, timeoutMs: number, { signal }: AbortOptions): Promise<boolean> {
    const { peerId, dht, clock, log } = this.#components
    let taken = false
    const provide = async (options: { signal: AbortSignal }): Promise<void> => {
      for await (const event of dht.provide(key, options)) {
        if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') taken = true
      }
    }
    try {
      await this.#announcing(async () =>
        withDeadline(provide, {
          clock,
          timeoutMs,
          timedOut: () => new PeerTimeoutError(peerId, 'an announcement', timeoutMs),
          signal
        })
      )
    } catch (error) {
      if (signal?.aborted !== true) log.debug('announcement failed: %e', error)
    }
    return taken
  }
}
