import { fork } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { MIB, toHex } from '../../src/lib/bytes.ts'
import { secureBytes } from '../../src/lib/random.ts'
import { projectFile } from '../support/agent-process.ts'
import { ProcessorUse } from '../support/processor.ts'
import { EndProcess } from './end-process.ts'
import type { Usage } from './ends.ts'

// Agents that all exchange with each other over narrow links: see README.md.

const { values } = parseArgs({
  options: {
    agents: { type: 'string', default: '6' },
    mib: { type: 'string', default: '32' },
    mbit: { type: 'string', default: '25' },
    repetitions: { type: 'string', default: '1' },
    trees: { type: 'string', default: '' },
    folder: { type: 'string', default: '/dev/shm' },
    profile: { type: 'string' },
    record: { type: 'boolean', default: false },
    hold: { type: 'boolean', default: false }
  }
})

interface Result {
  readonly tree: string
  readonly seconds: number
  /** Processor seconds for each GiB that was received and sent, of all agents. */
  readonly user: number
  readonly system: number
  readonly peakMib: number
  readonly idle: number
}

const trees = values.trees === '' ? [''] : values.trees.split(',')
const results: Result[] = []
for (let n = 0; n < Number(values.repetitions); n++) {
  for (const tree of n % 2 === 0 ? trees : trees.toReversed()) {
    const result = await crowd(tree)
    results.push(result)
    process.stdout.write(`${JSON.stringify(result)}\n`)
  }
}
for (const tree of trees) print(tree)
if (values.record) await record()

async function crowd(tree: string): Promise<Result> {
  const folder = await mkdtemp(join(values.folder, 'crowd-'))
  const bytesPerSecond = (Number(values.mbit) * 1e6) / 8
  const bytes = Number(values.mib) * MIB
  const ports = await freePorts(Number(values.agents))
  const relay = fork(new URL('relay.ts', import.meta.url), [
    JSON.stringify({ ports, bytesPerSecond })
  ])
  await once(relay, 'message')
  const authoritySeed = toHex(secureBytes(32))
  const agents = await Promise.all(
    ports.map(async (announcePort, at) => {
      const isSource = at === 0
      const own = { folder: join(folder, `${at}`), isSource, announcePort }
      const profile = values.profile && { profile: join(values.profile, `crowd-${at}.cpuprofile`) }
      // A little less than the link, so that nothing waits in the relay.
      const uploadRate = bytesPerSecond * 0.95
      const shared = { kind: 'stored', bytes, authoritySeed, uploadRate } as const
      return EndProcess.start({ ...shared, ...own, ...profile }, tree === '' ? undefined : tree)
    })
  )
  try {
    relay.send(Object.fromEntries(agents.map(({ own }, at) => [ports[at], own])))
    const [source, ...takers] = agents
    const before = await usageOf(agents)
    const machine = await ProcessorUse.begin([])
    const times = await Promise.all(
      takers.map(async (taker, at) => {
        const others = [source, ...takers.slice(0, at)].map((other) => other?.address ?? '')
        return taker.fetch(others, source?.ids ?? '')
      })
    )
    const { idle } = await machine.end()
    const after = await usageOf(agents)
    if (values.hold) await measureIdle(agents)
    for (const agent of agents) await agent.stop()
    const gib = (bytes * takers.length) / (1024 * MIB)
    const spent = (field: 'user' | 'system'): number => sumOf(after, field) - sumOf(before, field)
    const seconds = Math.max(...times) / 1000
    const peakMib = Math.max(...after.map((usage) => usage.peakMib))
    return {
      tree,
      seconds,
      user: spent('user') / gib,
      system: spent('system') / gib,
      peakMib,
      idle
    }
  } finally {
    relay.kill()
    await rm(folder, { recursive: true, force: true })
  }
}

/** What agents cost that stay connected and have nothing to do. */
async function measureIdle(agents: readonly EndProcess[]): Promise<void> {
  const seconds = 20
  await new Promise((resolve) => setTimeout(resolve, 5000))
  const before = await usageOf(agents)
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const after = await usageOf(agents)
  const spent = sumOf(after, 'user') + sumOf(after, 'system')
  const share = (spent - sumOf(before, 'user') - sumOf(before, 'system')) / seconds / agents.length
  process.stdout.write(`idle agents use ${(share * 100).toFixed(2)} % of a core each\n`)
}

function sumOf(usages: readonly Usage[], field: 'user' | 'system'): number {
  return usages.reduce((sum, usage) => sum + usage[field], 0)
}

async function usageOf(agents: readonly EndProcess[]): Promise<Usage[]> {
  return Promise.all(agents.map(async (agent) => agent.usage()))
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = net.createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    })
  )
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port)
  await Promise.all(
    servers.map(async (server) => new Promise<void>((resolve) => server.close(() => resolve())))
  )
  return ports
}

function print(tree: string): void {
  const own = results.filter((result) => result.tree === tree)
  const median = (field: keyof Omit<Result, 'tree'>): number => {
    const sorted = own.map((result) => result[field]).toSorted((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? 0
  }
  process.stdout.write(
    `${tree}: ${median('seconds').toFixed(1)} s; s/GiB user ${median('user').toFixed(1)} system ` +
      `${median('system').toFixed(1)}; peak ${median('peakMib').toFixed(0)} MiB; idle ` +
      `${median('idle').toFixed(2)}\n`
  )
}

async function record(): Promise<void> {
  const folder = projectFile('experiments/transfer/results')
  await mkdir(folder, { recursive: true })
  const at = new Date().toISOString()
  const lines = results.map((result) => `${JSON.stringify({ at, ...result })}\n`)
  await appendFile(join(folder, 'crowd.jsonl'), lines.join(''))
}
