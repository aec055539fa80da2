import { chunkId, verifyChunk, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../src/chunks/chunk-list.ts'
import { Manifest } from '../../src/chunks/manifest.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { isAllZero, KIB } from '../../src/lib/bytes.ts'
import { MemoryEventLog } from '../../src/lib/events.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { type Random, seededRandom } from '../../src/lib/random.ts'
import type { DownloadOptions, DownloadResult } from '../../src/peer/swarm/download.ts'
import type { SwarmEvent } from '../../src/peer/swarm/events.ts'
import { type SwarmOptions, SwarmService } from '../../src/peer/swarm/swarm-service.ts'
import type { Role } from '../../src/peer/types.ts'
import type { Line, SimulatedNetwork, SimulatedNode } from './simulated-network.ts'

/** An image in memory with its manifest. */
export interface TestImage {
  readonly manifest: Manifest
  readonly chunks: readonly Uint8Array[]
}

/**
 * Cuts an image that a text describes, one character a chunk: `.` is zeros, equal letters are equal
 * chunks. Chunks are smaller than real ones, so that many fit into a test.
 */
export function imageOf(pattern: string, chunkBytes = KIB, lastBytes = chunkBytes): TestImage {
  const chunks = Array.from(pattern, (letter, index) => {
    const bytes = new Uint8Array(index === pattern.length - 1 ? lastBytes : chunkBytes)
    if (letter !== '.') bytes.fill(letter.codePointAt(0) ?? 1)
    return bytes
  })
  return imageOfChunks(chunks, chunkBytes)
}

/** An image of different chunks: 64 random bytes each, again and again. */
export function randomImage(count: number, chunkBytes: number, random: Random): TestImage {
  const chunks = Array.from({ length: count }, () => {
    const words = Uint32Array.from({ length: 16 }, () => random() * 2 ** 32)
    return new Uint8Array(Buffer.alloc(chunkBytes, new Uint8Array(words.buffer)))
  })
  return imageOfChunks(chunks, chunkBytes)
}

function imageOfChunks(chunks: readonly Uint8Array[], chunkBytes: number): TestImage {
  const ids = ChunkList.from(
    chunks.map((chunk) => (isAllZero(chunk) ? ZERO_CHUNK_ID : chunkId(chunk)))
  )
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)
  const root = chunkId(ids.bytes)
  const shape = { bytes, chunkBytes, chunkCount: chunks.length, levels: 0 }
  const parts = { root, shape, ids, leafPages: new ChunkList(0), pageIds: [root] }
  return { manifest: new Manifest(parts), chunks }
}

/** A store that refuses, loudly, whatever is not the chunk that its id names. */
class CheckedStore extends MemoryStore {
  override async put(id: ChunkId, bytes: Uint8Array, options?: AbortOptions): Promise<boolean> {
    verifyChunk(id, bytes)
    return await super.put(id, bytes, options)
  }
}

class LyingStore extends CheckedStore {
  override async get(id: ChunkId): Promise<Uint8Array | undefined> {
    const bytes = await super.get(id)
    return bytes?.fill(0x55)
  }
}

class StallingStore extends CheckedStore {
  override async get(): Promise<Uint8Array | undefined> {
    return await new Promise(() => {})
  }
}

const STORES = { honest: CheckedStore, lying: LyingStore, stalling: StallingStore }

export interface SimulatedAgentOptions extends SwarmOptions {
  readonly roles?: readonly Role[]
  readonly line?: Line
  /** What it does when asked for chunks. @default 'honest' */
  readonly character?: keyof typeof STORES
  readonly seed?: number
  /** Bytes that its store takes. @default Infinity */
  readonly quotaBytes?: number
  /** Images that it serves to whoever asks, as a provider does. @default [] */
  readonly knows?: readonly TestImage[]
}

/** An agent of a simulation: the real swarm service over a simulated network and a store in memory. */
export class SimulatedAgent {
  readonly peerId: string
  readonly store: MemoryStore
  readonly events = new MemoryEventLog<SwarmEvent>()
  readonly log = new MemoryLogger()
  readonly metrics = new MemoryMetrics()
  node: SimulatedNode
  service: SwarmService
  readonly #network: SimulatedNetwork
  readonly #options: SimulatedAgentOptions
  #starts = 0

  constructor(network: SimulatedNetwork, peerId: string, options: SimulatedAgentOptions = {}) {
    const { character = 'honest', quotaBytes = Infinity } = options
    this.#network = network
    this.#options = options
    this.peerId = peerId
    this.store = new STORES[character]({ quotaBytes })
    this.node = this.#makeNode()
    this.service = this.#makeService()
  }

  async start(): Promise<void> {
    await this.store.start()
    await this.service.start()
  }

  /** Puts chunks of an image into the store. */
  async fill(image: TestImage, has: (index: number) => boolean = () => true): Promise<void> {
    await this.store.start()
    for (const [index, bytes] of image.chunks.entries()) {
      const id = image.manifest.chunkId(index)
      if (has(index) && !isAllZero(bytes)) await this.store.put(id, bytes)
    }
  }

  async download(image: TestImage, options: DownloadOptions = {}): Promise<DownloadResult> {
    return await this.service.download(image.manifest, options)
  }

  /** Goes away in the middle of what it does; the store stays. */
  crash(isSilent = false): void {
    this.#network.crash(this.peerId, isSilent)
    this.service.stop().catch(() => {})
  }

  async restart(): Promise<void> {
    this.node = this.#makeNode()
    this.service = this.#makeService()
    await this.service.start()
  }

  /** Bytes of chunks received, by sender. */
  receivedFrom(peerId: string): number {
    return this.events.events
      .filter((event) => event.event === 'chunk-received' && event.peer === peerId)
      .reduce((sum, event) => sum + (event.event === 'chunk-received' ? event.bytes : 0), 0)
  }

  /** Bytes of chunks that this agent sent, needed or not. */
  get sentChunkBytes(): number {
    return this.sentBytesTo(() => true)
  }

  /** Those that went to some agents. */
  sentBytesTo(isCounted: (peer: string) => boolean): number {
    return this.events.events.reduce((sum, event) => {
      const isSent = event.event === 'chunk-sent' && isCounted(event.peer)
      return sum + (isSent ? event.bytes : 0)
    }, 0)
  }

  #makeNode(): SimulatedNode {
    const { roles = ['deploy'], line } = this.#options
    return this.#network.node(this.peerId, { roles: new Set(roles) }, line)
  }

  #makeService(): SwarmService {
    const { seed = 1, knows = [], ...options } = this.#options
    const random = seededRandom(seed * 1000 + this.#starts++)
    return new SwarmService(
      {
        node: this.node,
        store: this.store,
        directory: this.#network.directory(this.peerId),
        clock: this.#network.clock,
        random,
        logger: this.log,
        metrics: this.metrics,
        events: this.events,
        loadManifest: async (root) =>
          knows.find(({ manifest }) => Buffer.compare(manifest.root, root) === 0)?.manifest
      },
      options
    )
  }
}
