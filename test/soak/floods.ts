/**
 * What an agent bears: streams without end of every protocol, of none, by a member and by a stranger, and
 * connections without end that say nothing, stop within the handshake or finish it and say no hello, while
 * another agent pulls an image from it: `npm run soak:swarm -- --floods [--streams N] [--connections N]`.
 * Prints what each cost the agent that was flooded.
 */
import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Connection } from '@libp2p/interface'
import { type AgentProcess, blobswarmJson } from '../../experiments/support/agent-process.ts'
import { timesOfTree } from '../../experiments/support/process-tree.ts'
import { callAgent, followAgent } from '../../src/agent/control-client.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { parseJoinToken } from '../../src/peer/join-token.ts'
import { askToJoin, HELLO } from '../../src/peer/protocols/hello.ts'
import { PROTOCOL_PERMISSIONS } from '../../src/peer/rights.ts'
import { Cluster } from '../support/cluster.ts'
import { RawPeer } from '../support/raw-peer.ts'
import { floodStreams } from '../support/stream-flood.ts'

const { values } = parseArgs({
  options: {
    streams: { type: 'string', default: '10000' },
    connections: { type: 'string', default: '2000' }
  }
})

const STREAMS = Number(values.streams)
const CONNECTIONS = Number(values.connections)
const IMAGE_BYTES = 64 * MIB
const PULL_RATE = MIB
const CONNECTIONS_OF_PEER = 50
const LIBRARY_PROTOCOLS = ['/blobswarm/kad/1', '/blobswarm/ping/1.0.0']
/** Names its protocols, and then half of a message of noise. */
const HALF_A_HANDSHAKE = Buffer.concat([
  Uint8Array.of(19),
  Buffer.from('/multistream/1.0.0\n'),
  Uint8Array.of(7),
  Buffer.from('/noise\n'),
  Uint8Array.of(0, 32, 1, 2, 3, 4)
])

const cluster = await Cluster.create()
const rawPeers = new Set<RawPeer>()

interface Cost {
  readonly residentMib: number
  readonly descriptors: number
  readonly seconds: number
}

async function look({ ready }: AgentProcess): Promise<Cost> {
  const status = await readFile(`/proc/${ready.pid}/status`, 'utf8')
  const { user, system } = await timesOfTree(ready.pid)
  return {
    residentMib: Math.round(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024),
    descriptors: (await readdir(`/proc/${ready.pid}/fd`)).length,
    seconds: user + system
  }
}

/** Longest time that the agent took to answer a call, until told to end. */
function watchAnswers({ ready }: AgentProcess): () => Promise<number> {
  let longestMs = 0
  const end = new AbortController()
  const watching = (async () => {
    while (!end.signal.aborted) {
      const askedMs = performance.now()
      await callAgent(ready.socket, 'GET', 'status')
      longestMs = Math.max(longestMs, performance.now() - askedMs)
      await sleep(50)
    }
  })()
  return async () => {
    end.abort()
    await watching
    return longestMs
  }
}

async function attacked(name: string, attack: () => Promise<unknown>): Promise<void> {
  const before = await look(repository)
  const pulledBefore = pulledBytes
  const startedMs = performance.now()
  const longest = watchAnswers(repository)
  let most = before
  const lookAgain = async (): Promise<void> => {
    const now = await look(repository)
    const residentMib = Math.max(most.residentMib, now.residentMib)
    most = { ...now, residentMib, descriptors: Math.max(most.descriptors, now.descriptors) }
  }
  const watch = setInterval(() => void lookAgain(), 100)
  await attack()
  clearInterval(watch)
  const after = await look(repository)
  const seconds = (performance.now() - startedMs) / 1000
  const row = [
    name.padEnd(44),
    `${seconds.toFixed(1)} s`,
    `MiB ${before.residentMib} → ${most.residentMib} → ${after.residentMib}`,
    `descriptors ${before.descriptors} → ${most.descriptors} → ${after.descriptors}`,
    `processor ${(after.seconds - before.seconds).toFixed(1)} s`,
    `slowest answer ${Math.round(await longest())} ms`,
    `pull at ${((pulledBytes - pulledBefore) / seconds / MIB).toFixed(2)} MiB/s`
  ]
  process.stdout.write(`${row.join(' | ')}\n`)
}

async function rawPeer(): Promise<RawPeer> {
  const peer = await RawPeer.start()
  rawPeers.add(peer)
  return peer
}

async function dialled(isMember: boolean): Promise<Connection> {
  const peer = await rawPeer()
  const connection = await peer.dial(repository.ready.addresses[0] ?? '')
  if (!isMember) return connection
  const request = ['token', 'create', '--roles', 'deploy']
  const { token } = await blobswarmJson<{ token: string }>(repository.dataDir, request)
  const parsed = parseJoinToken(token)
  const certificate = await askToJoin(await peer.channel(connection, HELLO.id), parsed)
  await peer.sayHello(connection, { clusterId: parsed.clusterId, certificate })
  return connection
}

