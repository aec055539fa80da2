import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

/** A program on a host that says by lines how far it is. */
export class HostProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #exited: Promise<unknown>
  readonly #seen: string[] = []
  #onLine: () => void = () => {}

  constructor(command: readonly string[]) {
    const [program = '', ...args] = command
    // A process group of its own: Ctrl-C in the terminal reaches the experiment, which ends this one.
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true })
    this.#child.stdin.on('error', () => {}) // it has ended, which `line` tells
    this.#exited = once(this.#child, 'exit')
    this.#exited.catch(() => {})
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#seen.push(line)
      this.#onLine()
    })
  }

  /**
   * Waits for a line that begins so; those before it are dropped.
   *
   * @throws {Error} if the program ends before.
   */
  async line(start: string, signal?: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAbort = (): void => reject(signal?.reason as Error)
    const look = (): void => {
      const index = this.#seen.findIndex((line) => line.startsWith(start))
      if (index === -1) return
      this.#seen.splice(0, index + 1)
      resolve()
    }
    this.#onLine = look
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#exited.then(() => reject(new Error(`it ended before it said "${start}"`)), reject)
    look()
    try {
      await promise
    } finally {
      this.#onLine = () => {}
      signal?.removeEventListener('abort', onAbort)
    }
  }

  write(line: string): void {
    this.#child.stdin.write(`${line}\n`)
  }

  /** `kill -9`, then waits for the end. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL')
      await this.#exited.catch(() => {})
    }
  }
}
