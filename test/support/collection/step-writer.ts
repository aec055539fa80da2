import { chunkId } from '../../../src/chunks/chunk-id.ts'
import type { ProviderId } from '../../../src/chunks/types.ts'
import type { Clock } from '../../../src/lib/clock.ts'
import type { Random } from '../../../src/lib/random.ts'
import type { LeafList } from '../../../src/metadata/leaf-list.ts'
import { LeafListBuilder } from '../../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../../src/metadata/leaf-list-codec.ts'
import type { NodeProof, SignedTicket, TicketRequest } from '../../../src/metadata/ticket-types.ts'
import { proveNodes } from '../../../src/metadata/tickets.ts'
import type { KeyedNode } from '../../../src/metadata/tree-types.ts'
import { weaveNodes } from '../../../src/metadata/tree-write.ts'
import type { BlobDescription } from '../../../src/metadata/types.ts'
import type { TestRepository } from '../repository.ts'

/** Bytes that a write puts somewhere, within one chunk. */
export interface Piece {
  readonly index: number
  readonly at: number
  readonly bytes: Uint8Array
}

export interface StepWrite {
  readonly path: string
  readonly description: BlobDescription
  readonly pieces: readonly Piece[]
  readonly truncates: boolean
}

export interface StepWriterParts {
  readonly bench: TestRepository
  readonly clock: Clock
  readonly leaseMs: number
  readonly random: Random
}

/** What a writer does next; `done` and `refused` are the end. */
export type WriterStep = 'chunk' | 'ticket' | 'nodes' | 'commit' | 'seal' | 'done' | 'refused'

/** A writer that takes one step at a time, as long as a test likes; it keeps its leases. */
export class StepWriter {
  readonly write: StepWrite
  readonly #parts: StepWriterParts
  /** When each chunk was last seen or stored, and where. */
  readonly #placed: { ms: number; replicas: readonly ProviderId[] }[] = []
  #signed: SignedTicket | undefined
  #nodes: { left: readonly KeyedNode[]; proof: NodeProof } | undefined
  #next: WriterStep = 'chunk'
  #leaves: LeafList | undefined

  constructor(parts: StepWriterParts, write: StepWrite) {
    this.#parts = parts
    this.write = write
  }

  get next(): WriterStep {
    return this.#next
  }

  get hasTicket(): boolean {
    return this.#signed !== undefined
  }

  get isEnded(): boolean {
    return this.#next === 'done' || this.#next === 'refused'
  }

  /** The version that it writes, once it has a ticket. */
  get version(): number | undefined {
    return this.#signed?.ticket.version
  }

  /** @returns what it did. */
  async step(): Promise<WriterStep> {
    const step = this.#next
    switch (step) {
      case 'chunk':
        await this.#placeChunk()
        break
      case 'ticket':
        await this.#askTicket()
        break
      case 'nodes':
        await this.#putNodes()
        break
      case 'commit':
        await this.#commit()
        break
      case 'seal':
        await this.#seal()
        break
      case 'done':
      case 'refused':
        break
      default:
        throw new TypeError(`step ${String(step satisfies never)}`)
    }
    return step
  }

  /** Places the next chunk, or anew one whose lease is getting old. */
  async #placeChunk(): Promise<void> {
    const { bench, clock } = this.#parts
    const at = this.#staleChunk()
    const piece = this.write.pieces[at]
    if (piece !== undefined) {
      const id = chunkId(piece.bytes)
      const [found = []] = await bench.pool.locate([id])
      const replicas = found.length > 0 ? found : await bench.pool.write(id, piece.bytes)
      this.#placed[at] = { ms: clock.monotonic(), replicas }
    }
    if (this.#staleChunk() >= this.write.pieces.length) this.#next = 'ticket'
  }

  #staleChunk(): number {
    const { clock, leaseMs } = this.#parts
    const oldest = clock.monotonic() - leaseMs / 2
    const at = this.write.pieces.findIndex((_piece, number) => {
      const placed = this.#placed[number]
      return placed === undefined || placed.ms < oldest
    })
    return at < 0 ? this.write.pieces.length : at
  }

  async #askTicket(): Promise<void> {
    const { bench } = this.#parts
    if (this.#staleChunk() < this.write.pieces.length) {
      this.#next = 'chunk'
      return
    }
    const leaves = this.#makeLeaves()
    const pages = Array.from(encodeLeafList(leaves))
    await bench.metadata.putPages(pages)
    const { description, path, truncates } = this.write
    const { blob, chunkBytes } = description
    const request: TicketRequest = {
      blob,
      path,
      writer: bench.signer.peerId,
      ranges: leaves.ranges(),
      endBytes: leaves.endBytes(chunkBytes),
      truncates,
      leafList: pages.at(-1)?.id ?? new Uint8Array(32)
    }
    try {
      this.#signed = await bench.versions.assign(request)
      this.#leaves = leaves
      this.#next = 'nodes'
    } catch (error) {
      const { code } = error as { code?: string }
      if (code !== 'ERR_TICKET_CONFLICT' && code !== 'ERR_UNKNOWN_BLOB') throw error
      this.#next = 'refused' // the path was removed meanwhile
    }
  }

  #makeLeaves(): LeafList {
    const builder = new LeafListBuilder()
    for (const [at, { index, at: start, bytes }] of this.write.pieces.entries()) {
      const replicas = this.#placed[at]?.replicas ?? []
      const length = bytes.byteLength
      builder.add(index, { at: start, length, chunk: chunkId(bytes), chunkOffset: 0, replicas })
    }
    return builder.build()
  }

  /** Stores about half of the nodes that are left. */
  async #putNodes(): Promise<void> {
    const { bench, random } = this.#parts
    if (this.#signed === undefined || this.#leaves === undefined) throw new TypeError('no ticket')
    const { ticket, envelope } = this.#signed
    if (this.#nodes === undefined) {
      const left: KeyedNode[] = []
      for await (const batch of weaveNodes(ticket, this.#leaves, bench.metadata))
        left.push(...batch)
      this.#nodes = { left, proof: proveNodes(bench.signer, envelope, left) }
      return
    }
    const { left, proof } = this.#nodes
    const some = left.filter(() => random() < 0.5)
    await bench.metadata.putNodes(some, proof)
    const rest = left.filter((node) => !some.includes(node))
    this.#nodes = { left: rest, proof }
    if (rest.length === 0) this.#next = 'commit'
  }

  async #commit(): Promise<void> {
    const { blob, version } = this.#ticket
    await this.#parts.bench.versions.commit(blob, version)
    this.#next = 'seal'
  }

  /** Has the version sealed, unless it waits for others or was removed meanwhile. */
  async #seal(): Promise<void> {
    const { blob, version } = this.#ticket
    this.#next = 'done'
    try {
      await this.#parts.bench.versions.record(blob, version)
    } catch (error) {
      const { code } = error as { code?: string }
      if (code !== 'ERR_UNKNOWN_VERSION' && code !== 'ERR_UNKNOWN_BLOB') throw error
    }
  }

  get #ticket() {
    if (this.#signed === undefined) throw new TypeError('no ticket')
    return this.#signed.ticket
  }
}
