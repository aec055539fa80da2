import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AgentProcess, blobswarmJson } from '../../experiments/support/agent-process.ts'
import { AgentLog } from './agent-log.ts'

const REPOSITORY_ROLES = 'versionManager,providerManager,metadata,provider,gridftp'

/** Agents as processes in a folder of their own, for tests of the whole. Everything ends with `stop()`. */
export class Cluster {
  readonly folder: string
  readonly #running = new Set<AgentProcess>()
  readonly #logs = new Map<string, AgentLog>()

  private constructor(folder: string) {
    this.folder = folder
  }

  static async create(): Promise<Cluster> {
    return new Cluster(await mkdtemp(join(tmpdir(), 'blobswarm-test-')))
  }

  /** Starts (or, with the same name, restarts) the repository agent: all roles but deploy. */
  async startRepository(name = 'repository', extra: readonly string[] = []): Promise<AgentProcess> {
    return this.start(name, ['--roles', REPOSITORY_ROLES, '--gridftp', '127.0.0.1:0', ...extra])
  }

  /** Starts a hypervisor agent that joins with a fresh token. */
  async startHypervisor(
    repository: AgentProcess,
    name: string,
    extra: readonly string[] = []
  ): Promise<AgentProcess> {
    const request = ['token', 'create', '--roles', 'deploy']
    const { token } = await blobswarmJson<{ token: string }>(repository.dataDir, request)
    return this.start(name, ['--roles', 'deploy', '--join', token, ...extra])
  }

  async start(name: string, args: readonly string[]): Promise<AgentProcess> {
    const dataDir = join(this.folder, name)
    await mkdir(dataDir, { recursive: true })
    const agent = await AgentProcess.start({
      dataDir,
      args: ['--http', '127.0.0.1:0', ...args],
      onLog: this.log(name).add
    })
    this.#running.add(agent)
    return agent
  }

  /** What an agent of that name has logged, over all its starts. */
  log(name: string): AgentLog {
    const known = this.#logs.get(name) ?? new AgentLog()
    this.#logs.set(name, known)
    return known
  }

  file(name: string): string {
    return join(this.folder, name)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running].map(async (agent) => agent.kill()))
    await rm(this.folder, { recursive: true, force: true })
  }
}
