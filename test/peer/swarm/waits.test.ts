import { describe, expect, test } from '@jest/globals'
import { KIB } from '../../../src/lib/bytes.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { SWARM_PROTOCOL } from '../../../src/peer/protocols/swarm.ts'
import { encodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'
import type { Wait } from '../../../src/peer/swarm/errors.ts'
import { randomImage, type SimulatedAgent, type TestImage } from '../../support/simulated-agent.ts'
import { described, eventsOf, SwarmStage } from '../../support/swarm-stage.ts'

const sources = ['provider']
const session = { download: { stallMs: 40_000 } }
const image = randomImage(20, KIB, seededRandom(1))

/** A download that is under way, and what it says of itself. */
class Waiting {
  readonly stage: SwarmStage
  readonly agent: SimulatedAgent
  readonly download: Promise<unknown>

  constructor(stage: SwarmStage, agent: SimulatedAgent, named = sources) {
    this.stage = stage
    this.agent = agent
    this.download = agent.download(image, { sources: named })
    this.download.catch(() => {}) // looked at by the test, or given up with it
  }

  async after(ms: number): Promise<Wait | undefined> {
    await this.stage.clock.advance(ms)
    return described(this.agent, image).wait
  }
}

/** A host that takes channels for an image and says no more than a test lets it. */
async function mute(stage: SwarmStage, peerId: string): Promise<void> {
  await stage.network.node(peerId).serve(SWARM_PROTOCOL, async ({ ended }) => {
    await new Promise((resolve) => ended.addEventListener('abort', resolve))
  })
}

describe('a download that gets nothing says why, who is waited for, and how long it will:', () => {
  test('the directory has not answered', async () => {
    const stage = new SwarmStage()
    stage.network.isDirectoryDown = true
    const waiting = new Waiting(stage, await stage.agent('agent', { session }), [])

    expect(await waiting.after(3000)).toEqual({
      reason: 'look-up',
      waitedMs: 3000,
      nextInMs: 7000,
      giveUpInMs: 37_000,
      peers: []
    })
  })

  test('a source takes the connection and says nothing', async () => {
    const stage = new SwarmStage()
    await mute(stage, 'provider')
    const waiting = new Waiting(stage, await stage.agent('agent', { session }))

    expect(await waiting.after(3000)).toMatchObject({ reason: 'dial', peers: ['provider'] })
  })

  test('nobody who is known can be reached', async () => {
    const stage = new SwarmStage()
    const waiting = new Waiting(stage, await stage.agent('agent', { session }))
    const wait = await waiting.after(3000)

    expect(wait).toMatchObject({ reason: 'neighbours', peers: [] })
    expect(wait?.nextInMs).toBeLessThan(4000)
  })

  test('no neighbour holds what is missing', async () => {
    const stage = new SwarmStage()
    await stage.provider(image, {}, (index) => index !== 7)
    const waiting = new Waiting(stage, await stage.agent('agent', { session }))
    const wait = await waiting.after(3000)

    expect(wait).toMatchObject({ reason: 'chunks', peers: [] })
    expect(described(waiting.agent, image).missing).toMatchObject({
      chunks: 1,
      heldByNobody: 1,
      nobodyHolds: [7],
      copies: [{ copies: 0, chunks: 1 }]
    })
  })

  test('a source has sent it to others, who are to pass it on', async () => {
    const stage = new SwarmStage()
    await stage.provider(image)
    await setAside(stage, image)
    const patient = { session: { download: { patienceMs: 3000 } } }
    const agent = await stage.agent('agent', patient)
    const waiting = new Waiting(stage, agent, ['provider', 'greedy'])

    expect(await waiting.after(2000)).toMatchObject({ reason: 'spread', peers: ['provider'] })
    await stage.clock.until(waiting.download)
    expect(described(agent, image).download?.askedAtSources.patience?.bytes).toBe(20 * KIB)
  })

  test('chunks were asked for and do not come', async () => {
    const stage = new SwarmStage()
    await stage.provider(image, { character: 'stalling' })
    const waiting = new Waiting(stage, await stage.agent('agent', { session }))

    expect(await waiting.after(3000)).toMatchObject({ reason: 'answers', peers: ['provider'] })
  })

  test('the disk does not take them', async () => {
    const stage = new SwarmStage()
    await stage.provider(image)
    const agent = await stage.agent('agent', { session })
    agent.store.put = async () => await new Promise(() => {})
    const waiting = new Waiting(stage, agent)

    expect(await waiting.after(3000)).toMatchObject({ reason: 'disk', peers: [] })
  })

  test('its own rate limit', async () => {
    const stage = new SwarmStage()
    await stage.provider(image)
    const agent = await stage.agent('agent', { session, downloadBytesPerSecond: 50 })
    const waiting = new Waiting(stage, agent)
    const wait = await waiting.after(3000)

    expect(wait).toMatchObject({ reason: 'rate limit', giveUpInMs: undefined })
    expect(wait?.nextInMs).toBeLessThanOrEqual(10_000)
  })
})

/** A host asks the provider for every chunk, reads none, and so passes none on. */
async function setAside(stage: SwarmStage, { manifest }: TestImage): Promise<void> {
  const { root, chunkCount } = manifest
  const greedy = stage.network.node('greedy')
  const channel = await stage.clock.until(greedy.open('provider', SWARM_PROTOCOL))
  const about = { root, wants: true, holdsAll: false, pagesOnly: false, chunkCount, addresses: [] }
  await channel.send(encodeSwarmMessage({ type: 'handshake', ...about, bitfield: undefined }))
  for (let index = 0; index < chunkCount; index++) {
    const ask = { request: index + 1, requestClass: 'rest', maxCopies: 255, index } as const
    await channel.send(encodeSwarmMessage({ type: 'request', ...ask }))
  }
  await greedy.serve(SWARM_PROTOCOL, async (opened) => {
    const own = { ...about, bitfield: undefined }
    await opened.send(encodeSwarmMessage({ type: 'handshake', ...own }))
    for await (const message of opened.messages()) expect(message.byteLength).toBeGreaterThan(0)
  })
  await stage.clock.advance(200)
}

test('waits are told when they begin and end, and add up in the description', async () => {
  const stage = new SwarmStage()
  const provider = await stage.provider(image, {}, (index) => index !== 7)
  const waiting = new Waiting(stage, await stage.agent('agent', { session }))
  await waiting.after(4000)

  await provider.fill(image)
  await stage.clock.until(waiting.download)

  const [begun] = eventsOf(waiting.agent, 'download-waiting')
  const [ended] = eventsOf(waiting.agent, 'download-waited')
  expect([begun?.reason, ended?.reason]).toEqual(['chunks', 'chunks'])
  const { download, wait } = described(waiting.agent, image)
  expect(download?.waitedMs).toEqual({ chunks: ended?.ms })
  expect(wait).toBeUndefined()
})

test('a neighbour that is silent for 10 s loses its requests, and another is asked', async () => {
  const stage = new SwarmStage()
  const staller = await stage.agent('staller', { character: 'stalling' })
  await staller.fill(image)
  await staller.service.hold(image.manifest)
  const agent = await stage.agent('agent', { session })
  const waiting = new Waiting(stage, agent, ['staller'])
  expect(await waiting.after(3000)).toMatchObject({ reason: 'answers', peers: ['staller'] })
  const seeder = await stage.agent('seeder')
  await seeder.fill(image)
  await seeder.service.hold(image.manifest)

  await stage.clock.until(waiting.download, 20_000)

  expect(eventsOf(agent, 'neighbour-silent')[0]).toMatchObject({ peer: 'staller' })
  expect(agent.receivedFrom('seeder')).toBe(20 * KIB)
})

test('after 10 s without progress everybody is dialled and looked for anew', async () => {
  const stage = new SwarmStage()
  stage.network.isDirectoryDown = true
  const lookUps = { session: { ...session, dialling: { lookUpMs: 60_000, firstRetryMs: 60_000 } } }
  const agent = await stage.agent('agent', lookUps)
  const waiting = new Waiting(stage, agent)
  await waiting.after(3000)

  await stage.provider(image)
  const finished = await stage.clock.until(waiting.download, 20_000)

  expect(finished).toMatchObject({ chunksDone: 20 })
  expect(eventsOf(agent, 'download-stuck')).toHaveLength(1)
  expect(described(agent, image).download?.elapsedMs).toBeLessThan(11_000)
})

test('drops of a chunk are no progress', async () => {
  const stage = new SwarmStage()
  const large = randomImage(4, 64 * KIB, seededRandom(2))
  const trickle = { line: { up: 400 }, uploads: { partBytes: KIB } }
  const staller = await stage.agent('staller', trickle)
  await staller.fill(large)
  await staller.service.hold(large.manifest)
  const agent = await stage.agent('agent', { session })
  const download = agent.download(large, { sources: ['staller'] })
  download.catch(() => {})

  await stage.clock.advance(25_000)

  expect(eventsOf(agent, 'neighbour-silent').length).toBeGreaterThan(0)
  expect(eventsOf(agent, 'download-stuck').length).toBeGreaterThan(0)
})

describe('giving up', () => {
  test('says what was waited for, how long and from whom', async () => {
    const stage = new SwarmStage()
    await mute(stage, 'provider')
    const handshake = { session: { ...session, handshakeMs: 60_000 } }
    const waiting = new Waiting(stage, await stage.agent('agent', handshake))

    await expect(stage.clock.until(waiting.download)).rejects.toMatchObject({
      code: 'ERR_DOWNLOAD_STALLED',
      reason: 'dial',
      peers: ['provider'],
      message: expect.stringMatching(
        /nothing for 40\.\d s, waiting for a connection to agents that have it from provider$/
      )
    })
    expect(described(waiting.agent, image).download).toMatchObject({
      state: 'failed',
      code: 'ERR_DOWNLOAD_STALLED'
    })
  })

  test('a rate limit is no reason to', async () => {
    const stage = new SwarmStage()
    await stage.provider(image)
    const agent = await stage.agent('agent', {
      session: { download: { stallMs: 5000 } },
      downloadBytesPerSecond: 100
    })

    const result = await stage.clock.until(agent.download(image, { sources }))

    expect(result.chunksDone).toBe(20)
    expect(result.elapsedMs).toBeGreaterThan(150_000)
  })

  test('does not wait for a disk that stands still, and begins anew when it moves again', async () => {
    const stage = new SwarmStage()
    await stage.provider(image)
    const agent = await stage.agent('agent', { session })
    const put = agent.store.put.bind(agent.store)
    const { promise: repaired, resolve: repair } = Promise.withResolvers<void>()
    agent.store.put = async (id, bytes) => {
      await repaired
      return await put(id, bytes)
    }
    const download = agent.download(image, { sources })

    await expect(stage.clock.until(download, 60_000)).rejects.toMatchObject({ reason: 'disk' })
    const again = agent.download(image, { sources })
    again.catch(() => {})
    await stage.clock.advance(3000)
    repair()

    expect(await stage.clock.until(again)).toMatchObject({ chunksDone: 20, bytesReused: 20 * KIB })
  })
})
