import { chunkKey } from '../chunks/chunk-id.ts'
import type { ChunkSource } from '../chunks/maintenance-types.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { Wakeup } from '../lib/wakeup.ts'
import type { RepairDeeds } from './repair-deeds.ts'
import { type CopyJob, CopyJobs } from './repair-jobs.ts'
import { CopyQueue, RecentCopies, type WantedCopies } from './repair-queue.ts'
import type { LocationEdits } from './repair-records.ts'
import type { RepairSearch } from './repair-search.ts'
import type { RepairerComponents, RepairTally } from './repair-types.ts'

/** Chunks that a provider is asked to copy at once. */
const CHUNKS_PER_JOB = 64

/** Sources that a provider is told of. */
const MAX_SOURCES = 16

/** Chunks that are placed in one call. */
const CHUNKS_PER_PLACEMENT = 1024

/** Chunks that have their places and wait for their target. */
const MAX_PLACED = 4096

/** Times that a chunk is tried in one look. */
const MAX_TRIES = 3

/** Chunks after which the records that name them are written. */
const CHUNKS_PER_RECORDS = 1024

/** A chunk some of whose copies are on their way. */
interface Progress {
  readonly wanted: WantedCopies
  readonly made: ProviderId[]
  /** Targets that failed it, and were not at fault only for a moment. */
  readonly failedAt: ProviderId[]
  /** Jobs that it is in, and those it shall be in. */
  open: number
  /** Copies for which there was no place. */
  unplaced: number
}

type Job = CopyJob<Progress>

export interface RepairCopiesComponents
  extends Pick<RepairerComponents, 'providers' | 'directory' | 'random' | 'addressesOf'> {
  readonly edits: LocationEdits
  readonly tally: RepairTally
  readonly deeds: RepairDeeds
  readonly log: Logger
  readonly search: RepairSearch
}

export interface RepairCopiesOptions {
  /** Calls at the same time, of all targets together. */
  readonly maxCopies: number
  /** Chunks that wait. */
  readonly maxQueued: number
  /** Size of a chunk, as far as that is known. */
  readonly chunkBytes: number
}

/**
 * Has copies made: last copies first, a few targets side by side, each of which fetches what it
 * lacks from the sources itself. Lasts as long as one look.
 */
export class RepairCopies {
  readonly #components: RepairCopiesComponents
  readonly #options: RepairCopiesOptions
  readonly #queue: CopyQueue
  readonly #recent: RecentCopies
  /** Chunks that wait or are on their way, by their map keys. */
  readonly #known = new Map<string, WantedCopies>()
  readonly #jobs = new CopyJobs<Progress>()
  /** Targets that have failed in this look. */
  readonly #failed = new Set<ProviderId>()
  readonly #wakeup = new Wakeup()
  #isClosed = false
  #isCut = false

  constructor(components: RepairCopiesComponents, options: RepairCopiesOptions) {
    this.#components = components
    this.#options = options
    this.#queue = new CopyQueue(options.maxQueued)
    this.#recent = new RecentCopies(options.maxQueued)
  }

