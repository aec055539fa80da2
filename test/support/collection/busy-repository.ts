import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode } from '../../../src/lib/errors.ts'
import { type Random, seededRandom } from '../../../src/lib/random.ts'
import type { Collector } from '../../../src/metadata/collection.ts'
import type { FileEntry } from '../../../src/metadata/namespace-types.ts'
import type { BlobId, Version, VersionRef } from '../../../src/metadata/types.ts'
import { startTestRepository, type TestRepository } from '../repository.ts'
import { type Audit, audit } from './audit.ts'
import { openVersion } from './open-version.ts'
import { applied, bytesOf, CHUNK_BYTES, contentOf, type Put, type Recipe } from './recipes.ts'
import { collectorOf } from './test-collector.ts'

export interface BusyOptions {
  readonly seed: number
  readonly forMs: number
  readonly writers: number
  readonly leaseMs: number
}

/** What happened, to see that enough did. */
export interface BusyCounts {
  published: number
  clones: number
  removals: number
  refused: number
  reads: number
  heldReads: number
  collections: number
  collectedChunks: number
  collectedNodes: number
  forgottenBlobs: number
}

interface Write {
  readonly puts: readonly Put[]
  readonly isReplace: boolean
}

const SHARED = ['/shared-0', '/shared-1', '/shared-2']
const READERS = 2
const MAX_CLONES = 12

/** Different chunk contents, few, so that nearly every write finds its chunks stored already. */
const SEEDS = 24

/**
 * Failures of a write or a read that somebody else's removal explains. Others fail the run.
 */
const REFUSALS = new Set([
  'ERR_TICKET_CONFLICT',
  'ERR_PATH_NOT_FOUND',
  'ERR_UNKNOWN_VERSION',
  'ERR_UNKNOWN_BLOB'
])

/**
 * A whole repository on disk in which writers push, patch, clone and remove images that share most
 * of their chunks, readers compare what they find with what was written, and collections run
 * one after the other.
 */
export class BusyRepository {
  readonly counts: BusyCounts = {
    published: 0,
    clones: 0,
    removals: 0,
    refused: 0,
    reads: 0,
    heldReads: 0,
    collections: 0,
    collectedChunks: 0,
    collectedNodes: 0,
    forgottenBlobs: 0
  }
  readonly #options: BusyOptions
  readonly #bench: TestRepository
  readonly #collector: Collector
  /** What was written, by the note of the version. */
  readonly #writes = new Map<string, Write>()
  readonly #recipes = new Map<string, Promise<Recipe>>()
  readonly #ended = new AbortController()
  #nextNote = 0
  #nextClone = 0

  private constructor(options: BusyOptions, bench: TestRepository) {
    this.#options = options
    this.#bench = bench
    this.#collector = collectorOf(bench)
  }

  static async start(options: BusyOptions): Promise<BusyRepository> {
    const { leaseMs } = options
    const bench = await startTestRepository({
      stores: 'disk',
      providerCount: 2,
      chunkBytes: CHUNK_BYTES,
      leaseMs
    })
    return new BusyRepository(options, bench)
  }

  async stop(): Promise<void> {
    await this.#collector.stop()
    await this.#bench.stop()
  }

