import { expect, test } from '@jest/globals'
import { KIB } from '../../../src/lib/bytes.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import type { AskCount } from '../../../src/peer/swarm/run-account.ts'
import { imageOf, randomImage } from '../../support/simulated-agent.ts'
import { described, eventsOf, SwarmStage } from '../../support/swarm-stage.ts'

const sources = ['provider']

test('every byte that came is told of somebody, and the reasons add up to the requests', async () => {
  const stage = new SwarmStage()
  const image = randomImage(60, KIB, seededRandom(1))
  await stage.provider(image)
  const agents = await Promise.all(['a', 'b', 'c'].map(async (name) => stage.agent(name)))
  await stage.clock.until(
    Promise.all(agents.map(async (agent) => agent.download(image, { sources })))
  )

  for (const agent of agents) {
    const { neighbours, left, download, missing } = described(agent, image)
    const received = [...neighbours, ...left].map(({ bytesReceived }) => bytesReceived)
    expect(received.reduce((sum, bytes) => sum + bytes, 0)).toBe(60 * KIB)
    expect(download).toMatchObject({ state: 'finished', bytesReused: 0, zeroBytes: 0 })
    expect((download?.bytesFromProviders ?? 0) + (download?.bytesFromPeers ?? 0)).toBe(60 * KIB)
    const counts: AskCount[] = Object.values(download?.asked ?? {})
    expect(counts.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(60 * KIB)
    expect(missing).toMatchObject({ chunks: 0, bytes: 0, byClass: {}, copies: [] })
    const [finished] = eventsOf(agent, 'download-finished')
    const asked = Object.values(finished?.asked ?? {})
    const requests = counts.reduce((sum, each) => sum + each.requests, 0)
    expect(asked.reduce((sum, each) => sum + each, 0)).toBe(requests)
  }
})

test('what a source was asked for, it was asked because nobody else had it', async () => {
  const stage = new SwarmStage()
  const image = randomImage(20, KIB, seededRandom(2))
  await stage.provider(image)
  const agent = await stage.agent('agent')
  await stage.clock.until(agent.download(image, { sources }))

  const { askedAtSources } = described(agent, image).download ?? {}
  expect(askedAtSources?.any).toMatchObject({ chunks: 20, bytes: 20 * KIB })
})

test('in the middle it says what is missing by class, where it is, the rate and the time left', async () => {
  const stage = new SwarmStage()
  const image = randomImage(100, KIB, seededRandom(3))
  await stage.provider(image, { line: { up: 20 * KIB } })
  const session = { scorecard: { creditBytes: 2 * KIB } }
  const agent = await stage.agent('agent', { session, downloadBytesPerSecond: 20 * KIB })
  const download = agent.download(image, { sources })
  await stage.clock.advance(100)
  const ahead = agent.service.want(image.manifest.root, [95, 96], 'readAhead')
  const demanded = agent.service.want(image.manifest.root, [99], 'demand')
  const { missing } = described(agent, image)
  await stage.clock.until(Promise.all([ahead, demanded]))
  await stage.clock.advance(900)

  const description = described(agent, image)

  expect(missing.byClass).toMatchObject({
    demand: { chunks: 1, bytes: KIB },
    readAhead: { chunks: 2, bytes: 2 * KIB }
  })
  expect(missing).toMatchObject({ heldByNobody: 0, heldBySourcesOnly: missing.chunks })
  const { receivedPerSecond, etaMs = 0, bytes, bytesHeld, role } = description
  expect(role).toBe('downloading')
  expect(etaMs).toBeCloseTo(((bytes - bytesHeld) / receivedPerSecond) * 1000, -1)
  expect(description.missing.pending + description.missing.open).toBe(description.missing.chunks)
  expect(description.limits).toEqual({ uploadRate: 0, downloadRate: 20 * KIB })
  expect(description.neighbours[0]).toMatchObject({ peerId: 'provider', isDialled: true })
  await stage.clock.until(download)
})

test('an image that is only served has uploads and no download', async () => {
  const stage = new SwarmStage()
  const image = imageOf('abc..')
  const provider = await stage.provider(image)
  const agent = await stage.agent('agent')
  await stage.clock.until(agent.download(image, { sources }))

  const description = described(provider, image)
  expect(description).toMatchObject({ role: 'seeding', bytesHeld: 5 * KIB })
  expect(description.uploads).toMatchObject({ bytesSent: 3 * KIB, waitingRequests: 0 })
  expect(description.download).toBeUndefined()
  expect(description.neighbours[0]).toMatchObject({ peerId: 'agent', bytesSent: 3 * KIB })
})

test('an agent that left is told of, with why', async () => {
  const stage = new SwarmStage()
  const image = imageOf('abc')
  const provider = await stage.provider(image)
  const agent = await stage.agent('agent')
  await stage.clock.until(agent.download(image, { sources }))

  await stage.clock.advance(30_000)

  expect(described(provider, image)).toMatchObject({
    role: 'idle',
    neighbours: [],
    left: [{ peerId: 'agent', bytesSent: 3 * KIB }]
  })
})

test('sums up all images and what was exchanged with each agent', async () => {
  const stage = new SwarmStage()
  const [one, two] = [imageOf('abc'), imageOf('defg')]
  const provider = await stage.provider(one, { knows: [one, two] })
  await provider.fill(two)
  const agent = await stage.agent('agent')
  await stage.clock.until(agent.download(one, { sources }))
  await stage.clock.until(agent.download(two, { sources }))

  expect(agent.service.summaries()).toMatchObject([
    { role: 'seeding', chunksHeld: 3, neighbourCount: 1 },
    { role: 'seeding', chunksHeld: 4, neighbourCount: 1 }
  ])
  expect(provider.service.exchanges().get('agent')).toMatchObject({
    bytesReceived: 0,
    bytesSent: 7 * KIB,
    images: provider.service.images()
  })
})
