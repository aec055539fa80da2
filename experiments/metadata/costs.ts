import { GIB, KIB } from '../../src/lib/bytes.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { BlobReader } from '../../src/metadata/blob-reader.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import type { SignedVersionRecord } from '../../src/metadata/sealing-types.ts'
import { readExtents } from '../../src/metadata/tree-read.ts'
import type { BlobDescription, ByteRange } from '../../src/metadata/types.ts'
import type { DistributedMetadataStore } from '../../src/peer/remote/metadata-store.ts'
import type { RemoteVersionManager } from '../../src/peer/remote/version-manager.ts'
import { Member } from '../support/member.ts'
import { type Layout, MeasuredCluster } from './cluster.ts'
import { type CallCost, CountingNode } from './counting-node.ts'
import { oneChunkWrite, publisherOf } from './small-write.ts'

export const CHUNK_BYTES = 256 * KIB

/** 2^22 chunks of 256 KiB: 23 levels of nodes. */
const TIB_CHUNKS = 2 ** 22
const GIB_CHUNKS = GIB / CHUNK_BYTES

export interface CostResult extends CallCost {
  readonly layout: Layout
  readonly what: string
  /** What BlobSeer's formulas give: one get a node and, level by level, one round a level. */
  readonly formula: string
}

interface Counted {
  readonly counting: CountingNode
  readonly versions: RemoteVersionManager
  readonly metadata: DistributedMetadataStore
}

/** Counts requests and rounds of single operations; what is measured is the library in this process. */
export async function measureCosts(
  layout: Layout,
  options: { readonly folder: string; readonly seed: number }
): Promise<CostResult[]> {
  const cluster = await MeasuredCluster.start(options.folder, layout)
  try {
    const { token, addresses } = await cluster.invitation()
    const member = await Member.join(token, addresses)
    try {
      const costs = new Costs(member, seededRandom(options.seed))
      const found = [...(await costs.writes()), ...(await costs.reads())]
      return found.map(({ what, formula, calls, rounds, methods }) => ({
        layout,
        what,
        formula,
        calls,
        rounds,
        methods
      }))
    } finally {
      await member.stop()
    }
  } finally {
    await cluster.stop()
  }
}

class Costs {
  readonly #member: Member
  readonly #random: () => number

  constructor(member: Member, random: () => number) {
    this.#member = member
    this.#random = random
  }