async function floodWithStreams(isMember: boolean, protocol?: string): Promise<void> {
  const connection = await dialled(isMember)
  const who = isMember ? 'member' : 'stranger'
  await attacked(`${STREAMS} streams of ${protocol ?? 'nothing'}, ${who}`, async () => {
    await floodStreams(connection, STREAMS, protocol)
    for (let waitedMs = 0; connection.status === 'open' && waitedMs < 30_000; waitedMs += 50) {
      await sleep(50)
    }
    await sleep(1000)
  })
  if (connection.status === 'open') throw new Error(`${protocol} by a ${who} went on`)
}

async function floodWithAllStreams(): Promise<void> {
  const protocols = [...Object.keys(PROTOCOL_PERMISSIONS), ...LIBRARY_PROTOCOLS, HELLO.id]
  for (const protocol of [...protocols, '/blobswarm/nothing/1', undefined]) {
    await floodWithStreams(true, protocol)
  }
  for (const protocol of [HELLO.id, '/blobswarm/swarm/1', undefined]) {
    await floodWithStreams(false, protocol)
  }
}

/** Connects, and again whenever it is cut off, until told to end. */
async function keepSaying(port: number, words: Uint8Array, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const socket: Socket = createConnection(port, '127.0.0.1')
    socket.on('error', () => {}) // being cut off is what it asks for
    if (words.byteLength > 0) socket.write(words)
    const onAbort = (): void => void socket.destroy()
    signal.addEventListener('abort', onAbort, { once: true })
    socket.resume()
    await new Promise((resolve) => socket.once('close', resolve))
    signal.removeEventListener('abort', onAbort)
    await sleep(1000, undefined, { signal }).catch(() => {})
  }
}

/** A new agent from the same address gets in while they come. @returns after how many milliseconds. */
async function joinsAmong(name: string): Promise<number> {
  const startedMs = performance.now()
  const agent = await cluster.startHypervisor(repository, name)
  const joinedMs = performance.now() - startedMs
  await agent.stop()
  return joinedMs
}

async function floodWithConnections(name: string, words: Uint8Array): Promise<void> {
  const port = Number(/\/tcp\/(\d+)/.exec(repository.ready.addresses[0] ?? '')?.[1])
  let joinedMs = 0
  await attacked(`${CONNECTIONS} connections that ${name}`, async () => {
    const end = new AbortController()
    const attackers = Array.from({ length: CONNECTIONS }, async () =>
      keepSaying(port, words, end.signal)
    )
    await sleep(2000)
    joinedMs = await joinsAmong(`joins-among-${words.byteLength}`)
    end.abort()
    await Promise.all(attackers)
    await sleep(1000)
  })
  process.stdout.write(
    `  another agent from the same address was in after ${Math.round(joinedMs)} ms\n`
  )
}

async function floodWithStrangers(): Promise<void> {
  let joinedMs = 0
  await attacked(`${CONNECTIONS} connections that say no hello`, async () => {
    const peers = await Promise.all(
      Array.from({ length: CONNECTIONS / CONNECTIONS_OF_PEER }, rawPeer)
    )
    const address = repository.ready.addresses[0] ?? ''
    const dialling = peers.map(async (peer) => {
      for (let n = 0; n < CONNECTIONS_OF_PEER; n++) await peer.dialAnew(address).catch(() => {})
    })
    await sleep(1000)
    joinedMs = await joinsAmong('joins-among-strangers')
    await Promise.all(dialling)
    await sleep(1000)
  })
  process.stdout.write(
    `  another agent from the same address was in after ${Math.round(joinedMs)} ms\n`
  )
}

async function refusals({ ready }: AgentProcess): Promise<string> {
  const text = await (await fetch(`http://${ready.http}/metrics`)).text()
  return text
    .split('\n')
    .filter((line) => /^blobswarm_peer_\w+_refused_total/.test(line))
    .join('\n')
}

const repository = await cluster.startRepository()
let pulledBytes = 0
try {
  await callAgent(repository.ready.socket, 'GET', 'status')
  const image = cluster.file('image')
  await writeFile(image, randomBytes(IMAGE_BYTES))
  await blobswarmJson(repository.dataDir, ['push', image, '/images/flooded'])
  const rate = ['--set', `swarm.downloadRate=${PULL_RATE}`]
  const hypervisor = await cluster.startHypervisor(repository, 'hypervisor', rate)
  const query = { ref: '/images/flooded', file: cluster.file('pulled') }
  const pull = followAgent(hypervisor.ready.socket, 'pull', { query }, (progress) => {
    pulledBytes = progress.doneBytes
  })
  pull.catch(() => {}) // told below, unless something else went wrong before
  if (STREAMS > 0) await floodWithAllStreams()
  process.stdout.write(
    `without a flood an agent is in after ${Math.round(await joinsAmong('quiet'))} ms\n`
  )
  await floodWithConnections('say nothing', new Uint8Array())
  await floodWithConnections('stop within the handshake', HALF_A_HANDSHAKE)
  await floodWithStrangers()
  await pull
  await attacked('nothing more', async () => sleep(3000))
  process.stdout.write(`the pull is done\n${await refusals(repository)}\n`)
} catch (error) {
  process.stderr.write(`${cluster.log('repository').lines.slice(-20).join('\n')}\n`)
  throw error
} finally {
  await Promise.all([...rawPeers].map(async (peer) => peer.stop()))
  await cluster.stop()
}
