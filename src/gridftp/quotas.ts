import type { FileStatus, FtpUser, OpenWriteOptions } from './dsi.ts'
import { QuotaExceededError } from './errors.ts'

/** Tells how many bytes the newest versions of all files below a folder take together. */
export type MeasureUsage = (root: string) => Promise<number>

/** An upload of a user who has a quota. */
export interface QuotaRequest {
  readonly user: FtpUser
  readonly path: string
  readonly mode: OpenWriteOptions['mode']
  /** What is at the path now. */
  readonly there: FileStatus | undefined
  /** What was announced, in bytes from where the upload begins. */
  readonly expectedBytes?: number | undefined
}

/**
 * Keeps users within their quotas. What counts is the size of the newest version of each file below
 * the user's root, whoever stored it; older versions count for nobody. Uploads under way claim what
 * they will add, so that several at once do not take the same room; those at other agents are seen
 * when they are published. One instance serves all sessions.
 */
export class Quotas {
  readonly #measure: MeasureUsage
  /** Bytes that uploads under way have claimed, by root. */
  readonly #claimed = new Map<string, number>()

  constructor(measure: MeasureUsage) {
    this.#measure = measure
  }

  /**
   * Begins an upload.
   *
   * @returns undefined for a user without a quota.
   * @throws {QuotaExceededError} if it is known already not to fit.
   */
  async begin(request: QuotaRequest): Promise<QuotaClaim | undefined> {
    const { root, quotaBytes } = request.user
    if (quotaBytes === undefined) return undefined
    const usedBytes = await this.#measure(root)
    const claim = new QuotaClaim(request, {
      quotaBytes,
      usedBytes,
      measure: () => this.#measure(root),
      claimed: () => this.#claimed.get(root) ?? 0,
      add: (bytes) => this.#add(root, bytes)
    })
    if (request.expectedBytes !== undefined) claim.cover(request.expectedBytes)
    return claim
  }

  #add(root: string, bytes: number): void {
    const sum = (this.#claimed.get(root) ?? 0) + bytes
    if (sum === 0) this.#claimed.delete(root)
    else this.#claimed.set(root, sum)
  }
}

interface ClaimParts {
  readonly quotaBytes: number
  readonly usedBytes: number
  readonly measure: () => Promise<number>
  /** Bytes that all uploads below the same root have claimed. */
  readonly claimed: () => number
  readonly add: (bytes: number) => void
}

/** What one upload may add to what its user has. */
export class QuotaClaim {
  readonly #parts: ClaimParts
  readonly #path: string
  /** Where offsets count from, and what the file has now. */
  readonly #base: number
  readonly #thereBytes: number
  #usedBytes: number
  #ownBytes = 0

  constructor({ path, mode, there }: QuotaRequest, parts: ClaimParts) {
    this.#parts = parts
    this.#path = path
    this.#thereBytes = there?.bytes ?? 0
    this.#base = mode === 'append' ? this.#thereBytes : 0
    this.#usedBytes = parts.usedBytes
  }

  /** Tells whether the upload may reach to `end`, and claims it then. */
  covers(end: number): boolean {
    const more = this.#base + end - this.#thereBytes - this.#ownBytes
    if (more <= 0) return true
    const { quotaBytes, claimed, add } = this.#parts
    if (this.#usedBytes + claimed() + more > quotaBytes) return false
    this.#ownBytes += more
    add(more)
    return true
  }

  /** As `covers`. @throws {QuotaExceededError} if it may not. */
  cover(end: number): void {
    if (!this.covers(end)) throw this.#exceeded(this.#base + end - this.#thereBytes)
  }

  /**
   * Looks again, right before the upload is published, by what is there now.
   *
   * @throws {QuotaExceededError} if others have taken the room.
   */
  async confirm(): Promise<void> {
    this.#usedBytes = await this.#parts.measure()
    const isWithin = this.#usedBytes + this.#ownBytes <= this.#parts.quotaBytes
    if (this.#ownBytes > 0 && !isWithin) throw this.#exceeded(this.#ownBytes)
  }

  /** Ends the claim, which is in what is used from now on, or was for nothing. */
  release(): void {
    this.#parts.add(-this.#ownBytes)
    this.#ownBytes = 0
  }

  #exceeded(neededBytes: number): QuotaExceededError {
    const { quotaBytes } = this.#parts
    return new QuotaExceededError(this.#path, {
      quotaBytes,
      neededBytes,
      usedBytes: this.#usedBytes
    })
  }
}
