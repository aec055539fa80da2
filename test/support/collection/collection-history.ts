import type { Random } from '../../../src/lib/random.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import type { Collector } from '../../../src/metadata/collection.ts'
import type { FileEntry } from '../../../src/metadata/namespace-types.ts'
import type { BlobId, Version } from '../../../src/metadata/types.ts'
import type { ManualClock } from '../manual-clock.ts'
import type { TestRepository } from '../repository.ts'
import { sampleBytes } from '../sample-bytes.ts'
import { audit } from './audit.ts'
import { type CollectorParts, Gates } from './gates.ts'
import { openVersion } from './open-version.ts'
import { type Piece, type StepWrite, StepWriter } from './step-writer.ts'
import { collectorOf } from './test-collector.ts'

const CHUNK = 65_536
const PATHS = ['/a', '/b', '/c']

/** Parts of a collection that things happen in between. */
export const PHASES = ['idle', 'begin', 'roots', 'seal', 'mark', 'list', 'delete'] as const
export type Phase = (typeof PHASES)[number]

const PHASE_OF: Readonly<Record<string, Phase>> = {
  idle: 'idle',
  beginCollection: 'begin',
  applyRetention: 'roots',
  roots: 'roots',
  recordOf: 'seal',
  getPages: 'mark',
  unleased: 'list',
  nodeVersions: 'list',
  assigned: 'list',
  collect: 'delete',
  forget: 'delete'
}

export interface HistoryBench {
  readonly bench: TestRepository
  readonly leaseClock: ManualClock
  readonly leaseMs: number
  /** How often each deed followed each phase, by `deed in phase`. */
  readonly counts: Map<string, number>
  /** Does as much in the parts that come once a collection as in the others. @default false */
  readonly isEven?: boolean
  /** Puts something wrong in the place of a part, which the history has to find out. */
  readonly spoil?: ((parts: CollectorParts) => Partial<CollectorParts>) | undefined
}

/**
 * One random history: writers that dedup, removals, clones, holds and policies, step by step between
 * the calls of collections, beside plain arrays. Whatever can be read has to read as the arrays say
 * at any time, and in the end nothing else may be left.
 */
export class CollectionHistory {
  readonly #on: HistoryBench
  readonly #random: Random
  readonly #gates: Gates
  readonly #collector: Collector
  readonly #writers: StepWriter[] = []
  /** What was written over the version below, by blob and version. */
  readonly #writes = new Map<string, StepWrite>()
  /** What version 0 of a clone reads as. */
  readonly #sources = new Map<BlobId, Uint8Array>()
  readonly #holds: { blob: BlobId; version: Version; holder: string; purpose: string }[] = []
  #collecting: Promise<unknown> | undefined
  #clones = 0
  #held = 0

  constructor(seed: number, on: HistoryBench) {
    this.#on = on
    this.#random = seededRandom(seed)
    this.#gates = new Gates(this.#random)
    const parts = this.#gates.partsOf(on.bench)
    this.#collector = collectorOf(on.bench, { ...parts, ...on.spoil?.(parts) })
  }

