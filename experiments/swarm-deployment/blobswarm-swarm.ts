import { createReadStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import pLimit from 'p-limit'
import { callAgent, followAgent } from '../../src/agent/control-client.ts'
import type { PullResult, PushResult } from '../../src/agent/operations.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { AgentProcess } from '../support/agent-process.ts'
import { type Image, makeRandomImage, type Stage } from './stage.ts'
import type { Swarm } from './swarm.ts'

const REPOSITORY = 'versionManager,providerManager,metadata,provider'
const PORT = 4001
const PATH = '/image.raw'
const WARM_UP_PATH = '/warm-up.raw'
const WARM_UP_WITHIN_MS = 300_000
/** Agents that are started at the same time. */
const STARTS = 3

/** Our agents; the source is a whole repository. */
export class BlobswarmSwarm implements Swarm {
  readonly #stage: Stage
  readonly #program: string | undefined
  readonly #agents = new Map<number, AgentProcess>()
  readonly #commands = new Map<number, readonly string[]>()
  readonly #pulls = new Map<number, PullResult>()
  readonly #restarted = new Set<number>()
  #reusedAtPush = 0

  /** @param program of the agents, if not this checkout's. */
  constructor(stage: Stage, program?: string) {
    this.#stage = stage
    this.#program = program
  }

  async start(): Promise<void> {
    const { image, hosts } = this.#stage
    await this.#start(0, ['--roles', REPOSITORY])
    const limit = pLimit(STARTS)
    await Promise.all(hosts.map((host) => limit(async () => this.#join(host))))
    this.#reusedAtPush = (await this.#push(image, PATH)).reusedBytes
  }

  /** Another image, so that connections stand and code is compiled, as with agents that have run for a while. */
  async warmUp(): Promise<void> {
    const { hosts, setting, folder } = this.#stage
    if (setting.warmUpMib === 0) return
    const other = await makeRandomImage(join(folder, 'warm-up.raw'), setting.warmUpMib)
    await this.#push(other, WARM_UP_PATH)
    await Promise.all(
      hosts.map(async (host) =>
        this.#pull(host, WARM_UP_PATH, AbortSignal.timeout(WARM_UP_WITHIN_MS))
      )
    )
  }

  /** By the control socket, as `blobswarm pull` does; one process asks for all, so that no client takes part. */
  async fetch(host: number, signal: AbortSignal): Promise<number> {
    this.#pulls.set(host, await this.#pull(host, PATH, signal))
    return performance.now()
  }

  async kill(host: number): Promise<void> {
    await this.#agent(host).kill()
  }

  async restart(host: number): Promise<void> {
    this.#restarted.add(host)
    await this.#start(host, this.#commands.get(host) ?? [])
  }

  file(host: number): string {
    return join(this.#folderOf(host), 'copy.raw')
  }

  /** The agent's events, one JSON object a line. */
  events(host: number): string {
    return join(this.#folderOf(host), 'events.jsonl')
  }

  get peerIdOfSource(): string {
    return this.#agent(0).ready.peerId
  }

  /** Bytes that a host's pull took from providers, and from other hosts. */
  moved(host: number): { readonly fromProviders: number; readonly fromPeers: number } {
    const { fromProvidersBytes = 0, fromPeersBytes = 0 } = this.#pulls.get(host) ?? {}
    return { fromProviders: fromProvidersBytes, fromPeers: fromPeersBytes }
  }

  /** What an agent is told by an operator's command, such as `status`. */
  async ask(host: number, name: string): Promise<unknown> {
    return callAgent(this.#agent(host).ready.socket, 'GET', name, { query: { ref: PATH } })
  }

  /** What a host held already when it was started again is not counted. */
  reusedBytes(): number {
    const reused = Array.from(this.#pulls, ([host, pull]) =>
      this.#restarted.has(host) ? 0 : pull.reusedBytes
    )
    return reused.reduce((sum, bytes) => sum + bytes, this.#reusedAtPush)
  }

  async stop(): Promise<void> {
    await Promise.all(Array.from(this.#agents.values(), async (agent) => agent.kill()))
  }

  async #push({ path: file, bytes }: Image, path: string): Promise<PushResult> {
    const body = createReadStream(file, { highWaterMark: MIB })
    const call = { query: { path, bytes }, body }
    return (await callAgent(this.#agent(0).ready.socket, 'PUT', 'push', call)) as PushResult
  }

  async #pull(host: number, ref: string, signal: AbortSignal): Promise<PullResult> {
    const query = { ref, file: this.file(host), force: true }
    const { socket } = this.#agent(host).ready
    return (await followAgent(socket, 'pull', { query, signal }, () => {})) as PullResult
  }

  async #join(host: number): Promise<void> {
    const { socket } = this.#agent(0).ready
    const body = { roles: ['deploy'], rights: ['read'] }
    const { token } = (await callAgent(socket, 'POST', 'token', { body })) as { token: string }
    await this.#start(host, ['--roles', 'deploy', '--join', token])
  }

  async #start(host: number, args: readonly string[]): Promise<void> {
    const { testbed, setting } = this.#stage
    this.#commands.set(host, args)
    const dataDir = this.#folderOf(host)
    await mkdir(dataDir, { recursive: true })
    const settings = ['agent.logLevel=error', `agent.events=${this.events(host)}`, ...setting.set]
    const agent = await AgentProcess.start({
      dataDir,
      program: this.#program,
      prefix: testbed.prefix(host),
      args: [
        ...args,
        '--listen',
        `/ip4/${testbed.address(host)}/tcp/${PORT}`,
        '--http',
        '127.0.0.1:0',
        '--gridftp',
        '127.0.0.1:0',
        ...settings.flatMap((it) => ['--set', it])
      ],
      onLog: (line) => process.stderr.write(`host ${host}: ${line}\n`)
    })
    this.#agents.set(host, agent)
  }

  #folderOf(host: number): string {
    return join(this.#stage.folder, `host-${host}`)
  }

  #agent(host: number): AgentProcess {
    const agent = this.#agents.get(host)
    if (agent === undefined) throw new Error(`no agent on host ${host}`)
    return agent
  }
}
