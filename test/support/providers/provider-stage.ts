import { setTimeout as pause } from 'node:timers/promises'
import { type AgentProcess, blobswarmJson } from '../../../experiments/support/agent-process.ts'
import { callAgent } from '../../../src/agent/control-client.ts'
import type { PushResult } from '../../../src/agent/operations.ts'
import type { RepairFigures } from '../../../src/chunks/maintenance-types.ts'
import type { ProviderState } from '../../../src/chunks/provider-manager-types.ts'
import { Cluster } from '../cluster.ts'
import { CopyCensus, type CopyCount } from './copy-census.ts'
import type { SampleImage } from './sample-image.ts'

export interface ProviderStageOptions {
  readonly providers: number
  readonly replicas: number
  readonly chunkBytes: number
  /** How long each wait may take. */
  readonly withinMs: number
  /** Further arguments of a provider that the stage begins with. @default none */
  readonly argsOf?: (name: string) => readonly string[]
}

const POLL_MS = 200
const MANAGERS = 'versionManager,providerManager,metadata'
const SETTINGS = [
  'repair.suspectAfter=1s',
  'repair.deadAfter=2s',
  'repair.every=2s',
  'providers.heartbeat=300ms',
  'storage.lease=2s',
  'storage.putTimeout=2s',
  'collection.every=0s'
]

/** Agents as processes: one with the managers and the metadata, one for clients, and providers. */
export class ProviderStage {
  readonly cluster: Cluster
  readonly #options: ProviderStageOptions
  readonly #providers = new Map<string, AgentProcess>()
  readonly #ended = new Set<string>()
  #replicas: number
  #manager: AgentProcess | undefined
  #client: AgentProcess | undefined
  #census: CopyCensus | undefined

  private constructor(cluster: Cluster, options: ProviderStageOptions) {
    this.cluster = cluster
    this.#options = options
    this.#replicas = options.replicas
  }

  static async start(options: ProviderStageOptions): Promise<ProviderStage> {
    const { argsOf = () => [] } = options
    const stage = new ProviderStage(await Cluster.create(), options)
    try {
      await stage.startManager()
      await stage.startClient()
      const names = Array.from({ length: options.providers }, (_, at) => `provider-${at + 1}`)
      await Promise.all(names.map(async (name) => stage.startProvider(name, argsOf(name))))
      stage.#census = await CopyCensus.join(await stage.#token('deploy', 'read'))
      await stage.untilLive(names)
      return stage
    } catch (error) {
      await stage.stop()
      throw error
    }
  }

  async stop(): Promise<void> {
    await this.#census?.stop()
    await this.cluster.stop()
  }

