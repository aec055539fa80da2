import { systemClock } from '../../src/lib/clock.ts'
import { type LoggerFactory, noLogger } from '../../src/lib/logger.ts'
import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import { recordName } from '../../src/metadata/metadata-keys.ts'
import { decodeNodeKey } from '../../src/metadata/node-codec.ts'
import type { Verifier } from '../../src/metadata/signature-types.ts'
import type { KeptMetadata, MetadataKind } from '../../src/metadata/store-types.ts'
import { HandOver, type HandOverOptions } from '../../src/peer/hand-over.ts'
import { nodeBundle, OwnerMap, ownerKey } from '../../src/peer/owners.ts'
import { serveTree } from '../../src/peer/protocols/tree-serve.ts'
import {
  DistributedMetadataStore,
  type DistributedMetadataStoreOptions
} from '../../src/peer/remote/metadata-store.ts'
import { MemoryNetwork, type MemoryNode } from './memory-network.ts'
import { testSigner, trusting } from './signing.ts'

const KINDS: readonly MetadataKind[] = ['nodes', 'pages', 'records']

/** One metadata provider of a test. */
export interface TestMetadataProvider {
  readonly node: MemoryNode
  readonly store: KeptMetadata
  readonly handOver: HandOver
}

/** What a client has of its own, where it is not as everybody's. */
interface ClientParts {
  readonly verifier?: Verifier
  readonly list?: () => readonly string[]
}

/**
 * Metadata providers in memory that hand over to each other, and a list that the test changes.
 * Everything ends with `stop`.
 */
export class MetadataCluster {
  readonly network = new MemoryNetwork()
  readonly signer = testSigner()
  readonly verifier = trusting(this.signer)
  readonly providers = new Map<string, TestMetadataProvider>()
  readonly #clients: DistributedMetadataStore[] = []
  readonly #listeners = new Set<() => void>()
  readonly #options: HandOverOptions
  readonly #logger: LoggerFactory
  #list: readonly string[] = []

  constructor(options: HandOverOptions = {}, logger: LoggerFactory = noLogger) {
    this.#options = { readTimeoutMs: 200, writeTimeoutMs: 2000, ...options }
    this.#logger = logger
  }

  get list(): readonly string[] {
    return this.#list
  }

  /** Makes this the list in force, everywhere at once. */
  setList(list: readonly string[]): void {
    this.#list = list
    for (const listener of this.#listeners) listener()
  }

  /** Starts providers and puts them onto the list. */
  async add(...names: string[]): Promise<void> {
    for (const name of names) await this.start(name)
    this.setList([...this.#list, ...names])
  }

  /** Starts a provider that is not on the list. */
  async start(name: string, store: KeptMetadata = this.newStore()): Promise<TestMetadataProvider> {
    const node = this.network.node(name, { roles: new Set(['metadata']) })
    const { verifier } = this
    const common = { clock: systemClock, logger: this.#logger }
    await serveTree(node, { store, verifier, ...common })
    const onListChanged = (listener: () => void): (() => void) => {
      this.#listeners.add(listener)
      return () => this.#listeners.delete(listener)
    }
    const providers = (): readonly string[] => this.#list
    const handOver = new HandOver(
      { node, store, providers, onListChanged, ...common },
      this.#options
    )
    const provider = { node, store, handOver }
    this.providers.set(name, provider)
    return provider
  }

  newStore(): MemoryMetadataStore {
    return new MemoryMetadataStore({ verifier: this.verifier })
  }

  get(name: string): TestMetadataProvider {
    const provider = this.providers.get(name)
    if (provider === undefined) throw new Error(`no provider ${name}`)
    return provider
  }

  /** Ends a provider at once and for good, but leaves it on the list. */
  async kill(name: string): Promise<void> {
    this.network.remove(name)
    await this.get(name).handOver.stop()
    this.providers.delete(name)
  }

  client(
    name = 'client',
    options: DistributedMetadataStoreOptions = {},
    { verifier = this.verifier, list = () => this.#list }: ClientParts = {}
  ): DistributedMetadataStore {
    const node = this.network.node(name)
    const client = new DistributedMetadataStore(
      { node, clock: systemClock, providers: list, verifier },
      { readTimeoutMs: 500, writeTimeoutMs: 2000, ...options }
    )
    this.#clients.push(client)
    return client
  }

  /** One pass at each provider, at the same time. */
  async handOverAll(): Promise<void> {
    const { network } = this
    const reachable = [...this.providers].filter(([name]) => network.find(name) !== undefined)
    await Promise.all(reachable.map(async ([, { handOver }]) => handOver.passNow()))
  }

  startHandOver(): void {
    for (const { handOver } of this.providers.values()) handOver.start()
  }

  /** Every key that some provider keeps, as text, with the names of those that keep it. */
  async copies(): Promise<Map<string, Set<string>>> {
    const copies = new Map<string, Set<string>>()
    for (const [name, { store }] of this.providers) {
      for (const key of await allKeys(store)) {
        const there = copies.get(key) ?? new Set()
        copies.set(key, there.add(name))
      }
    }
    return copies
  }

  /** Keys that some of their owners do not have. */
  async underCopied(): Promise<string[]> {
    const map = new OwnerMap(this.#list)
    const copies = await this.copies()
    return [...copies]
      .filter(([key, there]) => map.owners(placeOf(key)).some((owner) => !there.has(owner)))
      .map(([key]) => key)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map(async (client) => client.stop()))
    for (const { handOver } of this.providers.values()) await handOver.stop()
  }
}

/** All keys of a store as `kind hex`. */
export async function allKeys(store: KeptMetadata): Promise<string[]> {
  const all: string[] = []
  for (const kind of KINDS) {
    for (let after: Uint8Array | undefined; ; ) {
      const keys = await store.scan({ kind, after })
      all.push(...keys.map((key) => `${kind} ${Buffer.from(key).toString('hex')}`))
      after = keys.at(-1)
      if (after === undefined) break
    }
  }
  return all
}

/** Hash that a key is placed by. */
export function placeOf(text: string): Uint8Array {
  const [kind, hex = ''] = text.split(' ')
  const key = new Uint8Array(Buffer.from(hex, 'hex'))
  if (kind === 'pages') return key
  return ownerKey(kind === 'nodes' ? nodeBundle(decodeNodeKey(key)) : recordName(key))
}
