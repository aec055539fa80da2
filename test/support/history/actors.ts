import { ZERO_CHUNK_ID } from '../../../src/chunks/chunk-id.ts'
import { errorCode } from '../../../src/lib/errors.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { VersionPublisher } from '../../../src/metadata/publishing.ts'
import { RollForward } from '../../../src/metadata/roll-forward.ts'
import type { MetadataStore } from '../../../src/metadata/store-types.ts'
import type { SignedTicket } from '../../../src/metadata/ticket-types.ts'
import { proveNodes } from '../../../src/metadata/tickets.ts'
import type { KeyedNode } from '../../../src/metadata/tree-types.ts'
import type { BlobId, VersionRef } from '../../../src/metadata/types.ts'
import { storeLeafPages } from '../../../src/metadata/version-requests.ts'
import type { VersionRow } from '../../../src/metadata/version-rows.ts'
import { plainSigner } from '../plain-signing.ts'
import { cellsIn } from './cells.ts'
import { HistoryFailure } from './failure.ts'
import { gatedStore } from './gated-store.ts'
import { nameOf } from './model.ts'
import type { HistoryParts } from './parts.ts'
import { compareCells } from './reading.ts'
import { Actor } from './scheduler.ts'
import { HistorySealer } from './sealing.ts'
import { type MergeSource, type PreparedWrite, WriteMaker } from './writes.ts'

/** A writer after its ticket. */
interface Writer {
  readonly actor: Actor
  signed: SignedTicket | undefined
  /** Nodes that it has stored, all of them once it is done. */
  readonly nodes: KeyedNode[]
}

/**
 * Starts the writers, repairers and sealers of a history. Each is the real thing, and each of its
 * calls waits in the scheduler; some are going to crash after a few calls.
 */
export class HistoryActors {
  readonly #parts: HistoryParts
  readonly #writes: WriteMaker
  #writers = 0
  #started = 0
  #failure: HistoryFailure | undefined

  constructor(parts: HistoryParts) {
    this.#parts = parts
    this.#writes = new WriteMaker(parts)
  }

  /** Writers that have neither ended nor crashed. */
  get writers(): number {
    return this.#writers
  }

  /** @throws {HistoryFailure} if an actor has failed that must not. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Lets a new writer write something over the newest version of a blob. */
  async startWriter(blob: BlobId): Promise<void> {
    this.#writers++
    const { bytes, version } = this.#parts.versions.newest(blob)
    const stored = { description: this.#parts.versions.describe(blob) }
    const newest = { stored, cells: cellsIn(bytes, 'size'), newest: version }
    const prepared = await this.#writes.make(newest, this.#mergeSource())
    const actor = this.#actor('writer', 0.25, 12)
    const writer: Writer = { actor, signed: undefined, nodes: [] }
    actor.onCrash = () => {
      this.#writers--
      if (writer.signed !== undefined) this.#parts.counts.crashesInFlight++
    }
    this.#parts.scheduler.start(
      actor,
      () => this.#write(writer, prepared),
      (failure) => {
        this.#writers--
        const isRefused = errorCode(failure) === 'ERR_TICKET_CONFLICT'
        const isConditional = prepared.stored.ifNewest !== undefined
        if (!isRefused || !isConditional) this.#fail(actor, failure)
      }
    )
  }

  async #write(writer: Writer, { stored, ...asked }: PreparedWrite): Promise<void> {
    const { actor } = writer
    const onTicket = (signed: SignedTicket): void => {
      writer.signed = signed
    }
    const metadata = this.#gated(actor, writer)
    const versions = this.#parts.versions.forWriter(actor, { ...asked, onTicket })
    const publisher = new VersionPublisher({
      versions: {
        ...versions,
        assign: async (request) => {
          await storeLeafPages(request, metadata, {})
          return await versions.assign(request)
        }
      },
      metadata,
      signer: plainSigner(actor.name),
      clock: this.#parts.clock,
      logger: noLogger.forComponent('writer')
    })
    const { version } = await publisher.publish(stored)
    const { blob } = stored.description
    if (!this.#parts.versions.isPublished({ blob, version })) {
      throw new HistoryFailure(`${nameOf({ blob, version })} was acknowledged and is not published`)
    }
    if (this.#parts.dice.chance(0.2)) await this.#rewrite(writer)
  }

