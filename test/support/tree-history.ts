import { chunkId, chunkKey, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import type { Random } from '../../src/lib/random.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { joinRanges } from '../../src/metadata/geometry.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import { proveNodes, signTicket, verifyTicket } from '../../src/metadata/tickets.ts'
import { readExtents } from '../../src/metadata/tree-read.ts'
import { weaveNodes } from '../../src/metadata/tree-write.ts'
import type {
  BlobId,
  ByteRange,
  Extent,
  KeyedNode,
  LeafEntry,
  NodeProof,
  SignedTicket,
  Version
} from '../../src/metadata/types.ts'
import { type Change, VersionManagerState } from '../../src/metadata/version-manager.ts'
import type { BlobRow, StateRow, VersionRow } from '../../src/metadata/version-rows.ts'
import { gullible, plainSigner } from './plain-signing.ts'

/** Bytes of a chunk, tiny so that a few writes cross many borders. */
const CHUNK_BYTES = 4

interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** A writer after its ticket, and how far it has come. */
interface Writer {
  readonly signed: SignedTicket
  readonly leaves: readonly LeafEntry[]
  /** Nodes that are not stored yet, with the proof of all; undefined until they are woven. */
  unstored: { nodes: KeyedNode[]; proof: NodeProof } | undefined
  /** Steps until it stops for ever, or is taken for dead. */
  stepsLeft: number
}

/** What happened in a history, to see that all cases occur. */
export interface HistoryCounts {
  writes: number
  truncations: number
  conflicts: number
  repairs: number
  restarts: number
  clones: number
  reads: number
}

/**
 * One random history of concurrent writers on a few blobs, over the real rules, tree and store,
 * beside a plain array a version. Writers die and are rolled forward, some of them only seem dead
 * and go on; the version manager restarts from its rows; versions are read while others are in
 * flight.
 */
export class TreeHistory {
  readonly counts: HistoryCounts
  readonly #random: Random
  readonly #store = new MemoryMetadataStore({ verifier: gullible })
  readonly #manager = plainSigner('manager')
  readonly #rows = new Map<string, BlobRow | VersionRow>()
  readonly #chunks = new Map<string, Uint8Array>()
  readonly #pieces = new Map<string, readonly Piece[]>()
  readonly #leafLists = new Map<string, readonly LeafEntry[]>()
  /** Bytes of each version of each blob, from version 0 on. */
  readonly #model = new Map<BlobId, Uint8Array[]>()
  #state = new VersionManagerState({ leaseMs: 10 })
  #writers: Writer[] = []
  #nowMs = 1

  constructor(seed: number, counts: HistoryCounts) {
    this.#random = seededRandom(seed)
    this.counts = counts
  }

  /** Plays the history. @throws {Error} at the first read that differs from the model. */
  async run(): Promise<void> {
    const hint = this.#chance(0.5) ? 0 : this.#below(80)
    const create = { chunkBytes: CHUNK_BYTES, replicas: 1, sizeHint: hint }
    this.#addBlob((blob) => this.#state.createBlob(blob, create, 0), new Uint8Array())
    let writesLeft = 6 + this.#below(14)
    while (writesLeft > 0 || this.#writers.length > 0) {
      this.#nowMs++
      if (this.#chance(0.03)) this.#restart()
      const isRoom = this.#writers.length < 5 && this.#chance(0.6)
      if (writesLeft > 0 && (isRoom || this.#writers.length === 0)) {
        writesLeft--
        this.#beginWrite()
      } else {
        await this.#step(this.#pick(this.#writers))
      }
      if (this.#chance(0.4)) await this.#checkSome()
    }
    await this.#checkAll()
  }

  #addBlob(make: (blob: BlobId) => Change<unknown>, bytes: Uint8Array): void {
    const blob = Buffer.from(chunkId(Buffer.from(`blob ${this.#model.size}`))).toString('hex')
    this.#keep(make(blob).rows)
    this.#model.set(blob, [bytes])
  }

  #beginWrite(): void {
    const blob = this.#pick(Array.from(this.#model.keys()))
    const published = this.#published(blob)
    if (published > 0 && this.#chance(0.12)) {
      const version = 1 + this.#below(published)
      const bytes = this.#model.get(blob)?.[version] ?? new Uint8Array()
      this.counts.clones++
      this.#addBlob((id) => this.#state.cloneBlob(id, { blob, version }, this.#nowMs), bytes)
      return
    }
    const { bytes: size, version } = this.#state.newest(blob)
    const kind = this.#pick(['patch', 'patch', 'append', 'replace', 'extend'] as const)
    const pieces = this.#makePieces(kind, size)
    const endBytes = Math.max(
      kind === 'extend' || kind === 'replace' ? this.#below(60) : 0,
      ...pieces.map((piece) => piece.offset + piece.bytes.byteLength)
    )
    const leaves = this.#leavesOf(pieces)
    const ranges = joinRanges(leaves.ranges(), this.#chance(0.3) ? 1 + this.#below(3) : 100)
    const leafList = chunkId(Buffer.from(`list ${this.#leafLists.size}`))
    this.#leafLists.set(chunkKey(leafList), Array.from(leaves))
    const isOutdated = kind === 'append' && this.#chance(0.1)
    const request = {
      blob,
      writer: 'writer',
      ranges,
      endBytes,
      leafList,
      truncates: kind === 'replace',
      ifBytes: kind === 'append' ? size + (isOutdated ? 1 : 0) : undefined
    }
    if (isOutdated) {
      expectConflict(() => this.#state.assign(request, this.#nowMs))
      this.counts.conflicts++
      return
    }
    this.counts.writes++
    if (kind === 'replace') this.counts.truncations++
    const change = this.#state.assign(request, this.#nowMs)
    this.#keep(change.rows)
    this.#pieces.set(`${blob}/${version + 1}`, pieces)
    const signed = signTicket(this.#manager, change.result)
    this.#writers.push({
      signed: verifyTicket(gullible, signed.envelope),
      leaves: Array.from(leaves),
      unstored: undefined,
      stepsLeft: this.#chance(0.2) ? this.#below(6) : Number.POSITIVE_INFINITY
    })
  }

  #makePieces(kind: 'patch' | 'append' | 'replace' | 'extend', size: number): Piece[] {
    if (kind === 'extend') return []
    const count = kind === 'append' ? 1 : this.#pick([1, 1, 1, 2, 3, 6])
    return Array.from({ length: count }, () => {
      const length = 1 + this.#below(this.#chance(0.2) ? 40 : 10)
      const bytes = this.#chance(0.1)
        ? new Uint8Array(length)
        : Uint8Array.from({ length }, () => 1 + this.#below(255))
      const reach = this.#chance(0.15) ? 200 : (kind === 'replace' ? 30 : size) + 6
      return { offset: kind === 'append' ? size : this.#below(reach), bytes }
    })
  }

  /** Cuts pieces on the grid; later ones lie over earlier ones. */
  #leavesOf(pieces: readonly Piece[]) {
    const builder = new LeafListBuilder()
    for (const { offset, bytes } of pieces) {
      const isZero = bytes.every((byte) => byte === 0)
      const chunk = isZero ? ZERO_CHUNK_ID : chunkId(bytes)
      this.#chunks.set(chunkKey(chunk), bytes)
      for (let done = 0; done < bytes.byteLength; ) {
        const at = (offset + done) % CHUNK_BYTES
        const length = Math.min(CHUNK_BYTES - at, bytes.byteLength - done)
        const index = Math.floor((offset + done) / CHUNK_BYTES)
        builder.add(index, { at, length, chunk, chunkOffset: done, replicas: isZero ? [] : ['p1'] })
        done += length
      }
    }
    return builder.build()
  }

  /** Lets a writer weave, store some of its nodes, commit, or die. */
  async #step(writer: Writer): Promise<void> {
    const { ticket } = writer.signed
    if (writer.stepsLeft-- <= 0) {
      if (this.#chance(0.5)) return
      await this.#rollForward(ticket.blob, ticket.version)
      if (this.#chance(0.5)) this.#forget(writer)
      else writer.stepsLeft = Number.POSITIVE_INFINITY // it was only slow
    } else if (writer.unstored === undefined) {
      const nodes = await this.#weave(writer.signed, writer.leaves)
      const proof = proveNodes(plainSigner('writer'), writer.signed.envelope, nodes)
      writer.unstored = { nodes, proof }
    } else if (writer.unstored.nodes.length > 0) {
      const { nodes, proof } = writer.unstored
      const some = nodes.filter(() => this.#chance(0.5))
      await this.#store.putNodes(some, proof)
      writer.unstored = { nodes: nodes.filter((node) => !some.includes(node)), proof }
    } else {
      this.#commit(ticket.blob, ticket.version)
      this.#forget(writer)
    }
  }

  /** Finishes a version in the place of its writer, from a ticket of now. */
  async #rollForward(blob: BlobId, version: Version): Promise<void> {
    const { condition, leafList } = this.#state.version(blob, version)
    if (condition === 'assigned') this.#keep(this.#state.fence(blob, version).rows)
    else if (condition !== 'fenced') return
    this.counts.repairs++
    const signed = signTicket(this.#manager, this.#state.ticket(blob, version))
    const nodes = await this.#weave(signed, this.#leafLists.get(chunkKey(leafList)) ?? [])
    await this.#store.putNodes(nodes, proveNodes(this.#manager, signed.envelope, nodes))
    this.#commit(blob, version)
  }

  async #weave({ ticket }: SignedTicket, leaves: readonly LeafEntry[]): Promise<KeyedNode[]> {
    const nodes: KeyedNode[] = []
    for await (const batch of weaveNodes(ticket, leaves, this.#store)) nodes.push(...batch)
    return nodes
  }

  #commit(blob: BlobId, version: Version): void {
    const { rows, result } = this.#state.commit(blob, version, this.#nowMs)
    this.#keep(rows)
    const versions = this.#model.get(blob) ?? []
    for (const row of result) {
      const bytes = new Uint8Array(row.bytes)
      if (!row.truncates) bytes.set((versions.at(-1) ?? bytes).subarray(0, row.bytes))
      for (const piece of this.#pieces.get(`${blob}/${row.version}`) ?? []) {
        bytes.set(piece.bytes, piece.offset)
      }
      versions.push(bytes)
    }
  }

  /** Begins again from what was made durable. */
  #restart(): void {
    this.counts.restarts++
    this.#state = new VersionManagerState({ leaseMs: 10 })
    const rows = Array.from(this.#rows.values())
    for (const row of rows.filter(({ kind }) => kind === 'blob')) this.#state.load(row)
    const versions = rows.filter((row) => row.kind === 'version')
    for (const row of versions.toSorted((a, b) => a.version - b.version)) this.#state.load(row)
  }

  async #checkSome(): Promise<void> {
    const blob = this.#pick(Array.from(this.#model.keys()))
    await this.#check(blob, this.#below(this.#published(blob) + 1))
  }

  async #checkAll(): Promise<void> {
    for (const [blob, versions] of this.#model) {
      if (this.#published(blob) !== this.#state.newest(blob).version) throw new Error('not live')
      for (const version of versions.keys()) await this.#check(blob, version)
    }
  }

  async #check(blob: BlobId, version: Version): Promise<void> {
    this.counts.reads++
    const expected = this.#model.get(blob)?.[version] ?? new Uint8Array()
    const offset = this.#chance(0.5) ? 0 : this.#below(expected.byteLength + 2)
    const length = offset === 0 ? expected.byteLength + 3 : this.#below(expected.byteLength + 2)
    const actual = await this.#read(blob, version, { offset, length })
    const part = expected.subarray(offset, offset + length)
    if (Buffer.compare(actual, part) !== 0) {
      const where = `version ${version}, ${length} bytes at ${offset}`
      throw new Error(`${where}: ${actual.join()} in place of ${part.join()}`)
    }
  }

  async #read(blob: BlobId, version: Version, range: ByteRange): Promise<Uint8Array> {
    const row = this.#rows.get(version === 0 ? blob : `${blob}/${version}`)
    const source = row?.kind === 'blob' ? row.source : undefined
    const root = row?.kind === 'version' ? { blob, version, span: row.span } : source?.root
    const bytes = row?.kind === 'version' ? row.bytes : (source?.bytes ?? 0)
    const snapshot = { root, bytes, chunkBytes: CHUNK_BYTES }
    const extents = await readExtents(this.#store, snapshot, range)
    return Buffer.concat(extents.map((extent) => this.#bytesOf(extent)))
  }

  #bytesOf({ chunk, chunkOffset, length }: Extent): Uint8Array {
    if (chunk === undefined || chunkKey(chunk) === chunkKey(ZERO_CHUNK_ID)) {
      return new Uint8Array(length)
    }
    const bytes = this.#chunks.get(chunkKey(chunk)) ?? new Uint8Array()
    return bytes.subarray(chunkOffset, chunkOffset + length)
  }

  #keep(rows: readonly StateRow[]): void {
    for (const row of rows) {
      if (row.kind === 'blob') this.#rows.set(row.blob, row)
      if (row.kind === 'version') this.#rows.set(`${row.blob}/${row.version}`, row)
    }
  }

  #published(blob: BlobId): Version {
    return this.#state.latest(blob)?.version ?? 0
  }

  #forget(writer: Writer): void {
    this.#writers = this.#writers.filter((other) => other !== writer)
  }

  #chance(probability: number): boolean {
    return this.#random() < probability
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[this.#below(items.length)]
    if (item === undefined) throw new RangeError('nothing to pick from')
    return item
  }
}

function expectConflict(run: () => unknown): void {
  try {
    run()
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_TICKET_CONFLICT') return
    throw error
  }
  throw new Error('an outdated append was taken')
}
