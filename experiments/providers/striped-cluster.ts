import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { PushResult } from '../../src/agent/operations.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { AgentProcess, blobswarmJson } from '../support/agent-process.ts'
import { ProcessorUse } from '../support/processor.ts'
import { Testbed, type WireCounters } from '../testbed/testbed.ts'

/** Limits of links in Mbit/s, the same each way; host 0 with the managers has none. */
export interface StripedLinks {
  readonly clientMbit: number | undefined
  readonly providerMbit: number
}

export interface StripedClusterOptions extends StripedLinks {
  /** For data; whoever is told to end by a signal removes it. */
  readonly folder: string
  readonly providers: number
  readonly replicas: number
  readonly mtu?: number
  /** Further arguments of every agent. */
  readonly args?: readonly string[]
  /** Where every agent leaves its processor profile, if given. */
  readonly profileFolder?: string | undefined
}

/** One upload of fresh random bytes. */
export interface Upload {
  readonly path: string
  readonly bytes: number
  /** From the agent's first byte of it until it is published. */
  readonly seconds: number
  /** Bytes that were known already; of random ones there are none. */
  readonly reusedBytes: number
  /** Share of the whole machine's processors that had nothing to do, 0 to 1. */
  readonly idle: number
  /** Processor seconds of the client's agent, and of the busiest other one. */
  readonly clientSeconds: number
  readonly providerSeconds: number
  /** What passed the client's link, and each provider's. */
  readonly sentBytes: number
  readonly receivedBytes: readonly number[]
  /** Bytes that the client sent in each interval. */
  readonly sentInIntervals: readonly number[]
}

const MANAGERS = 'versionManager,providerManager,metadata'
const PORT = 4001
const CLIENT = 1
const FIRST_PROVIDER = 2
/** Time between two looks at the wire. */
export const INTERVAL_MS = 500

/** Managers, a client and providers, each on a host of its own. */
export class StripedCluster {
  readonly #options: StripedClusterOptions
  readonly #testbed: Testbed
  readonly #agents: AgentProcess[] = []
  #uploads = 0

  private constructor(options: StripedClusterOptions, testbed: Testbed) {
    this.#options = options
    this.#testbed = testbed
  }