  /** Copies that are waited for. */
  get pending(): number {
    let copies = 0
    for (const { count } of this.#known.values()) copies += count
    return copies
  }

  /** Who has got a copy of the chunk with this map key in this look. */
  madeOf(key: string): readonly ProviderId[] {
    return this.#recent.of(key)
  }

  /** Has a chunk copied; one that waits already only learns of further pages. */
  add(wanted: WantedCopies): void {
    if (this.#isCut) {
      this.#components.tally.dropped++
      return
    }
    const key = chunkKey(wanted.id)
    const known = this.#known.get(key)
    if (known !== undefined) {
      for (const page of wanted.pages) known.pages.add(page)
      return
    }
    this.#known.set(key, wanted)
    this.#enqueue(wanted)
    this.#wakeup.wake()
  }

  /** Nothing will be added any more: `run` ends when all is done. */
  close(): void {
    this.#isClosed = true
    this.#wakeup.wake()
  }

  /** Leaves what is not on its way to the next look. */
  cut(): void {
    this.#isCut = true
    for (const wanted of this.#queue.clear()) this.#drop(wanted)
    for (const { chunks } of this.#jobs.clear()) {
      for (const progress of chunks) {
        this.#components.tally.dropped++
        this.#settleOne(progress)
      }
    }
    this.#wakeup.wake()
  }

  /** Makes copies until there are no more to make. Called once. */
  async run(options: AbortOptions): Promise<void> {
    const running = new Set<Promise<void>>()
    const failures: unknown[] = []
    const onAbort = (): void => this.#wakeup.wake()
    options.signal?.addEventListener('abort', onAbort, { once: true })
    try {
      while (options.signal?.aborted !== true && failures.length === 0) {
        const job = running.size < this.#options.maxCopies ? await this.#next(options) : undefined
        if (job !== undefined) {
          const work: Promise<void> = this.#copy(job, options)
            .catch((thrown: unknown) => void failures.push(thrown))
            .finally(() => {
              running.delete(work)
              this.#wakeup.wake()
            })
          running.add(work)
        } else if (running.size === 0 && this.#isClosed && this.#known.size === 0) return
        else await this.#wakeup.wait()
      }
    } finally {
      options.signal?.removeEventListener('abort', onAbort)
      await Promise.allSettled(running)
    }
    options.signal?.throwIfAborted()
    if (failures.length > 0) throw toError(failures[0])
  }

  #enqueue(wanted: WantedCopies): void {
    const dropped = this.#queue.add(wanted)
    if (dropped !== undefined) this.#drop(dropped)
  }

  #drop(wanted: WantedCopies): void {
    this.#known.delete(chunkKey(wanted.id))
    this.#components.tally.dropped++
  }

  /** Places what waits, so that there is a choice, and begins the best job of which a target is free. */
  async #next(options: AbortOptions): Promise<Job | undefined> {
    while (this.#queue.size > 0 && this.#jobs.chunkCount < MAX_PLACED) {
      await this.#place(this.#queue.take(CHUNKS_PER_PLACEMENT), options)
    }
    return this.#jobs.begin()
  }

