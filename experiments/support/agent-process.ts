import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const PROGRAM = fileURLToPath(new URL('../../bin/blobswarm', import.meta.url))

/** What an agent prints when it serves. */
export interface Ready {
  readonly peerId: string
  readonly addresses: readonly string[]
  readonly gridftp?: string
  readonly http?: string
  readonly socket: string
  readonly pid: number
}

export interface AgentProcessOptions {
  readonly dataDir: string
  /** Further arguments of `blobswarm agent`. */
  readonly args?: readonly string[]
  readonly signal?: AbortSignal | undefined
  /** Takes each line of the agent's log. */
  readonly onLog?: (line: string) => void
  /** Program and leading arguments to run it with, such as `ip netns exec host1`. */
  readonly prefix?: readonly string[]
  /** @default this checkout's */
  readonly program?: string | undefined
}

/** An agent as a process of its own. */
export class AgentProcess {
  readonly ready: Ready
  readonly dataDir: string
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>

  private constructor(
    child: ChildProcess,
    exited: Promise<unknown>,
    ready: Ready,
    dataDir: string
  ) {
    this.#child = child
    this.#exited = exited
    this.ready = ready
    this.dataDir = dataDir
  }

  /** Starts an agent and waits until it serves. @throws {Error} with the end of its log if it does not. */
  static async start(options: AgentProcessOptions): Promise<AgentProcess> {
    const { dataDir, args = [], signal, onLog, prefix = [] } = options
    const [program, ...leading] = [...prefix, options.program ?? PROGRAM]
    // A process group of its own: Ctrl-C in the terminal reaches whoever started it, not the agent.
    const child = spawn(program, [...leading, 'agent', '--data-dir', dataDir, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true
    })
    const tail: string[] = []
    createInterface({ input: child.stderr }).on('line', (line) => {
      onLog?.(line)
      tail.push(line)
      if (tail.length > 30) tail.shift()
    })
    const exited = once(child, 'exit')
    const { promise, resolve, reject } = Promise.withResolvers<Ready>()
    const onAbort = (): void => reject(signal?.reason as Error)
    signal?.addEventListener('abort', onAbort, { once: true })
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('ready ')) resolve(JSON.parse(line.slice('ready '.length)) as Ready)
    })
    child.once('error', reject)
    exited.then(
      () => reject(new Error(`the agent ended before it was ready:\n${tail.join('\n')}`)),
      () => {}
    )
    try {
      return new AgentProcess(child, exited, await promise, dataDir)
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** SIGTERM, then waits for the end. @returns the exit code. */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM')
  }

  /** `kill -9`, then waits for the end. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill(signal)
      await this.#exited
    }
    return this.#child.exitCode
  }
}

export interface CommandOptions {
  readonly signal?: AbortSignal | undefined
  /** Takes each line of stderr. */
  readonly onError?: (line: string) => void
}

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a client command against an agent and collects what it prints. */
export async function runBlobswarm(
  dataDir: string,
  args: readonly string[],
  options: CommandOptions = {}
): Promise<CommandResult> {
  return runProgram(process.execPath, [PROGRAM, ...args, '--data-dir', dataDir], options)
}

/** The same, parsed from `--json`. @throws {Error} if it does not exit with 0. */
export async function blobswarmJson<T>(
  dataDir: string,
  args: readonly string[],
  options: CommandOptions = {}
): Promise<T> {
  const { code, stdout, stderr } = await runBlobswarm(dataDir, [...args, '--json'], options)
  if (code !== 0) throw new Error(`blobswarm ${args.join(' ')} exited with ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}

/** Runs any program to its end. */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: CommandOptions = {}
): Promise<CommandResult> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], signal: options.signal })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  createInterface({ input: child.stderr }).on('line', (line) => {
    stderr += `${line}\n`
    options.onError?.(line)
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code: code ?? -1, stdout, stderr }
}

/** Where a checkout's file is. */
export function projectFile(...parts: string[]): string {
  return join(fileURLToPath(new URL('../..', import.meta.url)), ...parts)
}