  static async start(options: StripedClusterOptions): Promise<StripedCluster> {
    const { providers, clientMbit, providerMbit, mtu = 1500 } = options
    await mkdir(options.folder, { recursive: true })
    const rateOf = (host: number): number | undefined => {
      if (host === 0) return undefined
      return host === CLIENT ? clientMbit : providerMbit
    }
    const testbed = await Testbed.up({
      hosts: FIRST_PROVIDER + providers,
      mtu,
      limit: (host) => ({ upMbit: rateOf(host), downMbit: rateOf(host) }),
      onEnding: () => rmSync(options.folder, { recursive: true, force: true })
    })
    const cluster = new StripedCluster(options, testbed)
    try {
      await cluster.#startAgent(0, ['--roles', MANAGERS])
      await cluster.#join(CLIENT, 'gridftp', 'read,write,admin')
      for (let index = 0; index < providers; index++) {
        await cluster.#join(FIRST_PROVIDER + index, 'provider', 'read')
      }
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  get client(): AgentProcess {
    return this.#agent(CLIENT)
  }

  get manager(): AgentProcess {
    return this.#agent(0)
  }

  /** What has passed each provider's link. */
  async wireOfProviders(): Promise<WireCounters[]> {
    return (await this.#testbed.wire()).slice(FIRST_PROVIDER)
  }

  /** `kill -9`. @param peerId of a provider. */
  async killProvider(peerId: string): Promise<void> {
    await this.#agents.find(({ ready }) => ready.peerId === peerId)?.kill()
  }

  /** Stores fresh random bytes as a new image. */
  async upload(bytes: number): Promise<Upload> {
    const path = `/image-${this.#uploads++}.raw`
    const file = join(this.#options.folder, 'upload.raw')
    await writeRandom(file, bytes)
    const use = await ProcessorUse.begin(this.#agents.map(({ ready }) => ready.pid))
    const before = await this.#testbed.wire()
    const trace = new WireTrace(async () => (await this.#testbed.wire())[CLIENT]?.sentBytes ?? 0)
    const result = await blobswarmJson<PushResult>(this.client.dataDir, ['push', file, path])
    const sentInIntervals = await trace.end()
    const after = await this.#testbed.wire()
    const { idle, seconds } = await use.end()
    const [, clientSeconds = 0, ...providerSeconds] = Array.from(seconds.values())
    const moved = after.map(({ sentBytes, receivedBytes }, host) => ({
      sent: sentBytes - (before[host]?.sentBytes ?? 0),
      received: receivedBytes - (before[host]?.receivedBytes ?? 0)
    }))
    return {
      path,
      bytes,
      seconds: result.seconds,
      reusedBytes: result.reusedBytes,
      idle,
      clientSeconds,
      providerSeconds: Math.max(...providerSeconds),
      sentBytes: moved[CLIENT]?.sent ?? 0,
      receivedBytes: moved.slice(FIRST_PROVIDER).map(({ received }) => received),
      sentInIntervals
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#agents.map(async (agent) => agent.stop()))
    await this.#testbed.down()
  }

  #agent(host: number): AgentProcess {
    const agent = this.#agents[host]
    if (agent === undefined) throw new Error(`no agent on host ${host}`)
    return agent
  }

  async #join(host: number, roles: string, rights: string): Promise<void> {
    const request = ['token', 'create', '--roles', roles, '--rights', rights]
    const { token } = await blobswarmJson<{ token: string }>(this.#agent(0).dataDir, request)
    await this.#startAgent(host, ['--roles', roles, '--join', token])
  }

  async #startAgent(host: number, args: readonly string[]): Promise<void> {
    const { folder, replicas, args: further = [], profileFolder } = this.#options
    const dataDir = join(folder, `host-${host}`)
    await mkdir(dataDir)
    const profiling =
      profileFolder === undefined
        ? []
        : ['env', `NODE_OPTIONS=--cpu-prof --cpu-prof-dir=${join(profileFolder, `host-${host}`)}`]
    const agent = await AgentProcess.start({
      dataDir,
      prefix: [...this.#testbed.prefix(host), ...profiling],
      args: [
        ...args,
        '--listen',
        `/ip4/${this.#testbed.address(host)}/tcp/${PORT}`,
        '--http',
        '127.0.0.1:0',
        '--gridftp',
        '127.0.0.1:0',
        '--set',
        `storage.replicas=${replicas}`,
        '--set',
        'agent.logLevel=error',
        ...further
      ],
      onLog: (line) => process.stderr.write(`host ${host}: ${line}\n`)
    })
    this.#agents[host] = agent
  }
}

/** Notes what a counter has grown by in each interval, until it is told to end. */
class WireTrace {
  readonly #read: () => Promise<number>
  readonly #grown: number[] = []
  readonly #timer: NodeJS.Timeout
  #last: number | undefined
  #reading: Promise<void>

  constructor(read: () => Promise<number>) {
    this.#read = read
    this.#reading = this.#look()
    this.#timer = setInterval(() => {
      this.#reading = this.#reading.then(async () => this.#look())
    }, INTERVAL_MS)
  }

  async end(): Promise<number[]> {
    clearInterval(this.#timer)
    await this.#reading
    return this.#grown
  }

  async #look(): Promise<void> {
    const now = await this.#read()
    if (this.#last !== undefined) this.#grown.push(now - this.#last)
    this.#last = now
  }
}

async function writeRandom(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w')
  try {
    for (let left = bytes; left > 0; left -= MIB) {
      await file.write(randomBytes(Math.min(left, MIB)))
    }
  } finally {
    await file.close()
  }
}