  /** One-chunk writes into blobs of 1 GiB and 1 TiB. */
  async writes(): Promise<Omit<CostResult, 'layout'>[]> {
    const results: Omit<CostResult, 'layout'>[] = []
    for (const { chunks, name } of [
      { chunks: GIB_CHUNKS, name: '1 GiB' },
      { chunks: TIB_CHUNKS, name: '1 TiB' }
    ]) {
      for (const around of ['one version', 'a version for each level'] as const) {
        const levels = Math.log2(chunks)
        const formula = `put ${levels + 1} nodes, get ${2 * levels} in ${levels} rounds`
        const [cold, warm] = await this.#with(async (builder) => {
          const description = await this.#blob(builder, chunks)
          const target = Math.floor(this.#random() * chunks)
          await this.#writeAround(builder, description, { target, levels }, around)
          const byOther = await this.#with(async (other) => {
            await this.#openChannels(other, description)
            return this.#write(other, description, target)
          })
          const next = Math.floor(this.#random() * chunks)
          await this.#writeAround(builder, description, { target: next, levels }, around)
          return [byOther, await this.#write(builder, description, next)]
        })
        const what = `write 1 chunk into ${name}, around it ${around}`
        if (cold !== undefined) results.push({ what: `${what}, cold`, formula, ...cold })
        if (warm !== undefined) results.push({ what: `${what}, warm`, formula, ...warm })
      }
    }
    return results
  }

  /** Cold reads of a dense image of 1 GiB, by its manifest and by its tree. */
  async reads(): Promise<Omit<CostResult, 'layout'>[]> {
    return await this.#with(async (builder) => this.#readsOf(builder))
  }

  async #readsOf(builder: Counted): Promise<Omit<CostResult, 'layout'>[]> {
    const description = await this.#blob(builder, GIB_CHUNKS)
    const leaves = new LeafListBuilder()
    for (let index = 0; index < GIB_CHUNKS; index++) {
      const [entry] = oneChunkWrite(description, index, this.#random).leaves
      for (const fragment of entry?.fragments ?? []) leaves.add(index, fragment)
    }
    const { version, bytes } = await publisherOf(this.#partsOf(builder)).publish({
      description,
      leaves: leaves.build(),
      endBytes: GIB,
      truncates: false
    })
    const { blob, chunkBytes } = description
    await builder.versions.record(blob, version) // sealed, so that reading is measured and not sealing
    const root = { blob, version, span: GIB_CHUNKS }
    const results: Omit<CostResult, 'layout'>[] = []
    for (const { name, range } of [
      { name: '1 chunk', range: { offset: 1000 * CHUNK_BYTES, length: CHUNK_BYTES } },
      { name: 'all 4,096 chunks', range: { offset: 0, length: GIB } }
    ]) {
      const chunks = range.length / CHUNK_BYTES
      const levels = Math.log2(GIB_CHUNKS)
      const formula = `get ${2 * chunks + 2 * levels} nodes in ${levels + 1} rounds`
      const byManifest = await this.#with(async (reader) => {
        await this.#openChannels(reader, description)
        return reader.counting.cost(async () => {
          const record = await reader.versions.record(blob, version)
          await this.#readManifest(reader, record, range)
        })
      })
      const what = `find ${name} of 1 GiB, cold`
      results.push({ what: `${what}, by the manifest`, formula, ...byManifest.cost })
      const byTree = await this.#with(async (reader) => {
        await this.#openChannels(reader, description)
        return reader.counting.cost(async () =>
          readExtents(reader.metadata, { root, bytes, chunkBytes }, range)
        )
      })
      results.push({ what: `${what}, by the tree`, formula, ...byTree.cost })
    }
    return results
  }

  /** One connection has room for few channels: each of these is closed before the next is opened. */
  async #with<T>(work: (counted: Counted) => Promise<T>): Promise<T> {
    const counted = this.#open()
    try {
      return await work(counted)
    } finally {
      await counted.metadata.idle()
      await Promise.all([counted.metadata.stop(), counted.versions.stop()])
    }
  }

  /** Opens caches that are empty, over channels that are counted. */
  #open(): Counted {
    const counting = new CountingNode(this.#member.node)
    return {
      counting,
      versions: this.#member.openVersions(counting),
      metadata: this.#member.openMetadata(counting)
    }
  }

  #partsOf({ versions, metadata }: Counted) {
    return { versions, metadata, signer: this.#member.signer }
  }

  /** Nobody waits for channels in what is counted; nothing comes into the caches. */
  async #openChannels({ versions, metadata }: Counted, { blob }: BlobDescription): Promise<void> {
    await versions.latest(blob)
    await metadata.getPages([new Uint8Array(32).fill(1)]) // which nobody has, so that all are asked
  }

  async #blob({ versions }: Counted, chunks: number): Promise<BlobDescription> {
    const sizeHint = chunks * CHUNK_BYTES
    return await versions.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1, sizeHint })
  }

  async #write(writer: Counted, description: BlobDescription, index: number): Promise<CallCost> {
    const publisher = publisherOf(this.#partsOf(writer))
    const write = oneChunkWrite(description, index, this.#random)
    return (await writer.counting.cost(async () => publisher.publish(write))).cost
  }

  /**
   * Writes what a later write at `target` has to link to: its neighbour alone, so that the way down to it is one
   * version's, or for every level a chunk in the other half, so that each step of the way down is another version's.
   */
  async #writeAround(
    writer: Counted,
    description: BlobDescription,
    { target, levels }: { readonly target: number; readonly levels: number },
    around: 'one version' | 'a version for each level'
  ): Promise<void> {
    for (let level = 0; level < (around === 'one version' ? 1 : levels); level++) {
      const half = 2 ** level
      const isRight = Math.floor(target / half) % 2 === 1
      await this.#write(writer, description, isRight ? target - half : target + half)
    }
  }

  async #readManifest(
    { metadata }: Counted,
    record: SignedVersionRecord,
    range: ByteRange
  ): Promise<void> {
    const blobs = new BlobReader({
      metadata,
      reader: { read: () => Promise.reject(new Error('no bytes are stored here')) },
      verifier: this.#member.verifier,
      logger: noLogger
    })
    const { manifest } = await blobs.open(record)
    const first = Math.floor(range.offset / CHUNK_BYTES / 1024)
    const end = Math.ceil((range.offset + range.length) / CHUNK_BYTES / 1024)
    const pages = Array.from({ length: end - first }, (_, at) => first + at)
    await Promise.all(
      pages.map(async (page) => Promise.all([manifest.chunkIds(page), manifest.location(page)]))
    )
  }
}