  /** Plays the history. @throws {Error} at the first thing that is wrong. */
  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      if (this.#chance(this.#stepChance())) await this.#stepCollection()
      else await this.#deed()
    }
    await this.#finish()
  }

  #stepChance(): number {
    const phase = PHASE_OF[this.#gates.last]
    // Between a listing and the deletion most can go wrong.
    if (this.#on.isEven !== true) return phase === 'list' ? 0.2 : 0.45
    if (phase === undefined) return 0.45
    return phase === 'list' || phase === 'mark' ? 0.22 : 0.1
  }

  async #stepCollection(): Promise<void> {
    if (this.#collecting === undefined) {
      this.#collecting = this.#collector.collect({ isDryRun: this.#chance(0.1) }).then(
        () => this.#ended(),
        (error: unknown) => {
          this.#ended()
          throw error
        }
      )
      this.#collecting.catch(() => {}) // waited for at the end
      await this.#gates.settle()
    } else {
      await this.#gates.openOne()
    }
  }

  #ended(): void {
    this.#collecting = undefined
    this.#gates.last = 'idle'
  }

  async #deed(): Promise<void> {
    const { leaseClock, leaseMs } = this.#on
    const roll = this.#random()
    if (roll < 0.12 && this.#writers.length < 4) await this.#beginWrite()
    else if (roll < 0.64) await this.#stepWriter()
    else if (roll < 0.71) this.#count('time', leaseClock.advance(leaseMs * 0.4))
    else if (roll < 0.79) await this.#removeVersion()
    else if (roll < 0.84) await this.#removePath()
    else if (roll < 0.88) await this.#clone()
    else if (roll < 0.92) await this.#holdOrRelease()
    else if (roll < 0.95) await this.#setPolicy()
    else await this.#checkSome()
  }

  async #beginWrite(): Promise<void> {
    const paths = [...PATHS, ...(await this.#files()).map(({ path }) => path)]
    const path = this.#pick(paths)
    const description = await this.#on.bench.versions.namespace.reserve(path, {
      chunkBytes: CHUNK,
      replicas: 1
    })
    const pieces = Array.from({ length: 1 + this.#below(3) }, () => this.#makePiece())
    const write = { path, description, pieces, truncates: this.#chance(0.4) }
    const { bench, leaseClock: clock, leaseMs } = this.#on
    this.#writers.push(new StepWriter({ bench, clock, leaseMs, random: this.#random }, write))
    this.#count('reserve')
  }

  /** Few different contents, so that nearly everything has been stored before. */
  #makePiece(): Piece {
    const index = this.#below(4)
    const bytes = sampleBytes(CHUNK, 1 + this.#below(6))
    if (this.#chance(0.7)) return { index, at: 0, bytes }
    return { index, at: 1000 * this.#below(3), bytes: bytes.subarray(0, 1000) }
  }

  async #stepWriter(): Promise<void> {
    if (this.#writers.length === 0) return
    const writer = this.#pick(this.#writers)
    const step = await writer.step()
    this.#count(step)
    if (step === 'ticket' && writer.version !== undefined) {
      this.#writes.set(`${writer.write.description.blob}/${writer.version}`, writer.write)
    }
    const givesUp = !writer.hasTicket && this.#chance(0.05)
    if (writer.isEnded || givesUp) this.#writers.splice(this.#writers.indexOf(writer), 1)
  }

  async #removeVersion(): Promise<void> {
    const found = await this.#someVersion()
    if (found === undefined) return
    await this.#on.bench.versions.retire(found.blob, found.version)
    this.#count('retire')
  }

  async #removePath(): Promise<void> {
    const file = await this.#someFile()
    if (file === undefined) return
    await this.#on.bench.repository.remove(file.path)
    this.#count('remove')
  }

  async #clone(): Promise<void> {
    const found = await this.#someVersion()
    if (found === undefined || this.#clones >= (this.#on.isEven === true ? 16 : 6)) return
    const path = `/clone-${this.#clones++}`
    const { blob } = await this.#on.bench.versions.namespace.clone(found, path)
    this.#sources.set(blob, this.#contentOf(found.blob, found.version))
    this.#count('clone')
  }

  async #holdOrRelease(): Promise<void> {
    const { versions } = this.#on.bench
    if (this.#holds.length > 0 && this.#chance(0.5)) {
      const [hold] = this.#holds.splice(0, 1)
      if (hold !== undefined) await versions.release(hold)
      return
    }
    const found = await this.#someVersion()
    if (found === undefined) return
    const hold = { ...found, holder: 'peer', purpose: `hold ${this.#held++}` }
    await versions.hold({ ...hold, forMs: 1_000_000 })
    this.#holds.push(hold)
    this.#count('hold')
  }

  async #setPolicy(): Promise<void> {
    const file = await this.#someFile()
    if (file === undefined) return
    const policy = this.#chance(0.5) ? { last: 1 + this.#below(2) } : undefined
    await this.#on.bench.versions.namespace.setRetention(file.path, policy)
    this.#count('policy')
  }

  async #checkSome(): Promise<void> {
    const found = await this.#someVersion()
    if (found !== undefined) await this.#check(found.blob, found.version)
    const [hold] = this.#holds
    if (hold !== undefined) await this.#check(hold.blob, hold.version)
    this.#count('read')
  }

  /** Lets everybody finish, then collects what is left. */
  async #finish(): Promise<void> {
    const { bench, leaseClock, leaseMs } = this.#on
    await this.#endCollection()
    for (const writer of this.#writers.splice(0)) {
      while (!writer.isEnded) {
        const step = await writer.step()
        if (step === 'ticket' && writer.version !== undefined) {
          this.#writes.set(`${writer.write.description.blob}/${writer.version}`, writer.write)
        }
      }
    }
    await this.#checkAll()
    for (const hold of this.#holds.splice(0)) await bench.versions.release(hold)
    // The first may have to seal what it keeps, on top of versions that are retired; what it has
    // stored of those is the second one's.
    for (let turn = 0; turn < 2; turn++) {
      leaseClock.advance(leaseMs * 3)
      await collectorOf(bench).collect({ isDryRun: false })
    }
    await this.#checkAll()
    const { missing, left } = await audit(bench)
    for (const [what, names] of Object.entries({ missing, left })) {
      if (names.length === 0) continue
      throw new Error(`${names.length} ${what}: ${names.slice(0, 5).join(', ')} …`)
    }
  }

  async #endCollection(): Promise<void> {
    const collecting = this.#collecting
    while (this.#collecting !== undefined && this.#gates.isWaiting) await this.#gates.openOne()
    await collecting
  }

  async #checkAll(): Promise<void> {
    for (const { blob } of await this.#files()) {
      for (const { version } of await this.#on.bench.versions.history(blob)) {
        await this.#check(blob, version)
      }
    }
    for (const { blob, version } of this.#holds) await this.#check(blob, version)
  }

  async #check(blob: BlobId, version: Version): Promise<void> {
    const snapshot = await openVersion(this.#on.bench, { blob, version })
    const parts = await Array.fromAsync(snapshot.read({ offset: 0, length: snapshot.bytes }))
    const expected = this.#contentOf(blob, version)
    if (Buffer.compare(Buffer.concat(parts), expected) !== 0) {
      throw new Error(`version ${version} of ${blob.slice(0, 8)} reads as something else`)
    }
  }

  #contentOf(blob: BlobId, version: Version): Uint8Array {
    if (version === 0) return this.#sources.get(blob) ?? new Uint8Array()
    const write = this.#writes.get(`${blob}/${version}`)
    if (write === undefined) throw new Error(`nobody wrote version ${version}`)
    const { pieces, truncates } = write
    const below = truncates ? new Uint8Array() : this.#contentOf(blob, version - 1)
    const ends = pieces.map(({ index, at, bytes }) => index * CHUNK + at + bytes.byteLength)
    const content = new Uint8Array(Math.max(below.byteLength, ...ends))
    content.set(below)
    for (const { index, at, bytes } of pieces) content.set(bytes, index * CHUNK + at)
    return content
  }

  async #files(): Promise<FileEntry[]> {
    const entries = await Array.fromAsync(this.#on.bench.repository.list('/'))
    return entries.filter((entry) => entry.kind === 'file')
  }

  async #someFile(): Promise<FileEntry | undefined> {
    const files = await this.#files()
    return files.length === 0 ? undefined : this.#pick(files)
  }

  async #someVersion(): Promise<{ blob: BlobId; version: Version } | undefined> {
    const file = await this.#someFile()
    if (file === undefined) return undefined
    const { blob } = file
    const history = await this.#on.bench.versions.history(blob)
    return history.length === 0 ? undefined : { blob, version: this.#pick(history).version }
  }

  #count(deed: string, _done?: unknown): void {
    const name = `${deed} in ${PHASE_OF[this.#gates.last] ?? this.#gates.last}`
    const { counts } = this.#on
    counts.set(name, (counts.get(name) ?? 0) + 1)
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
