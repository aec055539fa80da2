/**
 * How a pull begins: a repository and some hypervisors as processes on loopback, which pull a fresh image
 * at once; told from their events: `node experiments/pull-start/run.ts --agents 8 --mib 64`.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { parseArgs } from 'node:util'
import { callAgent, followAgent } from '../../src/agent/control-client.ts'
import { MIB } from '../../src/lib/bytes.ts'
import type { SwarmEvent } from '../../src/peer/swarm/events.ts'
import { AgentProcess } from '../support/agent-process.ts'

const { values } = parseArgs({
  options: {
    agents: { type: 'string', default: '8' },
    mib: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '3' },
    set: { type: 'string', multiple: true, default: [] },
    tmp: { type: 'string', default: tmpdir() }
  }
})

type Stamped = SwarmEvent & { readonly ts: number; readonly self: string }

interface Puller {
  readonly agent: AgentProcess
  readonly events: string
}

/** Milliseconds from the command to each step, of one agent. */
interface Timeline {
  readonly started: number
  readonly neighbour: number
  readonly peer: number
  readonly chunk: number
  readonly done: number
}

const folder = await mkdtemp(join(values.tmp, 'pull-start-'))
const settings = values.set.flatMap((pair) => ['--set', pair])
const agents: AgentProcess[] = []

async function startAgent(name: string, args: readonly string[]): Promise<AgentProcess> {
  const agent = await AgentProcess.start({
    dataDir: join(folder, name),
    args: ['--http', '127.0.0.1:0', '--gridftp', '127.0.0.1:0', ...settings, ...args]
  })
  agents.push(agent)
  return agent
}

async function startPuller(repository: AgentProcess, name: string): Promise<Puller> {
  const body = { roles: ['deploy'] }
  const answer = await callAgent(repository.ready.socket, 'POST', 'token', { body })
  const { token } = answer as { token: string }
  const events = join(folder, `${name}.events`)
  const joined = ['--roles', 'deploy', '--join', token, '--set', `agent.events=${events}`]
  return { agent: await startAgent(name, joined), events }
}

function isPeer(event: Stamped): boolean {
  return event.event === 'neighbour-joined' && event.peer !== repository.ready.peerId
}

async function timelineOf(puller: Puller, startedMs: number, doneMs: number): Promise<Timeline> {
  const lines = (await readFile(puller.events, 'utf8')).trim().split('\n')
  const events = lines.map((line) => JSON.parse(line) as Stamped)
  const since = events.filter(({ ts }) => ts >= startedMs)
  const first = (wanted: (event: Stamped) => boolean): number =>
    (since.find(wanted)?.ts ?? Number.NaN) - startedMs
  return {
    started: first(({ event }) => event === 'download-started'),
    neighbour: first(({ event }) => event === 'neighbour-joined'),
    peer: first(isPeer),
    chunk: first(({ event }) => event === 'chunk-received'),
    done: doneMs - startedMs
  }
}

async function pullOnce(puller: Puller, round: number): Promise<Timeline> {
  const startedMs = Date.now()
  const query = { ref: `/image${round}`, file: join(puller.agent.dataDir, `out${round}`) }
  await followAgent(puller.agent.ready.socket, 'pull', { query }, () => {})
  const doneMs = Date.now()
  await new Promise((resolve) => setTimeout(resolve, 300)) // events are written a little later
  return await timelineOf(puller, startedMs, doneMs)
}

function show(name: string, timelines: readonly Timeline[]): void {
  const column = (read: (timeline: Timeline) => number): string => {
    const sorted = timelines.map(read).toSorted((left, right) => left - right)
    const middle = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
    return `${middle.toFixed(0)} / ${(sorted.at(-1) ?? Number.NaN).toFixed(0)}`.padStart(14)
  }
  const columns = (['started', 'neighbour', 'peer', 'chunk', 'done'] as const).map((step) =>
    column((timeline) => timeline[step])
  )
  process.stdout.write(`${name.padEnd(10)}${columns.join('')}\n`)
}

let repository: AgentProcess
try {
  const roles = 'versionManager,providerManager,metadata,provider,gridftp'
  repository = await startAgent('repository', ['--roles', roles])
  const pullers: Puller[] = []
  for (let n = 0; n < Number(values.agents); n++) {
    pullers.push(await startPuller(repository, `host${n}`))
  }
  process.stdout.write(
    'ms, median / worst    download      neighbour          peer   first chunk          done\n'
  )
  for (let round = 1; round <= Number(values.rounds); round++) {
    const body = Readable.from(Array.from({ length: Number(values.mib) }, () => randomBytes(MIB)))
    const query = { path: `/image${round}`, bytes: Number(values.mib) * MIB }
    await callAgent(repository.ready.socket, 'PUT', 'push', { query, body })
    show(
      `round ${round}`,
      await Promise.all(pullers.map(async (puller) => pullOnce(puller, round)))
    )
  }
} finally {
  await Promise.all(agents.map(async (agent) => agent.kill()))
  await rm(folder, { recursive: true, force: true })
}
