/** The log of an agent process: lets a test wait for a line of it. */
export class AgentLog {
  readonly lines: string[] = []
  readonly #waiters = new Set<{ readonly pattern: RegExp; readonly resolve: (l: string) => void }>()

  /** Takes the next line. */
  readonly add = (line: string): void => {
    this.lines.push(line)
    for (const waiter of this.#waiters) {
      if (!waiter.pattern.test(line)) continue
      this.#waiters.delete(waiter)
      waiter.resolve(line)
    }
  }

  /** Resolves with the first line that matches, whether it is there already or yet to come. */
  async until(pattern: RegExp): Promise<string> {
    const found = this.lines.find((line) => pattern.test(line))
    if (found !== undefined) return found
    return new Promise((resolve) => {
      this.#waiters.add({ pattern, resolve })
    })
  }
}
