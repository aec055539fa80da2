import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const LAST_WORDS = 30

/** One of the programs of this folder as a process of its own. */
export class WireProcess {
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  readonly #lastWords: string[] = []
  /** Resolve when it has printed the word: `started` when it listens to signals. */
  readonly #started: Promise<unknown>
  readonly #joined: Promise<unknown>

  /** `onLine` takes each line that the program prints. */
  constructor(
    program: 'writer-process' | 'reader-process',
    args: readonly string[],
    onLine: (line: string) => void
  ) {
    const file = fileURLToPath(new URL(`./${program}.ts`, import.meta.url))
    const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#ended = once(child, 'close')
    const started = Promise.withResolvers<void>()
    const joined = Promise.withResolvers<void>()
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'started') started.resolve()
      if (line === 'joined') joined.resolve()
      onLine(line)
    })
    this.#started = Promise.race([started.promise, this.#ended])
    this.#joined = Promise.race([joined.promise, this.#ended])
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#lastWords.push(line)
      if (this.#lastWords.length > LAST_WORDS) this.#lastWords.shift()
    })
  }

  /** Resolves when it is a member of the cluster, or has ended. */
  async joined(): Promise<void> {
    await this.#joined
  }

  /** `kill -9`, then waits for the end. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  /** Tells it to kill itself at its next step, then waits for the end. */
  async killItself(): Promise<void> {
    await this.#started
    this.#child.kill('SIGUSR2')
    await this.#ended
  }

  /** SIGTERM, then waits for the end. @throws {Error} with its last words if it has failed. */
  async finish(): Promise<void> {
    await this.#started
    this.#child.kill('SIGTERM')
    await this.ended()
  }

  /** Waits for the end. @throws {Error} with its last words if it is not a good one. */
  async ended(): Promise<void> {
    await this.#ended
    const { exitCode, signalCode } = this.#child
    if (exitCode === 0 || signalCode === 'SIGKILL') return
    const words = this.#lastWords.join('\n')
    throw new Error(`a process ended with ${exitCode ?? signalCode}:\n${words}`)
  }
}
