import type { Clock } from '../../lib/clock.ts'
import type { MetadataStore } from '../../metadata/types.ts'
import {
  PeerChunkMismatchError,
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolRefusedError,
  ProtocolViolationError
} from '../errors.ts'
import { OwnerMap } from '../owners.ts'
import type { PeerNode } from '../types.ts'
import { RemoteMetadataProvider, type RemoteMetadataProviderOptions } from './metadata-provider.ts'

export interface OwnerStoresComponents {
  readonly node: Pick<PeerNode, 'open' | 'peerId'>
  readonly clock: Clock
  /** Peer ids of the metadata list, in force now. */
  readonly providers: () => readonly string[]
  /** This agent's own store, if it is a metadata provider. */
  readonly local?: MetadataStore | undefined
}

export interface OwnerStoresOptions extends RemoteMetadataProviderOptions {
  /** How long an owner that failed is asked last, in milliseconds. @default 10000 */
  avoidMs?: number
}

/** The metadata providers as stores, and who of them owns a key. */
export class OwnerStores {
  readonly #components: OwnerStoresComponents
  readonly #remoteOptions: RemoteMetadataProviderOptions
  readonly #avoidMs: number
  readonly #remotes = new Map<string, RemoteMetadataProvider>()
  readonly #failedAtMs = new Map<string, number>()
  readonly #closing = new Set<Promise<void>>()
  #names = ''
  #map = new OwnerMap([])

  constructor(components: OwnerStoresComponents, options: OwnerStoresOptions = {}) {
    const { avoidMs = 10_000, ...remoteOptions } = options
    this.#components = components
    this.#remoteOptions = remoteOptions
    this.#avoidMs = avoidMs
  }

  /**
   * Owners of the key with this hash, in the order in which to ask them: this agent itself, then
   * the closest ones, then those that failed a short time ago.
   *
   * @throws {PeerUnreachableError} if the list of metadata providers is empty or not known yet.
   */
  ownersOf(keyHash: Uint8Array): string[] {
    const owners = this.#currentMap().owners(keyHash)
    if (owners.length === 0) {
      throw new PeerUnreachableError('a metadata provider', 'the metadata list is empty')
    }
    return owners.toSorted((left, right) => this.#rank(left) - this.#rank(right))
  }

  /** Calls one owner's store, and remembers whether it could be reached. */
  async ask<T>(owner: string, call: (store: MetadataStore) => Promise<T>): Promise<T> {
    try {
      const result = await call(this.#storeOf(owner))
      this.#failedAtMs.delete(owner)
      return result
    } catch (error) {
      if (isOwnersFault(error)) this.#failedAtMs.set(owner, this.#components.clock.monotonic())
      throw error
    }
  }

  /** Closes all channels; what is in flight rejects. */
  async close(): Promise<void> {
    for (const owner of this.#remotes.keys()) this.#forget(owner)
    await Promise.all(this.#closing)
  }

  #rank(owner: string): number {
    if (this.#isLocal(owner)) return 0
    const failedAtMs = this.#failedAtMs.get(owner)
    if (failedAtMs === undefined) return 1
    return this.#components.clock.monotonic() - failedAtMs > this.#avoidMs ? 1 : 2
  }

  #isLocal(owner: string): boolean {
    return this.#components.local !== undefined && owner === this.#components.node.peerId
  }

  #currentMap(): OwnerMap {
    const list = this.#components.providers()
    const names = list.join()
    if (names === this.#names) return this.#map
    this.#names = names
    const map = new OwnerMap(list)
    this.#map = map
    const present = new Set(map.providers)
    for (const owner of this.#remotes.keys()) if (!present.has(owner)) this.#forget(owner)
    return map
  }

  #storeOf(owner: string): MetadataStore {
    const { local, node, clock } = this.#components
    if (local !== undefined && owner === node.peerId) return local
    const known = this.#remotes.get(owner)
    if (known !== undefined) return known
    // Bounded by the metadata list: who leaves it is forgotten.
    const remote = new RemoteMetadataProvider({ node, clock, peerId: owner }, this.#remoteOptions)
    this.#remotes.set(owner, remote)
    return remote
  }

  #forget(owner: string): void {
    const remote = this.#remotes.get(owner)
    this.#remotes.delete(owner)
    this.#failedAtMs.delete(owner)
    if (remote === undefined) return
    const closing = remote.close().finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }
}

/** Tells whether another owner would do better: it or the network to it is at fault. */
function isOwnersFault(error: unknown): boolean {
  return (
    error instanceof PeerUnreachableError ||
    error instanceof PeerTimeoutError ||
    error instanceof ProtocolRefusedError ||
    error instanceof ProtocolViolationError ||
    error instanceof PeerChunkMismatchError
  )
}
