import { type AgentProcess, blobswarmJson } from '../../../experiments/support/agent-process.ts'
import { Cluster } from '../cluster.ts'

const METADATA_PROVIDERS = 3
const OPEN_VERSIONS = /^blobswarm_metadata_versions_open (\d+)$/m
const MANAGER_ROLES = 'versionManager,providerManager,provider'

/** A version manager with a provider beside it, and three metadata providers: four processes. */
export class WireCluster {
  readonly #cluster: Cluster
  readonly #settings: readonly string[]
  readonly #metadata: { agent: AgentProcess; readonly args: readonly string[] }[] = []
  #manager: AgentProcess | undefined

  private constructor(cluster: Cluster, settings: readonly string[]) {
    this.#cluster = cluster
    this.#settings = settings
  }

  /** Starts all of it; `settings` are those of the version manager's agent. */
  static async start(settings: readonly string[]): Promise<WireCluster> {
    const started = new WireCluster(await Cluster.create(), settings)
    await started.startManager()
    const starting = Array.from({ length: METADATA_PROVIDERS }, async (_, index) => {
      const token = await started.newToken('read,write', 'metadata')
      const args = ['--roles', 'metadata', '--join', token]
      const agent = await started.#cluster.start(`metadata-${index}`, args)
      started.#metadata[index] = { agent, args }
    })
    await Promise.all(starting)
    return started
  }

  get folder(): string {
    return this.#cluster.folder
  }

  get metadataCount(): number {
    return this.#metadata.length
  }

  /** The agent with the version manager. */
  get manager(): AgentProcess {
    if (this.#manager === undefined) throw new Error('the version manager was never started')
    return this.#manager
  }

  async newToken(rights: string, roles = 'deploy'): Promise<string> {
    const request = ['token', 'create', '--roles', roles, '--rights', rights]
    const { token } = await blobswarmJson<{ token: string }>(this.manager.dataDir, request)
    return token
  }

  /** Starts the version manager's agent, also again after it was killed, with the same command line. */
  async startManager(): Promise<void> {
    const args = ['--roles', MANAGER_ROLES, ...this.#settings]
    this.#manager = await this.#cluster.start('manager', args)
  }

  async killMetadata(index: number): Promise<void> {
    await this.#metadata[index]?.agent.kill()
  }

  async startMetadata(index: number): Promise<void> {
    const provider = this.#metadata[index]
    if (provider === undefined) throw new RangeError(`no metadata provider ${index}`)
    provider.agent = await this.#cluster.start(`metadata-${index}`, provider.args)
  }

  /** Versions that have a ticket and are not committed. */
  async openVersions(): Promise<number> {
    const answer = await fetch(`http://${this.manager.ready.http}/metrics`)
    return Number(OPEN_VERSIONS.exec(await answer.text())?.[1])
  }

  async stop(): Promise<void> {
    await this.#cluster.stop()
  }
}
