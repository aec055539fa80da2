import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AgentProcess, blobswarmJson } from '../../experiments/support/agent-process.ts'
import { callAgent, followAgent } from '../../src/agent/control-client.ts'
import type { ListedPeer, PullResult } from '../../src/agent/operations.ts'
import { Cluster } from './cluster.ts'

export interface ManyAgentsOptions {
  readonly hypervisors: number
  readonly imageBytes: number
  /** Agents that start at the same time. @default 2 */
  readonly atOnce?: number
  /** Metadata providers besides the repository. @default 1 */
  readonly metadataProviders?: number
  /** How long anything may take. */
  readonly withinMs: number
}

const REF = '/images/many'

/** A repository, more metadata providers and hypervisors, all as processes, that share one image. */
export class ManyAgents {
  readonly cluster: Cluster
  readonly hypervisors: AgentProcess[] = []
  readonly #options: ManyAgentsOptions
  readonly #image: Uint8Array
  #bootstraps: AgentProcess[] = []
  readonly #events = new Map<AgentProcess, string>()
  #joined = 0

  private constructor(cluster: Cluster, options: ManyAgentsOptions) {
    this.cluster = cluster
    this.#options = options
    this.#image = new Uint8Array(randomBytes(options.imageBytes))
  }

  /** Starts everybody and uploads the image. */
  static async start(options: ManyAgentsOptions): Promise<ManyAgents> {
    const many = new ManyAgents(await Cluster.create(), options)
    try {
      await many.#start()
      return many
    } catch (error) {
      await many.stop()
      throw error
    }
  }

  /** All hypervisors pull at once. @returns what each of them moved. */
  async pullAll(): Promise<PullResult[]> {
    return await Promise.all(this.hypervisors.map(async (agent) => this.pull(agent)))
  }

  /** Pulls into a new file, which is compared with the image. */
  async pull(agent: AgentProcess): Promise<PullResult> {
    const file = `${agent.dataDir}/pulled`
    const query = { ref: REF, file, force: true }
    const signal = AbortSignal.timeout(this.#options.withinMs)
    const { socket } = agent.ready
    const result = await followAgent(socket, 'pull', { query, signal }, () => {})
    if (!Buffer.from(this.#image).equals(await readFile(file))) throw new Error(`${file} is wrong`)
    return result as PullResult
  }

  /** Kills the repository and all metadata providers at the same moment, and starts them again. */
  async restartBootstraps(): Promise<void> {
    await Promise.all(this.#bootstraps.map(async (agent) => agent.kill()))
    this.#bootstraps = []
    await this.#startBootstraps()
  }

  /** Waits until an agent is connected to so many metadata providers. */
  async connected(agent: AgentProcess, count = 1): Promise<void> {
    await this.#until(async () => {
      const peers = await callAgent(agent.ready.socket, 'GET', 'peers')
      return (
        (peers as ListedPeer[]).filter(({ roles }) => roles.includes('metadata')).length >= count
      )
    })
  }

  /** A new hypervisor joins with a fresh token. */
  async join(): Promise<AgentProcess> {
    const name = `host${this.#joined++}`
    const [repository] = this.#bootstraps
    if (repository === undefined) throw new Error('no repository runs')
    const events = this.cluster.file(`${name}.events`)
    const extra = ['--set', `agent.events=${events}`]
    const agent = await this.cluster.startHypervisor(repository, name, extra)
    this.hypervisors.push(agent)
    this.#events.set(agent, events)
    return agent
  }

  /** Peer ids of those who have been an agent's neighbours. */
  async neighboursOf(agent: AgentProcess): Promise<Set<string>> {
    const text = await readFile(this.#events.get(agent) ?? '', 'utf8')
    const events = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; peer: string })
    return new Set(events.filter(({ event }) => event === 'neighbour-joined').map(peerOf))
  }

  async stop(): Promise<void> {
    await this.cluster.stop()
  }

  async #start(): Promise<void> {
    const { hypervisors, atOnce = 2 } = this.#options
    await this.#startBootstraps()
    for (let started = 0; started < hypervisors; started += atOnce) {
      const count = Math.min(atOnce, hypervisors - started)
      await Promise.all(Array.from({ length: count }, async () => this.join()))
    }
    const [repository] = this.#bootstraps
    const file = this.cluster.file('image')
    await writeFile(file, this.#image)
    await blobswarmJson(repository?.dataDir ?? '', ['push', file, REF])
  }

  async #startBootstraps(): Promise<void> {
    const { metadataProviders = 1 } = this.#options
    const repository = await this.cluster.startRepository()
    this.#bootstraps.push(repository)
    for (let n = 0; n < metadataProviders; n++) {
      const body = { roles: ['metadata'] }
      const { token } = (await callAgent(repository.ready.socket, 'POST', 'token', { body })) as {
        token: string
      }
      const args = ['--roles', 'metadata', '--join', token, '--gridftp', '127.0.0.1:0']
      this.#bootstraps.push(await this.cluster.start(`metadata${n}`, args))
    }
  }

  async #until(isDone: () => Promise<boolean>): Promise<void> {
    const untilMs = Date.now() + this.#options.withinMs
    while (!(await isDone())) {
      if (Date.now() > untilMs) throw new Error(`not within ${this.#options.withinMs} ms`)
      await sleep(200)
    }
  }
}

function peerOf({ peer }: { readonly peer: string }): string {
  return peer
}