  /** Tries to put zeros in the place of what a published version has, by the writer itself. */
  async #rewrite({ actor, signed, nodes }: Writer): Promise<void> {
    const victim = nodes.find(({ node }) => node.kind === 'leaf' && node.fragments.length > 0)
    if (victim?.node.kind !== 'leaf' || signed === undefined) return
    const fragments = victim.node.fragments.map((fragment) => ({
      ...fragment,
      chunk: ZERO_CHUNK_ID,
      chunkOffset: 0,
      replicas: []
    }))
    const forged: KeyedNode[] = [{ key: victim.key, node: { ...victim.node, fragments } }]
    const proof = proveNodes(plainSigner(actor.name), signed.envelope, forged)
    try {
      await this.#parts.store.putNodes(forged, proof)
    } catch (error) {
      if (errorCode(error) !== 'ERR_NODE_CONFLICT') throw error
      this.#parts.counts.rewrites++
    }
  }

  /** Lets somebody finish a version in the place of its writer. */
  startRepairer(row: VersionRow): void {
    this.#parts.counts.repairs++
    if (this.#parts.versions.countRepairs(row, 1) > 1) this.#parts.counts.doubleRepairs++
    const end = (): void => void this.#parts.versions.countRepairs(row, -1)
    const actor = this.#actor('repairer', 0.15, 6)
    actor.onCrash = end
    const { promise: done, resolve } = Promise.withResolvers<void>()
    const repairer = new RollForward({
      versions: this.#parts.versions.forRepairer(actor, row, resolve),
      metadata: this.#gated(actor),
      signer: this.#parts.manager,
      clock: this.#parts.clock,
      logger: noLogger.forComponent('repairer')
    })
    const work = async (): Promise<void> => {
      repairer.check()
      await done
    }
    this.#parts.scheduler.start(actor, work, end)
  }

  /** Lets somebody seal a version, call by call, and look at what came out. */
  startSealer(ref: VersionRef): void {
    const actor = this.#actor('sealer', 0.2, 20)
    actor.onCrash = () => this.#parts.counts.cutSeals++
    const turn = { actor, scheduler: this.#parts.scheduler }
    const sealer = new HistorySealer(this.#parts, { metadata: this.#gated(actor), turn })
    const { model, reader } = this.#parts
    const work = async (): Promise<void> => {
      const cells = await reader.manifestCells(await sealer.record(ref))
      compareCells(cells, model.cells(ref), { ref, by: 'manifest' })
    }
    this.#parts.scheduler.start(actor, work, (failure) => this.#fail(actor, failure))
  }

  #mergeSource(): MergeSource | undefined {
    const blob = this.#parts.dice.pick(this.#parts.model.blobs)
    const ref = { blob, version: this.#parts.dice.below(this.#parts.versions.published(blob) + 1) }
    const cells = this.#parts.model.cells(ref)
    if (cells.byteLength === 0) return undefined
    return {
      cells,
      extents: (offset, length) => this.#parts.reader.extents(ref, { offset, length })
    }
  }

  #gated(actor: Actor, writer?: Writer): MetadataStore {
    return gatedStore(actor, {
      store: this.#parts.store,
      scheduler: this.#parts.scheduler,
      dice: this.#parts.dice,
      lossChance: writer === undefined ? 0 : 0.01,
      onLoss: () => this.#parts.counts.partialPuts++,
      onPut: (nodes) => {
        if (writer?.signed === undefined) return
        writer.nodes.push(...nodes)
        const { condition } = this.#parts.versions.row(writer.signed.ticket)
        if (condition !== 'assigned') this.#parts.counts.zombiePuts++
      }
    })
  }

  /** An actor that crashes within `calls` calls if chance wants it. */
  #actor(role: string, crashChance: number, calls: number): Actor {
    const { dice } = this.#parts
    const crashesAfter = dice.chance(crashChance) ? dice.below(calls) : Number.POSITIVE_INFINITY
    return new Actor(`${role}-${this.#started++}`, crashesAfter)
  }

  #fail({ name }: Actor, cause: unknown): void {
    if (cause === undefined) return
    this.#failure ??= new HistoryFailure(`${name} failed`, { cause })
  }
}
