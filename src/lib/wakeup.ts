/** Lets one task sleep until another one has something for it. A wake-up that comes early is kept. */
export class Wakeup {
  #isDue = false
  #resolve: (() => void) | undefined

  /** Ends the wait that runs, or else the next one before it begins. */
  wake(): void {
    const resolve = this.#resolve
    if (resolve === undefined) {
      this.#isDue = true
      return
    }
    this.#resolve = undefined
    resolve()
  }

  /** Resolves when `wake` has been called since the last wait. One task waits at a time. */
  async wait(): Promise<void> {
    if (this.#isDue) {
      this.#isDue = false
      return
    }
    if (this.#resolve !== undefined) throw new Error('somebody waits for this already')
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#resolve = resolve
    await promise
  }
}
