import { once } from 'node:events'
import { fromHex } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes, systemRandom } from '../../src/lib/random.ts'
import { Authority } from '../../src/peer/authority.ts'
import { Libp2pNode } from '../../src/peer/node.ts'

// Nodes that connect to others, in a process of their own: connections.ts forks it.

/** What such a process is asked. */
type Call =
  | { readonly call: 'usage' }
  | { readonly call: 'stop' }
  /** `jobs`: which of its nodes connects to which address. */
  | { readonly call: 'connect'; readonly jobs: readonly [number, string][] }

/** Connections that a process makes at a time. */
const AT_ONCE = 4

const [seed = '', count = '1'] = process.argv.slice(2)
const authority = new Authority(fromHex(seed), systemClock)
const nodes: Libp2pNode[] = []
for (let made = 0; made < Number(count); made++) nodes.push(await startNode())
process.send?.({ addresses: nodes.map((node) => node.addresses()[0]) })
for (;;) {
  const [call] = (await once(process, 'message')) as [Call]
  if (call.call === 'stop') break
  if (call.call === 'connect') await connectAll([...call.jobs])
  process.send?.(process.cpuUsage())
}
process.exit()

async function startNode(): Promise<Libp2pNode> {
  const components = { clock: systemClock, random: systemRandom, logger: noLogger }
  const node = await Libp2pNode.create(components, secureBytes(32))
  const certificate = authority.issue(node.peerId, { roles: ['deploy'], rights: ['read'] })
  node.membership.enter({ clusterId: authority.clusterId, certificate })
  await node.start()
  return node
}

async function connectAll(jobs: [number, string][]): Promise<void> {
  const work = async (): Promise<void> => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
      await nodes[job[0]]?.connect(job[1])
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}
