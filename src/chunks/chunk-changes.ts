/** Knows which chunks are being changed, so that what is done next to one of them can wait. */
export class ChunkChanges {
  readonly #running = new Map<string, Promise<unknown>>()

  /** Resolves when the chunk's change is over, however it ends. @returns undefined if there is none. */
  of(key: string): Promise<unknown> | undefined {
    const change = this.#running.get(key)
    return change && Promise.allSettled([change])
  }

  has(key: string): boolean {
    return this.#running.has(key)
  }

  /** Takes a change that has just begun; there must be none before. @returns what it returns. */
  async track<T>(key: string, change: Promise<T>): Promise<T> {
    this.#running.set(key, change)
    try {
      return await change
    } finally {
      this.#running.delete(key)
    }
  }
}