  async #place(group: readonly WantedCopies[], options: AbortOptions): Promise<void> {
    const [first] = group
    if (first === undefined) return
    const places = await this.#placesFor(first, group.length, options)
    const jobs = new Map<ProviderId, Job>()
    for (const [at, wanted] of group.entries()) {
      const targets = places[at] ?? []
      const unplaced = wanted.count - targets.length
      const progress = { wanted, made: [], failedAt: [], open: targets.length + 1, unplaced }
      for (const target of targets) this.#intoJob(jobs, target, progress)
      this.#settleOne(progress)
    }
  }

  #intoJob(jobs: Map<ProviderId, Job>, target: ProviderId, progress: Progress): void {
    let job = jobs.get(target)
    if (job === undefined || job.chunks.length >= CHUNKS_PER_JOB) {
      const { wanted } = progress
      job = { target, sources: this.#turned(wanted), chunks: [], copies: wanted.copies }
      jobs.set(target, job)
      this.#jobs.add(job)
    }
    job.chunks.push(progress)
  }

  /** Providers for the copies; none where there is none that takes them. */
  async #placesFor(
    { count: replicas, beside }: WantedCopies,
    count: number,
    options: AbortOptions
  ): Promise<readonly (readonly ProviderId[])[]> {
    const { providers, log } = this.#components
    const { chunkBytes } = this.#options
    const exclude = [...new Set([...beside, ...this.#failed])]
    try {
      return await providers.place({ count, chunkBytes, replicas, beside, exclude }, options)
    } catch (thrown) {
      options.signal?.throwIfAborted()
      const code = errorCode(thrown)
      const isFull = code === 'ERR_NO_PROVIDER' || code === 'ERR_STORE_FULL'
      if (!isFull) this.#components.tally.failed += count
      log.debug('no place for copies of %d chunks: %e', count, toError(thrown))
      return []
    }
  }

  /** Begins with any of those that answer, so that they share the work; suspect ones come last. */
  #turned({ sources, copies }: WantedCopies): readonly ProviderId[] {
    const count = copies === 0 ? sources.length : copies
    const turn = Math.floor(this.#components.random() * count)
    return [...sources.slice(turn, count), ...sources.slice(0, turn), ...sources.slice(count)]
  }

  async #copy(job: Job, options: AbortOptions): Promise<void> {
    const { directory, edits, log, deeds } = this.#components
    const { target, chunks } = job
    let copied: readonly boolean[] = []
    let isTargetAtFault = false
    try {
      const provider = directory.open(target)
      if (provider === undefined) throw new Error('it cannot be reached')
      const ids = chunks.map(({ wanted }) => wanted.id)
      copied = await provider.copy(
        ids,
        job.sources.slice(0, MAX_SOURCES).map((id) => this.#sourceOf(id)),
        options
      )
    } catch (thrown) {
      if (options.signal?.aborted === true) return
      isTargetAtFault = true
      this.#failed.add(target)
      log.info('%p copies nothing for now: %e', target, toError(thrown))
    } finally {
      this.#jobs.end(job)
    }
    const count = copied.filter((isHeld) => isHeld).length
    log.debug('%p has copied %d of %d chunks', target, count, chunks.length)
    deeds.copied(count, count * this.#options.chunkBytes)
    for (const [at, progress] of chunks.entries()) {
      if (copied[at] === true) progress.made.push(target)
      else if (isTargetAtFault) progress.failedAt.push(target)
    }
    await this.#settle(chunks, options)
    if (edits.count >= CHUNKS_PER_RECORDS) await edits.flush(options)
  }

  #sourceOf(id: ProviderId): ChunkSource {
    return { id, addresses: this.#components.addressesOf?.(id) ?? [] }
  }

  /** Notes that a job has done what it could; what it did not get is looked for elsewhere. */
  async #settle(chunks: readonly Progress[], options: AbortOptions): Promise<void> {
    const again: WantedCopies[] = []
    const ungiven: WantedCopies[] = []
    for (const progress of chunks) {
      const rest = this.#settleOne(progress)
      if (rest === undefined) continue
      if (progress.failedAt.length > 0) again.push(rest)
      else ungiven.push(rest)
    }
    if (ungiven.length > 0) {
      const found = await this.#components.search.findAnew(ungiven, options)
      const keys = new Set(found.map(({ id }) => chunkKey(id)))
      again.push(...found)
      for (const wanted of ungiven) if (!keys.has(chunkKey(wanted.id))) this.#giveUp(wanted)
    }
    for (const wanted of again) {
      if (this.#isCut) this.#drop(wanted)
      else if (wanted.tries >= MAX_TRIES) this.#giveUp(wanted)
      else {
        this.#known.set(chunkKey(wanted.id), wanted)
        this.#enqueue(wanted)
      }
    }
  }

  /** @returns what is to be tried again, when the last job of a chunk has ended. */
  #settleOne(progress: Progress): WantedCopies | undefined {
    if (--progress.open > 0) return undefined
    const { wanted, made, unplaced } = progress
    const { edits, tally } = this.#components
    const { id, pages } = wanted
    const key = chunkKey(id)
    this.#recent.note(id, made)
    tally.mended += made.length
    if (made.length > 0) for (const page of pages) edits.note(page, key, { added: made })
    const isFound = wanted.isLost && made.length > 0
    if (isFound) tally.unreachable -= pages.size
    const count = wanted.count - made.length - unplaced
    if (count > 0 && !this.#isCut) {
      const beside = [...wanted.beside, ...made]
      const isShort = wanted.isShort || unplaced > 0
      const isLost = wanted.isLost && !isFound
      return { ...wanted, count, beside, isShort, isLost, tries: wanted.tries + 1 }
    }
    this.#known.delete(key)
    if (count === 0 && unplaced === 0 && !wanted.isShort) tally.underReplicated -= pages.size
    return undefined
  }

  #giveUp({ id, count }: WantedCopies): void {
    const { tally, deeds } = this.#components
    this.#known.delete(chunkKey(id))
    tally.failed += count
    deeds.failed(count)
  }
}
