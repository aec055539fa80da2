import type { Clock } from '../../lib/clock.ts'
import type { Signer } from '../../metadata/signature-types.ts'
import type {
  CollectableMetadata,
  HandedOverStore,
  KeptMetadata
} from '../../metadata/store-types.ts'
import {
  PeerChunkMismatchError,
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolRefusedError,
  ProtocolViolationError,
  RemoteError
} from '../errors.ts'
import type { PeerNode } from '../types.ts'
import {
  type OwnerStore,
  RemoteMetadataProvider,
  type RemoteMetadataProviderOptions
} from './metadata-provider.ts'
import { OwnerLists, type OwnerListsOptions, type Placement } from './owner-lists.ts'
import { isRefusal } from './owner-writes.ts'

export interface OwnerStoresComponents {
  readonly node: Pick<PeerNode, 'open' | 'peerId'>
  readonly clock: Clock
  /** Peer ids of the metadata list, in force now. */
  readonly providers: () => readonly string[]
  /** This agent's own store, if it is a metadata provider. */
  readonly local?: KeptMetadata | undefined
  /** Signs orders to delete, at a version manager. */
  readonly signer?: Signer | undefined
}

export interface OwnerStoresOptions extends RemoteMetadataProviderOptions, OwnerListsOptions {
  /** How long an owner that failed is asked last, in milliseconds. @default 10000 */
  avoidMs?: number
}

/** One metadata provider, as collection and repair see it. */
export interface CollectableOwner {
  readonly id: string
  readonly store: CollectableMetadata & Pick<HandedOverStore, 'scan'>
}

/** The metadata providers as stores, and who of them owns a key. */
export class OwnerStores {
  readonly #components: OwnerStoresComponents
  readonly #remoteOptions: RemoteMetadataProviderOptions
  readonly #avoidMs: number
  readonly #remotes = new Map<string, RemoteMetadataProvider>()
  readonly #failedAtMs = new Map<string, number>()
  readonly #closing = new Set<Promise<void>>()
  readonly #lists: OwnerLists

  constructor(components: OwnerStoresComponents, options: OwnerStoresOptions = {}) {
    const { avoidMs = 10_000, settleMs, ...remoteOptions } = options
    this.#components = components
    this.#lists = new OwnerLists(components.clock, { settleMs })
    this.#remoteOptions = remoteOptions
    this.#avoidMs = avoidMs
  }

  /**
   * Owners of the key with this hash, in the order in which to ask them: this agent itself, then
   * the closest ones, then those that failed a short time ago.
   *
   * @throws {PeerUnreachableError} if the list of metadata providers is empty or not known yet.
   */
  ownersOf(keyHash: Uint8Array): readonly string[] {
    return this.placementOf(keyHash).owners
  }

  /**
   * Who may have the key with this hash, everybody in the order in which to ask them. New owners are
   * asked after those that were owners before.
   *
   * @throws {PeerUnreachableError} if the list of metadata providers is empty or not known yet.
   */
  placementOf(keyHash: Uint8Array): Placement {
    this.#update()
    const { owners, former, others } = this.#lists.placementOf(keyHash)
    if (owners.length === 0) {
      throw new PeerUnreachableError('a metadata provider', 'the metadata list is empty')
    }
    const isNew = (owner: string): number => former.filter((set) => !set.includes(owner)).length
    const inOrder = (set: readonly string[]): string[] =>
      set.toSorted((a, b) => this.#rank(a) - this.#rank(b) || isNew(a) - isNew(b))
    return { owners: inOrder(owners), former: former.map(inOrder), others: inOrder(others) }
  }

  /** Tells whether an owner is this agent itself. */
  isLocal(owner: string): boolean {
    return this.#components.local !== undefined && owner === this.#components.node.peerId
  }

  /** This agent's own store, if it is the owner of every key and the only one there has been. */
  get onlyLocal(): OwnerStore | undefined {
    this.#update()
    const [only, ...others] = this.#lists.everybody()
    return only !== undefined && others.length === 0 && this.isLocal(only)
      ? this.#components.local
      : undefined
  }

  /** Names the list in force: equal names, equal owners of every key. */
  get listName(): string {
    this.#update()
    return this.#lists.name
  }

  /** Every provider on the list; this agent's own without the network. */
  all(): CollectableOwner[] {
    this.#update()
    return this.#lists.providers.map((id) => ({ id, store: this.#storeOf(id) }))
  }

  /** Calls one owner's store, and remembers whether it could be reached. */
  async ask<T>(owner: string, call: (store: OwnerStore) => Promise<T>): Promise<T> {
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
    if (this.isLocal(owner)) return 0
    const failedAtMs = this.#failedAtMs.get(owner)
    if (failedAtMs === undefined) return 1
    return this.#components.clock.monotonic() - failedAtMs > this.#avoidMs ? 1 : 2
  }

  #update(): void {
    if (!this.#lists.update(this.#components.providers())) return
    const present = this.#lists.everybody()
    for (const owner of this.#remotes.keys()) if (!present.has(owner)) this.#forget(owner)
  }

  #storeOf(owner: string): OwnerStore & CollectableMetadata {
    const { local, node, clock, signer } = this.#components
    if (local !== undefined && owner === node.peerId) return local
    const known = this.#remotes.get(owner)
    if (known !== undefined) return known
    // Bounded by the metadata lists: who leaves them is forgotten.
    const components = { node, clock, peerId: owner, signer }
    const remote = new RemoteMetadataProvider(components, this.#remoteOptions)
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
    error instanceof PeerChunkMismatchError ||
    (error instanceof RemoteError && !isRefusal(error))
  )
}
