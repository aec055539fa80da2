import { LeafListBuilder } from '../../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../../src/metadata/leaf-list-codec.ts'
import type { BlobId, VersionRef } from '../../../src/metadata/types.ts'
import { ManualClock } from '../manual-clock.ts'
import { plainSigner } from '../plain-signing.ts'
import { HistoryActors } from './actors.ts'
import { CELL_BYTES, CellPool } from './cells.ts'
import { HistoryChecks } from './checks.ts'
import type { HistoryCounts } from './counts.ts'
import { Dice } from './dice.ts'
import { HistoryFailure } from './failure.ts'
import { HistoryModel } from './model.ts'
import type { HistoryParts } from './parts.ts'
import { HistoryReader } from './reading.ts'
import { type HistoryRules, REAL_RULES } from './rules.ts'
import { type CallKind, Scheduler } from './scheduler.ts'
import { HistoryVersions } from './versions.ts'

/** Versions of one blob that are in flight at some time in every history. */
const MIN_IN_FLIGHT = 3

/** Writes and clones of a history at least. */
const MIN_OPERATIONS = 20

const MAX_WRITERS = 6

/** Turns in which nothing moves before a history counts as stuck. */
const MAX_IDLE_TURNS = 200

/** Steps of a history; ordinary ones have a tenth of that. */
const MAX_STEPS = 10_000

/** What is held back until enough versions are in flight. */
const FINISHING: ReadonlySet<CallKind> = new Set(['commit'])
const NOTHING: ReadonlySet<CallKind> = new Set()

/**
 * One random history of concurrent writers on a few blobs, over the real rules, tree, sealing and
 * store, beside a plain array a version. Every call of a writer, repairer or sealer is a step, and
 * chance draws whose is next. Writers crash before or after any call and are rolled forward, by
 * several repairers at once; some only sleep and go on later; the version manager restarts from its
 * rows; versions are read and sealed while others are in flight. In the end every version must read
 * the same through its tree, through its manifest and in the model.
 */
export class TreeHistory {
  readonly #parts: HistoryParts
  readonly #actors: HistoryActors
  readonly #checks: HistoryChecks
  /** When each version was first seen without its writer's commit, in steps. */
  readonly #openSince = new Map<string, number>()
  #operationsLeft: number
  #step = 0

  constructor(seed: number, counts: HistoryCounts, rules: HistoryRules = REAL_RULES) {
    const dice = new Dice(seed)
    const shared = {
      counts,
      dice,
      clock: new ManualClock(),
      pool: new CellPool(),
      model: new HistoryModel(),
      manager: plainSigner('manager'),
      store: rules.newStore(),
      scheduler: new Scheduler(dice)
    }
    const versions = new HistoryVersions({ ...shared, rules })
    const reader = new HistoryReader({ ...shared, versions })
    this.#parts = { ...shared, versions, reader }
    this.#actors = new HistoryActors(this.#parts)
    this.#checks = new HistoryChecks(this.#parts)
    this.#operationsLeft = MIN_OPERATIONS + dice.below(4)
  }

  /** Plays the history. @throws {Error} at the first thing that must not be. */
  async run(): Promise<void> {
    await this.#parts.store.putPages(Array.from(encodeLeafList(new LeafListBuilder().build())))
    const blob = this.#parts.versions.create(
      this.#parts.dice.chance(0.5) ? 0 : this.#parts.dice.below(80) * CELL_BYTES
    )
    await this.#gather(blob)
    this.#parts.scheduler.sleepChance = 0.02
    await this.#play()
    await this.#checks.all()
    this.#parts.counts.histories++
    this.#parts.counts.steps += this.#step
    this.#parts.counts.crashes += this.#parts.scheduler.crashes
  }

  /** Starts writers and lets none finish until enough of them are in flight. */
  async #gather(blob: BlobId): Promise<void> {
    this.#parts.scheduler.heldBack = FINISHING
    while (this.#parts.versions.inFlight(blob) < MIN_IN_FLIGHT) {
      if (this.#actors.writers < MIN_IN_FLIGHT) await this.#startWriter(blob)
      await this.#advance()
    }
    this.#parts.scheduler.heldBack = NOTHING
  }

  async #play(): Promise<void> {
    for (let idle = 0; this.#operationsLeft > 0 || this.#isBusy(); ) {
      if (this.#parts.dice.chance(0.02)) this.#restart()
      if (this.#parts.dice.chance(0.006)) this.#startSeal()
      if (this.#parts.dice.chance(0.04)) this.#startRepair()
      if (this.#parts.dice.chance(0.02)) await this.#checks.some(this.#somePublished())
      const isRoom = this.#actors.writers < MAX_WRITERS
      if (this.#operationsLeft > 0 && isRoom && this.#parts.dice.chance(0.1)) await this.#operate()
      idle = (await this.#advance()) ? 0 : idle + 1
      if (idle > 0 && this.#parts.dice.chance(0.3)) this.#startRepair()
      if (idle > MAX_IDLE_TURNS) throw new HistoryFailure('nothing moves any more')
      if (this.#step > MAX_STEPS) throw new HistoryFailure('a version is never finished')
    }
  }

  /** Makes one step. @returns false if nobody could move. */
  async #advance(): Promise<boolean> {
    const steps = await this.#parts.scheduler.step()
    this.#step += steps
    this.#parts.clock.advance(steps)
    this.#actors.check()
    return steps === 1
  }

  #isBusy(): boolean {
    return this.#parts.scheduler.actors.size > 0 || this.#parts.versions.open().length > 0
  }

  #restart(): void {
    this.#parts.counts.restarts++
    this.#parts.versions.restart()
  }

  async #operate(): Promise<void> {
    const blob = this.#parts.dice.pick(this.#parts.model.blobs)
    const from = { blob, version: this.#parts.dice.below(this.#parts.versions.published(blob) + 1) }
    const isReadable = from.version > 0 || this.#parts.versions.sourceOf(blob) !== undefined
    if (isReadable && this.#parts.model.blobs.length < 4 && this.#parts.dice.chance(0.12)) {
      this.#operationsLeft--
      this.#parts.counts.clones++
      if (from.version === 0) this.#parts.counts.clonesOfClones++
      this.#parts.versions.clone(from)
    } else {
      await this.#startWriter(blob)
    }
  }

  async #startWriter(blob: BlobId): Promise<void> {
    this.#operationsLeft--
    await this.#actors.startWriter(blob)
  }

  /** Lets somebody finish a version whose writer seems to be gone, or not even that. */
  #startRepair(): void {
    const open = this.#parts.versions.open()
    if (open.length === 0) return
    const row = this.#parts.dice.pick(open)
    const key = `${row.blob}/${row.version}`
    const since = this.#openSince.get(key)
    if (since === undefined) this.#openSince.set(key, this.#step)
    const isOld = since !== undefined && this.#step - since > 40
    if (!isOld && this.#parts.dice.chance(0.9)) return
    this.#actors.startRepairer(row)
  }

  /** Lets one or two seal a version, call by call. */
  #startSeal(): void {
    const ref = this.#somePublished()
    if (ref.version === 0) return
    this.#actors.startSealer(ref)
    if (this.#parts.versions.seal(ref) !== undefined || this.#parts.dice.chance(0.6)) return
    this.#parts.counts.doubleSeals++
    this.#actors.startSealer(ref)
  }

  #somePublished(): VersionRef {
    const blob = this.#parts.dice.pick(this.#parts.model.blobs)
    return { blob, version: this.#parts.dice.below(this.#parts.versions.published(blob) + 1) }
  }
}