  /** Lets everybody work for a while. @throws {Error} at the first thing that is wrong. */
  async run(onProgress: (counts: BusyCounts) => void = () => {}): Promise<void> {
    const { seed, forMs, writers } = this.#options
    const tasks = [
      ...Array.from({ length: writers }, (_, at) => this.#write(at, seededRandom(seed * 100 + at))),
      ...Array.from({ length: READERS }, (_, at) => this.#read(seededRandom(seed * 100 + 50 + at))),
      this.#collect(() => onProgress(this.counts))
    ].map(async (task) => {
      try {
        await task
      } catch (error) {
        this.#ended.abort(error)
        throw error
      }
    })
    const timer = setTimeout(() => this.#ended.abort(), forMs)
    const outcomes = await Promise.allSettled(tasks)
    clearTimeout(timer)
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  /** Compares every version that can be read with what was written, then collects the rest. */
  async finish(): Promise<Audit> {
    await this.#checkAll()
    await sleep(this.#options.leaseMs * 2.5)
    await this.#collectOnce()
    await this.#checkAll()
    return await audit(this.#bench)
  }

  get #isOver(): boolean {
    return this.#ended.signal.aborted
  }

  async #write(number: number, random: Random): Promise<void> {
    const { repository } = this.#bench
    const own = `/own-${number}`
    while (!this.#isOver) {
      const roll = random()
      const path = random() < 0.5 ? own : (SHARED[Math.floor(random() * SHARED.length)] ?? own)
      await this.#unlessRefused(async () => {
        if (roll < 0.78) await this.#push(path, random)
        else if (roll < 0.86) await this.#clone(random)
        else if (roll < 0.93) await this.#removeVersion(random)
        else if (roll < 0.97) await this.#setPolicy(path, random)
        else {
          const clones = (await this.#files()).filter((file) => file.path.startsWith('/clone'))
          const gone = random() < 0.6 ? pick(clones, random)?.path : path
          if (gone !== undefined) await repository.remove(gone)
          this.counts.removals++
        }
      })
    }
  }

  async #push(path: string, random: Random): Promise<void> {
    const below = (limit: number): number => Math.floor(random() * limit)
    const isReplace = random() < 0.4
    const puts = Array.from({ length: 1 + below(4) }, (_, at): Put => {
      const index = isReplace ? at : below(6)
      const isWhole = random() < 0.75
      return {
        index,
        at: isWhole ? 0 : 1000 * below(20),
        length: isWhole ? CHUNK_BYTES : 500 + below(3) * 1000,
        seed: 1 + below(SEEDS)
      }
    })
    const note = `write ${this.#nextNote++}`
    this.#writes.set(note, { puts, isReplace })
    const mode = isReplace ? 'replace' : 'patch'
    const writer = await this.#bench.repository.openWrite(path, { mode, note })
    try {
      for (const put of puts) await writer.write(put.index * CHUNK_BYTES + put.at, bytesOf(put))
      await writer.publish()
      this.counts.published++
    } finally {
      await writer.abort()
    }
  }

  async #clone(random: Random): Promise<void> {
    const { versions } = this.#bench
    const found = await this.#someVersion(random)
    const clones = (await this.#files()).filter(({ path }) => path.startsWith('/clone'))
    if (found === undefined || clones.length >= MAX_CLONES) return
    const recipe = await this.#recipeOf(found)
    // Nobody knows of it before its content is known, so that whoever finds it can check it.
    const { blob } = await versions.namespace.clone(found, `/clone-${this.#nextClone++}`)
    this.#recipes.set(`${blob}/0`, Promise.resolve(recipe))
    this.counts.clones++
  }

  async #removeVersion(random: Random): Promise<void> {
    const found = await this.#someVersion(random)
    if (found === undefined) return
    await this.#bench.versions.retire(found.blob, found.version)
    this.counts.removals++
  }

  async #setPolicy(path: string, random: Random): Promise<void> {
    await this.#bench.versions.namespace.setRetention(path, { last: 2 + Math.floor(random() * 3) })
  }

