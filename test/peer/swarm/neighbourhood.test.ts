import { expect, test } from '@jest/globals'
import { KIB } from '../../../src/lib/bytes.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { randomImage, SimulatedAgent, type TestImage } from '../../support/simulated-agent.ts'
import { SimulatedNetwork } from '../../support/simulated-network.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const sources = ['provider']

/** A provider of an image with room for some neighbours, and agents. */
async function stage(maxNeighbours: number, line = {}) {
  const clock = new VirtualClock()
  const network = new SimulatedNetwork(clock)
  const image = randomImage(40, KIB, seededRandom(1))
  const session = { maxNeighbours }
  const options = { roles: ['provider'], knows: [image], line, session } as const
  const provider = new SimulatedAgent(network, 'provider', options)
  await provider.fill(image)
  await provider.start()
  const agents: SimulatedAgent[] = []
  for (const name of ['a', 'b', 'c']) {
    const agent = new SimulatedAgent(network, name, { seed: agents.length + 2 })
    await agent.start()
    agents.push(agent)
  }
  return {
    clock,
    image,
    provider,
    agents: agents as [SimulatedAgent, SimulatedAgent, SimulatedAgent]
  }
}

function neighboursOf(agent: SimulatedAgent, { manifest }: TestImage): string[] {
  const { neighbours = [] } = agent.service.describe(manifest.root) ?? {}
  return neighbours.map(({ peerId }) => peerId).toSorted()
}

test('one that wants nothing any more makes room for a newcomer', async () => {
  const { clock, image, provider, agents } = await stage(2)
  const [first, second, third] = agents
  await clock.until(first.download(image, { sources }))
  await clock.until(second.download(image, { sources }))

  const result = await clock.until(third.download(image, { sources }), 2000)

  expect(result.chunksDone).toBe(40)
  expect(neighboursOf(provider, image)).toHaveLength(2)
  expect(neighboursOf(provider, image)).toContain('c')
})

test('one that is refused for want of room is told others, and gets the image from them', async () => {
  const { clock, image, agents } = await stage(2, { up: 20 * KIB })
  const [first, second, third] = agents
  const others = [first, second].map(async (agent) => agent.download(image, { sources }))
  await clock.advance(200)

  const result = await clock.until(third.download(image, { sources }))

  expect(result.bytesFromPeers).toBe(40 * KIB)
  await clock.until(Promise.all(others))
})
