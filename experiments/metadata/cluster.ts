import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AgentProcess, blobswarmJson, projectFile } from '../support/agent-process.ts'
import type { WriterOrder, WriterReport } from './writing.ts'

/**
 * How the roles are shared out: metadata providers beside the agent with the managers. Embedded: one process that is the
 * agent and has the writers in it.
 */
const METADATA_PROVIDERS = {
  embedded: 0,
  'one-agent': 0,
  'three-metadata': 3,
  'six-metadata': 6
} as const

/** One of them. */
export type Layout = keyof typeof METADATA_PROVIDERS

/** @throws {Error} if it is none. */
export function layoutOf(text: string): Layout {
  if (Object.hasOwn(METADATA_PROVIDERS, text)) return text as Layout
  throw new Error(`layout ${text}: there are ${Object.keys(METADATA_PROVIDERS).join(', ')}`)
}

const QUIET = ['--gridftp', '127.0.0.1:0', '--http', '127.0.0.1:0', '--set', 'agent.logLevel=error']
const MANAGERS = 'versionManager,providerManager,provider'

const clusters = new Set<MeasuredCluster>()

/** Stops what runs, for who is told to end. */
export async function stopClusters(): Promise<void> {
  await Promise.all(Array.from(clusters, async (cluster) => cluster.stop()))
}

/** Agents as processes on a real disk, with fsync; and processes of writers. */
export class MeasuredCluster {
  readonly folder: string
  readonly #agents: AgentProcess[] = []
  readonly #writers: ChildProcess[] = []
  readonly #profileFolder: string | undefined

  private constructor(folder: string, profileFolder: string | undefined) {
    this.folder = folder
    this.#profileFolder = profileFolder
  }

  /** @param profileFolder where every process leaves its processor profile, if given. */
  static async start(
    folder: string,
    layout: Layout,
    profileFolder?: string
  ): Promise<MeasuredCluster> {
    await mkdir(folder, { recursive: true })
    const cluster = new MeasuredCluster(folder, profileFolder)
    clusters.add(cluster)
    if (layout === 'embedded') return cluster
    try {
      const others = METADATA_PROVIDERS[layout]
      await cluster.#startAgent(['--roles', others === 0 ? `${MANAGERS},metadata` : MANAGERS])
      for (let count = 0; count < others; count++) {
        const token = await cluster.#token('metadata', 'read,write')
        await cluster.#startAgent(['--roles', 'metadata', '--join', token])
      }
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  get pids(): { readonly agents: number[]; readonly writers: number[] } {
    return {
      agents: this.#agents.map(({ ready }) => ready.pid),
      writers: this.#writers.map(({ pid = 0 }) => pid)
    }
  }

  /** What a writer joins with. */
  async invitation(): Promise<{ token: string; addresses: string[] }> {
    const token = await this.#token('deploy', 'read,write')
    return { token, addresses: this.#agents.flatMap(({ ready }) => ready.addresses.slice(0, 1)) }
  }

  async #token(roles: string, rights: string): Promise<string> {
    const dataDir = this.#agents[0]?.dataDir ?? ''
    const args = ['token', 'create', '--roles', roles, '--rights', rights]
    return (await blobswarmJson<{ token: string }>(dataDir, args)).token
  }

  /** Starts processes of writers until there are so many. */
  async startWriters(count: number): Promise<void> {
    while (this.#writers.length < count) {
      const { token, addresses } = await this.invitation()
      const writer = fork(projectFile('experiments/metadata/writer.ts'), [token, ...addresses], {
        execArgv: this.#profiling(`writer-${this.#writers.length}`)
      })
      this.#writers.push(writer)
      await answerOf(writer)
    }
  }

  /** Starts the one process of the layout `embedded`. */
  async startEmbedded(): Promise<void> {
    const program = projectFile('experiments/metadata/embedded.ts')
    const writer = fork(program, [join(this.folder, 'agent')], {
      execArgv: this.#profiling('embedded')
    })
    this.#writers.push(writer)
    await answerOf(writer)
  }

  /** Gives each process its order at the same time. */
  async run(orders: readonly WriterOrder[]): Promise<WriterReport[]> {
    return Promise.all(
      orders.map(async (order, index) => {
        const writer = this.#writers[index]
        if (writer === undefined) throw new Error(`there is no writer ${index}`)
        const report = answerOf(writer)
        writer.send(order)
        return (await report) as WriterReport
      })
    )
  }

  async stop(): Promise<void> {
    clusters.delete(this)
    await Promise.all(
      this.#writers.map(async (writer) => {
        if (writer.exitCode !== null || writer.signalCode !== null) return
        const exited = once(writer, 'exit')
        if (writer.connected) writer.send('stop')
        await exited
      })
    )
    for (const agent of this.#agents.toReversed()) await agent.stop()
    await rm(this.folder, { recursive: true, force: true })
  }

  async #startAgent(args: readonly string[]): Promise<void> {
    const dataDir = join(this.folder, `agent-${this.#agents.length}`)
    const nodeOptions = this.#profiling(`agent-${this.#agents.length}`).join(' ')
    const prefix = nodeOptions === '' ? [] : ['env', `NODE_OPTIONS=${nodeOptions}`]
    this.#agents.push(
      await AgentProcess.start({ dataDir, prefix, args: [...args, ...QUIET], onLog: printLog })
    )
  }

  #profiling(name: string): string[] {
    const folder = this.#profileFolder
    if (folder === undefined) return []
    return ['--cpu-prof', `--cpu-prof-dir=${join(folder, name)}`]
  }
}

function printLog(line: string): void {
  process.stderr.write(`${line}\n`)
}

async function answerOf(writer: ChildProcess): Promise<unknown> {
  const ended = new AbortController()
  const { signal } = ended
  try {
    const [first] = await Promise.race([
      once(writer, 'message', { signal }) as Promise<[unknown]>,
      once(writer, 'exit', { signal }).then(([code]) => {
        throw new Error(`a process of writers ended with ${code}`)
      })
    ])
    return first
  } finally {
    ended.abort()
  }
}
