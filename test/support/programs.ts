import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test } from '@jest/globals'

const MAX_OUTPUT_BYTES = 4 * 1024 * 1024
const announced = new Set<string>()
const FALLBACK_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** Where a program is: first on PATH, then in the folders of system programs. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...FALLBACK_FOLDERS]
  return folders.map((folder) => join(folder, name)).find((file) => isExecutable(file))
}

/**
 * Declares a test that needs real programs. When one is missing the test is skipped and says so; in
 * CI (environment variable `CI` set) it fails instead.
 */
export function testWith(
  programs: string | readonly string[],
  name: string,
  body: () => Promise<void>,
  timeoutMs = 30_000
): void {
  const missing = [programs].flat().filter((program) => findProgram(program) === undefined)
  if (missing.length === 0) {
    test(name, body, timeoutMs)
    return
  }
  const reason = `${missing.join(', ')} not installed`
  if (process.env.CI) {
    test(name, () => {
      throw new Error(`${reason}, and in CI nothing may be skipped`)
    })
    return
  }
  if (!announced.has(reason)) process.stderr.write(`Tests are skipped: ${reason}\n`)
  announced.add(reason)
  test.skip(`${name} (skipped: ${reason})`, body)
}

/** How a program ended. */
export interface RunResult {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** @default 20_000 */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Leaves standard input open for the test to write to; otherwise it is empty. */
  readonly keepsInputOpen?: boolean
}

/** Says what a program was asked and what it answered. */
export class ProgramError extends Error {
  readonly result: RunResult

  constructor(what: string, result: RunResult) {
    super(`${what}\n${result.stdout.slice(-4000)}\n${result.stderr.slice(-4000)}`)
    this.name = 'ProgramError'
    this.result = result
  }
}

/** A program that runs; its output is kept up to 4 MiB. */
export class RunningProgram {
  readonly child: ChildProcessWithoutNullStreams
  readonly #what: string
  readonly #ended: Promise<RunResult>
  #stdout = ''
  #stderr = ''
  #output = Promise.withResolvers<undefined>()

  constructor(program: string, args: readonly string[], options: RunOptions = {}) {
    const path = findProgram(program) ?? program
    const { PATH = '' } = process.env
    this.#what = [program, ...args].join(' ')
    this.child = spawn(path, args, {
      stdio: 'pipe',
      cwd: options.cwd,
      env: { PATH, LC_ALL: 'C.UTF-8', HOME: '/nonexistent', ...options.env }
    })
    this.child.stdout.on('data', (bytes: Buffer) => {
      this.#stdout = keep(this.#stdout, bytes)
      this.#signalOutput()
    })
    this.child.stderr.on('data', (bytes: Buffer) => {
      this.#stderr = keep(this.#stderr, bytes)
      this.#signalOutput()
    })
    // A program that ends without reading its input is no failure of ours.
    this.child.stdin.on('error', () => undefined)
    if (options.keepsInputOpen !== true) this.child.stdin.end()
    this.#ended = once(this.child, 'close').then(([exitCode]) => ({
      exitCode: typeof exitCode === 'number' ? exitCode : undefined,
      stdout: this.#stdout,
      stderr: this.#stderr
    }))
    this.#ended.catch(() => undefined)
  }

  /** Waits until standard output or error matches. @throws {ProgramError} if it ends before. */
  async printed(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.#stdout) ?? pattern.exec(this.#stderr)
      if (match !== null) return match
      const result = await Promise.race([this.#ended, this.#output.promise])
      if (result !== undefined) throw new ProgramError(`${this.#what}: no ${pattern}`, result)
    }
  }

  /** Writes to standard input; resolves when the program has taken all but a pipe's worth. */
  async feed(bytes: Uint8Array): Promise<void> {
    if (!this.child.stdin.write(bytes)) await once(this.child.stdin, 'drain')
  }

  /** Waits for its end. @throws {ProgramError} after the time-out; the program is killed then. */
  async ended(options: RunOptions = {}): Promise<RunResult> {
    const { timeoutMs = 20_000, signal } = options
    const deadline = AbortSignal.timeout(timeoutMs)
    const stop = AbortSignal.any(signal === undefined ? [deadline] : [deadline, signal])
    const kill = (): void => this.kill()
    stop.addEventListener('abort', kill, { once: true })
    try {
      const result = await this.#ended
      signal?.throwIfAborted()
      if (stop.aborted)
        throw new ProgramError(`${this.#what}: killed after ${timeoutMs} ms`, result)
      return result
    } finally {
      stop.removeEventListener('abort', kill)
    }
  }

  /** Ends it with SIGKILL. */
  kill(): void {
    this.child.kill('SIGKILL')
  }

  #signalOutput(): void {
    this.#output.resolve(undefined)
    this.#output = Promise.withResolvers()
  }
}

/** Runs a program to its end. @throws {ProgramError} if it takes too long. */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {}
): Promise<RunResult> {
  return new RunningProgram(program, args, options).ended(options)
}

/** Runs a program that must succeed. @returns its standard output. */
export async function runOk(
  program: string,
  args: readonly string[],
  options: RunOptions = {}
): Promise<string> {
  const result = await run(program, args, options)
  if (result.exitCode === 0) return result.stdout
  throw new ProgramError(`${[program, ...args].join(' ')}: exit code ${result.exitCode}`, result)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function keep(text: string, bytes: Buffer): string {
  return text.length < MAX_OUTPUT_BYTES ? text + bytes.toString() : text
}
