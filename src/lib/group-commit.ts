import { toError } from './to-error.ts'

interface Pending<T> {
  readonly item: T
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export interface GroupCommitOptions {
  /** Items that one flush may carry. @default 4096 */
  maxItems?: number
}

/**
 * Makes many small durable writes share one flush: what arrives while a flush runs goes into the next
 * one. Items keep their order, and an item's promise settles only after the flush that carried it.
 */
export class GroupCommit<T> {
  readonly #flush: (items: T[]) => Promise<void>
  readonly #maxItems: number
  readonly #pending: Pending<T>[] = []
  #running: Promise<void> | undefined

  constructor(flush: (items: T[]) => Promise<void>, options: GroupCommitOptions = {}) {
    const { maxItems = 4096 } = options
    this.#flush = flush
    this.#maxItems = maxItems
  }

  /** Resolves when `item` has been flushed; rejects with what its flush threw. */
  async add(item: T): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#pending.push({ item, resolve, reject })
    this.#running ??= this.#drain()
    await promise
  }

  /** True if nothing is pending. */
  get isIdle(): boolean {
    return this.#running === undefined
  }

  /** Resolves when nothing is pending. */
  async idle(): Promise<void> {
    await this.#running
  }

  async #drain(): Promise<void> {
    // Everything that is already under way joins the first group: a tick comes after all of it.
    await new Promise<void>((resolve) => {
      process.nextTick(resolve)
    })
    while (this.#pending.length > 0) {
      const group = this.#pending.splice(0, this.#maxItems)
      try {
        await this.#flush(group.map(({ item }) => item))
        for (const { resolve } of group) resolve()
      } catch (thrown) {
        const error = toError(thrown)
        for (const { reject } of group) reject(error)
      }
    }
    this.#running = undefined
  }
}
