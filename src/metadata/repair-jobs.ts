import type { ProviderId } from '../chunks/types.ts'

/** Calls that one target answers at the same time: while one connects or waits, another copies. */
const JOBS_PER_TARGET = 3

/** What one provider copies in one call. */
export interface CopyJob<T> {
  readonly target: ProviderId
  /** Who is asked, in this order. */
  readonly sources: readonly ProviderId[]
  readonly chunks: T[]
  /** Copies of the chunks that can be read, the less the more urgent. */
  readonly copies: number
}

/**
 * Copies that have their places and wait for their turn. The most urgent goes first; among equally
 * urgent ones that whose source gives the least just now, because what was lost together often has
 * its other copies in few places, and each of them has one line.
 */
export class CopyJobs<T> {
  #waiting: CopyJob<T>[] = []
  /** Calls that run, by their target and by the source that they ask first. */
  readonly #atTarget = new Map<ProviderId, number>()
  readonly #atSource = new Map<ProviderId, number>()

  /** Chunks that wait; one that gets several copies counts for each. */
  get chunkCount(): number {
    return this.#waiting.reduce((sum, { chunks }) => sum + chunks.length, 0)
  }

  add(job: CopyJob<T>): void {
    this.#waiting.push(job)
  }

  /** Takes the next job out and counts it as running; undefined if all targets are busy. */
  begin(): CopyJob<T> | undefined {
    let next: CopyJob<T> | undefined
    for (const job of this.#waiting) {
      if (countOf(this.#atTarget, job.target) >= JOBS_PER_TARGET) continue
      if (next === undefined || this.#goesBefore(job, next)) next = job
    }
    if (next === undefined) return undefined
    this.#waiting = this.#waiting.filter((job) => job !== next)
    this.#count(next, 1)
    return next
  }

  /** Notes that a job has ended. */
  end(job: CopyJob<T>): void {
    this.#count(job, -1)
  }

  /** Empties the shelf. @returns what has not begun. */
  clear(): readonly CopyJob<T>[] {
    const waiting = this.#waiting
    this.#waiting = []
    return waiting
  }

  #goesBefore(one: CopyJob<T>, other: CopyJob<T>): boolean {
    if (one.copies !== other.copies) return one.copies < other.copies
    return this.#givenBy(one) < this.#givenBy(other)
  }

  #givenBy({ sources: [first] }: CopyJob<T>): number {
    return first === undefined ? 0 : countOf(this.#atSource, first)
  }

  #count({ target, sources: [first] }: CopyJob<T>, change: 1 | -1): void {
    this.#atTarget.set(target, countOf(this.#atTarget, target) + change)
    if (first !== undefined) this.#atSource.set(first, countOf(this.#atSource, first) + change)
  }
}

function countOf(counts: ReadonlyMap<ProviderId, number>, id: ProviderId): number {
  return counts.get(id) ?? 0
}