  async #read(random: Random): Promise<void> {
    while (!this.#isOver) {
      const found = await this.#someVersion(random)
      if (found === undefined) await sleep(20)
      else if (random() < 0.5) await this.#readHeld(found)
      else await this.#readFreely(found)
    }
  }

  /** A version that is held can be read, whatever happens. */
  async #readHeld(ref: VersionRef): Promise<void> {
    const { versions } = this.#bench
    const hold = { ...ref, holder: 'reader', purpose: `read ${this.#nextNote++}` }
    const isHeld = await this.#unlessRefused(async () => {
      await versions.hold({ ...hold, forMs: 60_000 })
    })
    if (!isHeld) return
    const recipe = await this.#recipeOf(ref)
    await this.#check(ref, recipe)
    await versions.release(hold)
    this.counts.heldReads++
  }

  /** Who does not hold a version may lose it, but only to a removal. */
  async #readFreely(ref: VersionRef): Promise<void> {
    try {
      await this.#check(ref, await this.#recipeOf(ref))
      this.counts.reads++
    } catch (error) {
      const isThere = await this.#isReadable(ref)
      if (isThere)
        throw new Error(`version ${ref.version} lost: ${String(error)}`, { cause: error })
      this.counts.refused++
    }
  }

  async #isReadable({ blob, version }: VersionRef): Promise<boolean> {
    let isThere = false
    await this.#unlessRefused(async () => {
      const history = await this.#bench.versions.history(blob)
      isThere = history.some((summary) => summary.version === version)
    })
    return isThere
  }

  async #collect(onProgress: () => void): Promise<void> {
    while (!this.#isOver) {
      await this.#collectOnce()
      onProgress()
    }
  }

  async #collectOnce(): Promise<void> {
    const report = await this.#collector.collect({ isDryRun: false })
    if (report.missed.length > 0) throw new Error(`missed ${report.missed.join(', ')}`)
    this.counts.collections++
    this.counts.collectedChunks += report.chunks.count
    this.counts.collectedNodes += report.nodes.count
    this.counts.forgottenBlobs += report.forgottenBlobs
  }

  async #checkAll(): Promise<void> {
    for (const { blob } of await this.#files()) {
      for (const { version } of await this.#bench.versions.history(blob)) {
        await this.#check({ blob, version }, await this.#recipeOf({ blob, version }))
      }
    }
  }

  async #check(ref: VersionRef, recipe: Recipe): Promise<void> {
    const snapshot = await openVersion(this.#bench, ref)
    const read = snapshot.read({ offset: 0, length: snapshot.bytes })
    const content = Buffer.concat(await Array.fromAsync(read))
    if (!content.equals(contentOf(recipe))) {
      throw new Error(`version ${ref.version} of ${ref.blob.slice(0, 8)} reads as something else`)
    }
  }

  async #recipeOf({ blob, version }: VersionRef): Promise<Recipe> {
    const key = `${blob}/${version}`
    const known = this.#recipes.get(key)
    if (known !== undefined) return await known
    if (version === 0) return []
    const { note } = await this.#bench.versions.waitPublished(blob, version)
    const write = this.#writes.get(note)
    if (write === undefined) throw new Error(`nobody wrote version ${version}`)
    const below = write.isReplace ? [] : await this.#recipeOf({ blob, version: version - 1 })
    const recipe = applied(below, write.puts)
    this.#recipes.set(key, Promise.resolve(recipe))
    return recipe
  }

  async #files(): Promise<FileEntry[]> {
    const entries = await Array.fromAsync(this.#bench.repository.list('/'))
    return entries.filter((entry) => entry.kind === 'file')
  }

  /** A version that can be read, of a file whose content is known. */
  async #someVersion(random: Random): Promise<{ blob: BlobId; version: Version } | undefined> {
    const file = pick(await this.#files(), random)
    if (file === undefined) return undefined
    const { blob, path } = file
    if (path.startsWith('/clone') && !this.#recipes.has(`${blob}/0`)) return undefined
    let found: { blob: BlobId; version: Version } | undefined
    await this.#unlessRefused(async () => {
      const summary = pick(await this.#bench.versions.history(blob), random)
      if (summary !== undefined) found = { blob, version: summary.version }
    })
    return found
  }

  /** @returns false if somebody else had removed what it is about. */
  async #unlessRefused(work: () => Promise<void>): Promise<boolean> {
    try {
      await work()
      return true
    } catch (error) {
      if (!REFUSALS.has(errorCode(error) ?? '')) throw error
      this.counts.refused++
      return false
    }
  }
}

function pick<T>(items: readonly T[], random: Random): T | undefined {
  return items[Math.floor(random() * items.length)]
}
