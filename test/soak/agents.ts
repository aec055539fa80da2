/**
 * Fifty agents as processes on this machine: they join, find each other and pull an image at once; then the
 * repository and all metadata providers are killed and come back, and one more joins and pulls:
 * `npm run soak:agents -- --agents 50 --mib 64`. Takes some 100 MB of memory for each agent.
 */
import { parseArgs } from 'node:util'
import { MIB } from '../../src/lib/bytes.ts'
import { ManyAgents } from '../support/many-agents.ts'

const { values } = parseArgs({
  options: {
    agents: { type: 'string', default: '50' },
    mib: { type: 'string', default: '64' },
    'metadata-providers': { type: 'string', default: '2' }
  }
})

const startedMs = performance.now()

function say(text: string): void {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)
  process.stdout.write(`${seconds} s  ${text}\n`)
}

function demand(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(`not seen: ${what}`)
  say(`seen: ${what}`)
}

const imageBytes = Number(values.mib) * MIB
const many = await ManyAgents.start({
  hypervisors: Number(values.agents),
  imageBytes,
  metadataProviders: Number(values['metadata-providers']),
  withinMs: 600_000
})
try {
  say(`${many.hypervisors.length} agents have joined`)
  const pulled = await many.pullAll()
  const fromPeers = pulled.reduce((sum, { fromPeersBytes }) => sum + fromPeersBytes, 0)
  const copies = pulled.reduce((sum, { fromProvidersBytes }) => sum + fromProvidersBytes, 0)
  say(`all have pulled; copies from the source: ${(copies / imageBytes).toFixed(2)}`)
  demand(fromPeers > 0.5 * imageBytes * pulled.length, 'more than half of it came from each other')
  const neighbours = await Promise.all(
    many.hypervisors.map(async (agent) => (await many.neighboursOf(agent)).size)
  )
  say(`neighbours of each: ${Math.min(...neighbours)} to ${Math.max(...neighbours)}`)

  await many.restartBootstraps()
  say('the repository and all metadata providers have restarted')
  const restartedMs = performance.now()
  await Promise.all(many.hypervisors.map(async (agent) => many.connected(agent)))
  const backMs = performance.now() - restartedMs
  demand(true, `every agent has a connection again after ${(backMs / 1000).toFixed(1)} s`)
  const late = await many.join()
  const result = await many.pull(late)
  const hosts = new Set(many.hypervisors.map(({ ready }) => ready.peerId))
  const met = (await many.neighboursOf(late)).intersection(hosts).size
  demand(
    met > 0,
    `one more joins and pulls within ${result.seconds.toFixed(1)} s, from ${met} others`
  )
  say('all seen')
} finally {
  await many.stop()
}