  get manager(): AgentProcess {
    return running(this.#manager, 'manager')
  }

  get client(): AgentProcess {
    return running(this.#client, 'client')
  }

  /** A provider that was started, also if it has been killed since. */
  provider(name: string): AgentProcess {
    return running(this.#providers.get(name), name)
  }

  async startManager(): Promise<void> {
    this.#manager = await this.cluster.start('manager', ['--roles', MANAGERS, ...this.#settings()])
  }

  async startClient(): Promise<void> {
    this.#client = await this.#startMember('client', 'deploy', 'read,write,admin')
  }

  /** Starts, or starts again, a provider. */
  async startProvider(name: string, further: readonly string[] = []): Promise<AgentProcess> {
    const provider = await this.#startMember(name, 'provider', 'read', further)
    this.#providers.set(name, provider)
    this.#ended.delete(name)
    return provider
  }

  /** `kill -9` for all of them at the same moment. */
  async killProviders(...names: readonly string[]): Promise<void> {
    for (const name of names) this.#ended.add(name)
    await Promise.all(names.map(async (name) => this.provider(name).kill()))
  }

  async stopProvider(name: string): Promise<void> {
    this.#ended.add(name)
    await this.provider(name).stop()
  }

  /** Lets everybody want another number of copies; only the managers and the client are started again. */
  async setReplicas(replicas: number): Promise<void> {
    this.#replicas = replicas
    await this.client.stop()
    await this.manager.stop()
    await this.startManager()
    await this.startClient()
  }

  /** Stores an image; `onSent` is told of every MiB before it goes. */
  async push(
    image: SampleImage,
    onSent: (bytes: number) => void | Promise<void> = () => {}
  ): Promise<PushResult> {
    const query = { path: image.path, bytes: image.bytes }
    const body = image.stream(onSent)
    return (await callAgent(this.client.ready.socket, 'PUT', 'push', { query, body })) as PushResult
  }

  /** What the provider manager knows of the providers, by the names used here. */
  async states(): Promise<Map<string, ProviderState>> {
    const answer = await callAgent(this.manager.ready.socket, 'GET', 'providers')
    const byId = new Map((answer as ProviderState[]).map((state) => [state.id, state]))
    const states = new Map<string, ProviderState>()
    for (const [name, { ready }] of this.#providers) {
      const state = byId.get(ready.peerId)
      if (state !== undefined) states.set(name, state)
    }
    return states
  }

  async status(): Promise<{ readonly repair?: RepairFigures }> {
    const status = await callAgent(this.manager.ready.socket, 'GET', 'status')
    return status as { readonly repair?: RepairFigures }
  }

  async untilLive(names: readonly string[]): Promise<void> {
    await this.until(`${names.join()} live`, this.states.bind(this), (states) =>
      names.every((name) => states.get(name)?.condition === 'live')
    )
  }

  async untilDead(names: readonly string[]): Promise<void> {
    await this.until(`${names.join()} dead`, this.states.bind(this), (states) =>
      names.every((name) => states.get(name)?.condition === 'dead')
    )
  }

  /** Waits until repair has nothing to copy any more, and knows. */
  async untilWhole(): Promise<RepairFigures> {
    const { repair } = await this.until(
      'under-replicated 0',
      this.status.bind(this),
      ({ repair: figures }) =>
        figures?.isCurrent === true && figures.underReplicated === 0 && figures.unreachable === 0
    )
    if (repair === undefined) throw new Error('the manager tells nothing of repair')
    return repair
  }

  /** Counts intact copies of images' chunks at the providers whose processes run. */
  async count(...images: readonly SampleImage[]): Promise<CopyCount> {
    if (this.#census === undefined) throw new Error('the stage has not been started')
    const living = Array.from(this.#providers)
      .filter(([name]) => !this.#ended.has(name))
      .map(([, { ready }]) => ready)
    const ids = images.flatMap((image) => image.ids())
    return this.#census.count(ids, living)
  }

  /** Waits until each chunk has exactly so many intact copies where processes run. */
  async untilCopies(copies: number, ...images: readonly SampleImage[]): Promise<void> {
    const all = images.reduce((sum, { bytes, chunkBytes }) => sum + bytes / chunkBytes, 0)
    const look = async (): Promise<CopyCount> => {
      // What repair says is asked first: counting reads every disk.
      await this.until(
        'no surplus',
        this.status.bind(this),
        ({ repair }) => repair?.isCurrent === true && repair.surplus === 0
      )
      return this.count(...images)
    }
    const what = `${copies} copies of each of ${all} chunks`
    await this.until(what, look, ({ byCopies }) => byCopies[copies] === all)
  }

  /** Looks again and again until what it sees is as wanted. @throws {Error} with the last look when it takes too long. */
  async until<T>(what: string, look: () => Promise<T>, isWanted: (seen: T) => boolean): Promise<T> {
    for (const endMs = performance.now() + this.#options.withinMs; ; await pause(POLL_MS)) {
      const seen = await look()
      if (isWanted(seen)) return seen
      if (performance.now() > endMs) throw new Error(`${what}: still ${described(seen)}`)
    }
  }

  /** Runs `blobswarm` against the client's agent, with `--json`. */
  async run<T>(...args: readonly string[]): Promise<T> {
    return blobswarmJson<T>(this.client.dataDir, args)
  }

  async #startMember(
    name: string,
    roles: string,
    rights: string,
    further: readonly string[] = []
  ): Promise<AgentProcess> {
    const token = await this.#token(roles, rights)
    const args = ['--roles', roles, '--join', token, ...this.#settings(), ...further]
    return this.cluster.start(name, args)
  }

  async #token(roles: string, rights: string): Promise<string> {
    const body = { roles: roles.split(','), rights: rights.split(',') }
    const answer = await callAgent(this.manager.ready.socket, 'POST', 'token', { body })
    return (answer as { token: string }).token
  }

  #settings(): string[] {
    const { chunkBytes } = this.#options
    const own = [`storage.replicas=${this.#replicas}`, `storage.chunkBytes=${chunkBytes}`]
    return [...SETTINGS, ...own].flatMap((setting) => ['--set', setting])
  }
}

function running(agent: AgentProcess | undefined, name: string): AgentProcess {
  if (agent === undefined) throw new Error(`there is no ${name}`)
  return agent
}

function described(seen: unknown): string {
  return JSON.stringify(seen instanceof Map ? Object.fromEntries(seen) : seen)
}
