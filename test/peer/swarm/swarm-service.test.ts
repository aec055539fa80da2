import { describe, expect, test } from '@jest/globals'
import { KIB } from '../../../src/lib/bytes.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { SWARM_PROTOCOL, type SwarmMessage } from '../../../src/peer/protocols/swarm.ts'
import { decodeSwarmMessage, encodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'
import type { DownloadProgress } from '../../../src/peer/swarm/download-types.ts'
import {
  imageOf,
  randomImage,
  SimulatedAgent,
  type SimulatedAgentOptions,
  type TestImage
} from '../../support/simulated-agent.ts'
import { SimulatedNetwork } from '../../support/simulated-network.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

/** A network with agents on virtual time. */
class Stage {
  readonly clock = new VirtualClock()
  readonly network = new SimulatedNetwork(this.clock)
  #seed = 0

  async agent(peerId: string, options: SimulatedAgentOptions = {}): Promise<SimulatedAgent> {
    const agent = new SimulatedAgent(this.network, peerId, { seed: this.#seed++, ...options })
    await agent.start()
    return agent
  }

  /** A provider that has all of an image. */
  async provider(image: TestImage, options: SimulatedAgentOptions = {}): Promise<SimulatedAgent> {
    const agent = await this.agent('provider', { roles: ['provider'], knows: [image], ...options })
    await agent.fill(image)
    return agent
  }
}

const sources = ['provider']

/** What an agent says that has nothing and wants everything. */
function wanting({ manifest }: TestImage): SwarmMessage {
  return {
    type: 'handshake',
    root: manifest.root,
    wants: true,
    holdsAll: false,
    pagesOnly: false,
    chunkCount: manifest.chunkCount,
    addresses: [],
    bitfield: undefined
  }
}

test('fetches an image: zeros cost nothing, repeats are fetched once, all counts add up', async () => {
  const stage = new Stage()
  const image = imageOf('ab.a.cd', KIB, 100)
  const provider = await stage.provider(image)
  const agent = await stage.agent('agent')

  const result = await stage.clock.until(agent.download(image, { sources }))

  expect(result).toMatchObject({
    bytesFromProviders: 3 * KIB + 100,
    bytesFromPeers: 0,
    bytesReused: KIB,
    zeroBytes: 2 * KIB,
    chunksDone: 7,
    chunksTotal: 7
  })
  expect(provider.sentChunkBytes).toBe(3 * KIB + 100)
})

test('three agents at once take one copy from the provider and the rest from each other', async () => {
  const stage = new Stage()
  const image = randomImage(60, KIB, seededRandom(1))
  const provider = await stage.provider(image)
  const agents = await Promise.all(['a', 'b', 'c'].map(async (name) => stage.agent(name)))

  const results = await stage.clock.until(
    Promise.all(agents.map(async (agent) => agent.download(image, { sources })))
  )

  expect(results.every(({ bytesFromPeers }) => bytesFromPeers > 20 * KIB)).toBe(true)
  expect(provider.sentChunkBytes).toBeLessThan(1.2 * image.manifest.bytes)
})

test('continues with what the store has', async () => {
  const stage = new Stage()
  const image = randomImage(20, KIB, seededRandom(2))
  await stage.provider(image)
  const agent = await stage.agent('agent')
  await agent.fill(image, (index) => index % 2 === 0)

  const result = await stage.clock.until(agent.download(image, { sources }))

  expect(result).toMatchObject({ bytesFromProviders: 10 * KIB, bytesReused: 10 * KIB })
})

describe('what comes into a store by another way', () => {
  const lacking = 7

  /** An agent waits for the one chunk that the provider does not have yet. */
  async function waiting(signal?: AbortSignal) {
    const stage = new Stage()
    const image = randomImage(20, KIB, seededRandom(2))
    const provider = await stage.agent('provider', { roles: ['provider'], knows: [image] })
    await provider.fill(image, (index) => index !== lacking)
    const agent = await stage.agent('agent')
    const download = agent.download(image, { sources, signal })
    download.catch(() => {})
    await stage.clock.advance(3000)
    const heal = async (): Promise<void> => provider.fill(image, (index) => index === lacking)
    return { stage, image, agent, download, heal }
  }

  test('is offered to a neighbour that waits for it', async () => {
    const { stage, download, heal } = await waiting()

    await heal()
    const { elapsedMs } = await stage.clock.until(download)

    expect(elapsedMs).toBeLessThan(14_000)
  })

  test('is offered at once to a neighbour that begins anew', async () => {
    const abort = new AbortController()
    const { stage, image, agent, download, heal } = await waiting(abort.signal)
    abort.abort(new Error('given up'))
    await expect(stage.clock.until(download)).rejects.toThrow('given up')

    await heal()
    const { elapsedMs } = await stage.clock.until(agent.download(image, { sources }))

    expect(elapsedMs).toBeLessThan(500)
  })
})

test('a download that begins while another is being given up does not fail with it', async () => {
  for (let turns = 0; turns < 12; turns++) {
    const stage = new Stage()
    const image = randomImage(20, KIB, seededRandom(4))
    await stage.provider(image)
    const agent = await stage.agent('agent')
    const abort = new AbortController()
    const first = agent.download(image, { sources, signal: abort.signal })
    first.catch(() => {})
    await stage.clock.settle()

    abort.abort(new Error('given up'))
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    const second = agent.download(image, { sources })

    expect(await stage.clock.until(second)).toMatchObject({ chunksDone: 20 })
  }
})

test('needs nobody when the store has everything, or the image is empty', async () => {
  const stage = new Stage()
  const image = randomImage(4, KIB, seededRandom(3))
  const agent = await stage.agent('agent')
  await agent.fill(image)

  const full = await stage.clock.until(agent.download(image))
  const empty = await stage.clock.until(agent.download(imageOf('')))

  expect(full).toMatchObject({ bytesReused: 4 * KIB, chunksDone: 4 })
  expect(empty).toMatchObject({ chunksDone: 0, chunksTotal: 0 })
})

test('finds agents through the directory when nobody is named', async () => {
  const stage = new Stage()
  const image = randomImage(5, KIB, seededRandom(4))
  const seeder = await stage.agent('seeder')
  await seeder.fill(image)
  await seeder.service.hold(image.manifest)
  const agent = await stage.agent('agent')

  const result = await stage.clock.until(agent.download(image))

  expect(result.bytesFromPeers).toBe(5 * KIB)
})

test('goes on serving what it fetched until it is told to release it', async () => {
  const stage = new Stage()
  const image = randomImage(5, KIB, seededRandom(5))
  await stage.provider(image)
  const first = await stage.agent('x')
  const second = await stage.agent('y')
  const third = await stage.agent('z')
  await stage.clock.until(first.download(image, { sources }))
  stage.network.crash('provider')

  const result = await stage.clock.until(second.download(image))
  const { root } = image.manifest
  await stage.clock.until(Promise.all([first.service.release(root), second.service.release(root)]))
  const late = third.download(image, { sources: ['x', 'y'] })

  expect(result.bytesFromPeers).toBe(5 * KIB)
  await expect(stage.clock.until(late)).rejects.toMatchObject({ code: 'ERR_DOWNLOAD_STALLED' })
})

test('is turned away by those who do not speak for the image, and says what it waited for', async () => {
  const stage = new Stage()
  const image = randomImage(3, KIB, seededRandom(6))
  await stage.agent('provider', { roles: ['provider'] })
  const agent = await stage.agent('agent', { session: { download: { stallMs: 20_000 } } })

  const download = agent.download(image, { sources })

  await expect(stage.clock.until(download)).rejects.toMatchObject({
    code: 'ERR_DOWNLOAD_STALLED',
    reason: 'neighbours'
  })
  expect(agent.events.events.map(({ event }) => event)).toContain('download-waiting')
})

test('bans a peer that sends wrong bytes, stores none of them and finishes elsewhere', async () => {
  const stage = new Stage()
  const image = randomImage(30, KIB, seededRandom(7))
  await stage.provider(image)
  const liar = await stage.agent('liar', { character: 'lying' })
  await liar.fill(image)
  await liar.service.hold(image.manifest)
  const agent = await stage.agent('agent')

  await stage.clock.until(agent.download(image, { sources: ['provider', 'liar'] }))

  expect(agent.receivedFrom('provider')).toBe(30 * KIB)
  expect(agent.events.events).toContainEqual(
    expect.objectContaining({ event: 'neighbour-left', peer: 'liar', reason: 'lied' })
  )
  expect(
    agent.service.describe(image.manifest.root)?.neighbours.map(({ peerId }) => peerId)
  ).toEqual(['provider'])
})

test('asks elsewhere what a peer that answers nothing was asked for, and drops it in the end', async () => {
  const stage = new Stage()
  const image = randomImage(30, KIB, seededRandom(8))
  const staller = await stage.agent('staller', { character: 'stalling' })
  await staller.fill(image)
  await staller.service.hold(image.manifest)
  const slow = { up: 2 * KIB }
  await stage.provider(image, { line: slow })
  const download = { silenceMs: 2000 }
  const agent = await stage.agent('agent', {
    session: { download, scorecard: { creditBytes: 4 * KIB } }
  })

  await stage.clock.until(agent.download(image, { sources: ['provider', 'staller'] }))

  expect(agent.receivedFrom('provider')).toBe(30 * KIB)
  expect(agent.events.events).toContainEqual(
    expect.objectContaining({ event: 'neighbour-left', peer: 'staller', reason: 'failing' })
  )
})

test('survives the loss of its source when another has the rest', async () => {
  const stage = new Stage()
  const image = randomImage(40, KIB, seededRandom(9))
  await stage.provider(image, { line: { up: 20 * KIB } })
  const seeder = await stage.agent('seeder', { line: { up: 20 * KIB } })
  await seeder.fill(image)
  await seeder.service.hold(image.manifest)
  const agent = await stage.agent('agent')

  const download = agent.download(image, { sources })
  await stage.clock.advance(500)
  stage.network.crash('provider', true)

  const result = await stage.clock.until(download)
  expect(result.chunksDone).toBe(40)
})

test('takes a source back that restarts, and goes on where it was', async () => {
  const stage = new Stage()
  const image = randomImage(40, KIB, seededRandom(10))
  const provider = await stage.provider(image, { line: { up: 20 * KIB } })
  const agent = await stage.agent('agent')

  const download = agent.download(image, { sources })
  await stage.clock.advance(1000)
  provider.crash()
  await stage.clock.advance(3000)
  await provider.restart()

  const result = await stage.clock.until(download)
  expect(result).toMatchObject({ bytesFromProviders: 40 * KIB, chunksDone: 40 })
})

test('fails with the store’s error when the disk is full, and keeps what came', async () => {
  const stage = new Stage()
  const image = randomImage(10, KIB, seededRandom(11))
  await stage.provider(image)
  const agent = await stage.agent('agent', { quotaBytes: 4 * KIB })

  const download = agent.download(image, { sources })

  await expect(stage.clock.until(download)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
  expect(agent.store.chunkCount).toBe(4)
})

test('an aborted download rejects with the reason and asks for nothing more', async () => {
  const stage = new Stage()
  const image = randomImage(100, KIB, seededRandom(12))
  await stage.provider(image, { line: { up: 20 * KIB } })
  const agent = await stage.agent('agent')
  const abort = new AbortController()
  const download = agent.download(image, { sources, signal: abort.signal })
  download.catch(() => {})
  await stage.clock.advance(500)

  abort.abort(new Error('enough'))

  await expect(stage.clock.until(download)).rejects.toThrow('enough')
  await stage.clock.advance(3000)
  const held = agent.store.chunkCount
  await stage.clock.advance(3000)
  expect(agent.store.chunkCount).toBe(held)
  expect(held).toBeLessThan(100)
})

test('two callers share a download, and one may give up', async () => {
  const stage = new Stage()
  const image = randomImage(20, KIB, seededRandom(13))
  const provider = await stage.provider(image, { line: { up: 20 * KIB } })
  const agent = await stage.agent('agent')
  const abort = new AbortController()
  const one = agent.download(image, { sources, signal: abort.signal })
  one.catch(() => {})
  const other = agent.download(image)
  await stage.clock.advance(300)

  abort.abort(new Error('not me'))

  await expect(one).rejects.toThrow('not me')
  expect((await stage.clock.until(other)).chunksDone).toBe(20)
  expect(provider.sentChunkBytes).toBe(20 * KIB)
})

test('a demanded chunk comes before the rest', async () => {
  const stage = new Stage()
  const image = randomImage(100, KIB, seededRandom(14))
  await stage.provider(image, { line: { up: 10 * KIB } })
  const scorecard = { creditBytes: 4 * KIB }
  const agent = await stage.agent('agent', { session: { scorecard } })
  const download = agent.download(image, { sources })
  await stage.clock.advance(1000)

  await stage.clock.until(agent.service.want(image.manifest.root, [97, 98], 'demand'))

  expect(agent.store.chunkCount).toBeLessThan(30)
  expect(agent.store.has(image.manifest.chunkId(98))).toBe(true)
  await stage.clock.until(download)
})

test('shows progress that only grows, and ends whole', async () => {
  const stage = new Stage()
  const image = randomImage(50, KIB, seededRandom(15))
  await stage.provider(image, { line: { up: 10 * KIB } })
  const agent = await stage.agent('agent')
  const seen: DownloadProgress[] = []

  await stage.clock.until(
    agent.download(image, { sources, onProgress: (progress) => seen.push(progress) })
  )

  const done = seen.map(({ chunksDone }) => chunksDone)
  expect(done).toEqual(done.toSorted((left, right) => left - right))
  expect(seen.length).toBeGreaterThan(10)
  expect(seen.at(-1)).toMatchObject({ chunksDone: 50, neighbours: 1 })
})

test('an upload limit holds, and can be changed while it holds somebody up', async () => {
  const stage = new Stage()
  const image = randomImage(100, KIB, seededRandom(16))
  const provider = await stage.provider(image, { uploads: { bytesPerSecond: 10 * KIB } })
  const agent = await stage.agent('agent')
  const download = agent.download(image, { sources })

  await stage.clock.advance(4000)
  const slow = agent.store.chunkCount
  provider.service.setUploadRate(undefined)
  const result = await stage.clock.until(download)

  expect(slow).toBeGreaterThan(30)
  expect(slow).toBeLessThan(45)
  expect(result.elapsedMs).toBeLessThan(4500)
})

test('a download limit holds', async () => {
  const stage = new Stage()
  const image = randomImage(50, KIB, seededRandom(17))
  await stage.provider(image)
  const agent = await stage.agent('agent', { downloadBytesPerSecond: 10 * KIB })

  const result = await stage.clock.until(agent.download(image, { sources }))

  expect(result.elapsedMs).toBeGreaterThan(4500)
  expect(result.elapsedMs).toBeLessThan(6000)
})

test('agents that find each other at the same moment keep one channel', async () => {
  const stage = new Stage()
  const image = randomImage(50, KIB, seededRandom(18))
  await stage.provider(image, { line: { up: 10 * KIB } })
  const agents = await Promise.all(['a', 'b', 'c', 'd'].map(async (name) => stage.agent(name)))
  const done = Promise.all(agents.map(async (agent) => agent.download(image, { sources })))
  await stage.clock.advance(1500)

  const neighbours = agents.map((agent) =>
    agent.service
      .describe(image.manifest.root)
      ?.neighbours.map(({ peerId }) => peerId)
      .toSorted()
  )

  expect(neighbours).toEqual([
    ['b', 'c', 'd', 'provider'],
    ['a', 'c', 'd', 'provider'],
    ['a', 'b', 'd', 'provider'],
    ['a', 'b', 'c', 'provider']
  ])
  await stage.clock.until(done)
})

test('who finds a source full is told about others', async () => {
  const stage = new Stage()
  const image = randomImage(30, KIB, seededRandom(19))
  const crowded = { maxNeighbours: 1 }
  const provider = await stage.provider(image, { session: crowded, line: { up: 20 * KIB } })
  const first = await stage.agent('a')
  const second = await stage.agent('b')
  const done = first.download(image, { sources })
  await stage.clock.advance(100)
  stage.network.directory('a').withdraw(image.manifest.root)

  const result = await stage.clock.until(second.download(image, { sources }))

  expect(result.bytesFromPeers).toBe(30 * KIB)
  await stage.clock.until(done)
  expect(provider.sentChunkBytes).toBe(30 * KIB)
})

test('two images that share chunks fetch them once', async () => {
  const stage = new Stage()
  const [one, two] = [imageOf('abcdef'), imageOf('abcxyz')]
  const provider = await stage.agent('provider', { roles: ['provider'], knows: [one, two] })
  await provider.fill(one)
  await provider.fill(two)
  const agent = await stage.agent('agent')

  await stage.clock.until(agent.download(one, { sources }))
  const result = await stage.clock.until(agent.download(two, { sources }))

  expect(result).toMatchObject({ bytesFromProviders: 3 * KIB, bytesReused: 3 * KIB })
})

test('closes images that nobody uses when there are too many', async () => {
  const stage = new Stage()
  const images = Array.from({ length: 4 }, (_, n) => randomImage(2, KIB, seededRandom(20 + n)))
  const provider = await stage.agent('provider', {
    roles: ['provider'],
    knows: images,
    maxImages: 2,
    session: { lingerMs: 1000 }
  })
  for (const image of images) await provider.fill(image)
  const agent = await stage.agent('agent', { session: { lingerMs: 1000 } })

  for (const image of images) {
    await stage.clock.until(agent.download(image, { sources }))
    await stage.clock.advance(15_000)
  }

  expect(provider.service.images()).toHaveLength(2)
  expect(agent.service.images()).toHaveLength(4)
})

test('describes a swarm for people', async () => {
  const stage = new Stage()
  const image = randomImage(3, KIB, seededRandom(30))
  await stage.provider(image)
  const agent = await stage.agent('agent')
  await stage.clock.until(agent.download(image, { sources }))

  expect(agent.service.describe(image.manifest.root)).toMatchObject({
    bytes: 3 * KIB,
    chunksHeld: 3,
    role: 'seeding',
    neighbours: [
      {
        peerId: 'provider',
        roles: ['provider'],
        isSource: true,
        bytesReceived: 3 * KIB,
        chunksHeld: 3
      }
    ]
  })
  expect(agent.service.describe(new Uint8Array(32))).toBeUndefined()
})

test('stop ends downloads and channels, and leaves nothing scheduled', async () => {
  const stage = new Stage()
  const image = randomImage(50, KIB, seededRandom(31))
  const provider = await stage.provider(image, { line: { up: 10 * KIB } })
  const agent = await stage.agent('agent')
  const download = agent.download(image, { sources })
  download.catch(() => {})
  await stage.clock.advance(500)

  await stage.clock.until(Promise.all([agent.service.stop(), provider.service.stop()]))

  await expect(download).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
  await stage.clock.advance(10_000)
  expect(stage.clock.scheduledCount).toBe(0)
  await expect(agent.download(image)).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
})

describe('a peer that breaks the protocol loses the channel and is banned:', () => {
  const image = imageOf('abc')
  const part = new Uint8Array(KIB)
  const chunk = { type: 'chunk', encoding: 0, totalBytes: KIB, offset: 0, part } as const
  const ask = { requestClass: 'rest', maxCopies: 255 } as const
  const handshake = wanting(image)
  const cases: Record<string, SwarmMessage> = {
    'a chunk that nobody asked for': { ...chunk, request: 1, index: 0 },
    'a request for a chunk that does not exist': { type: 'request', request: 1, index: 7, ...ask },
    'a have of a chunk that does not exist': { type: 'have', indexes: [3] },
    'a second handshake': handshake,
    'an answer to no request': { type: 'reject', request: 1, reason: 'failed' }
  }

  for (const [name, message] of Object.entries(cases)) {
    test(name, async () => {
      const stage = new Stage()
      const provider = await stage.provider(image)
      const rude = stage.network.node('rude')
      const hello = encodeSwarmMessage(handshake)
      const channel = await stage.clock.until(rude.open('provider', SWARM_PROTOCOL))
      await channel.send(hello)
      await stage.clock.advance(100)
      expect(provider.service.describe(image.manifest.root)?.neighbours).toHaveLength(1)

      await channel.send(encodeSwarmMessage(message))
      await stage.clock.advance(100)

      expect(channel.ended.aborted).toBe(true)
      const again = await stage.clock.until(rude.open('provider', SWARM_PROTOCOL))
      await again.send(hello)
      const answer = await stage.clock.until(again.messages()[Symbol.asyncIterator]().next())
      expect(decodeSwarmMessage(answer.value)).toEqual({ type: 'goodbye', reason: 'banned' })
    })
  }
})

test('a neighbour that does not read is dropped, and others are served meanwhile', async () => {
  const stage = new Stage()
  const image = randomImage(600, KIB, seededRandom(40))
  const provider = await stage.provider(image)
  const deaf = stage.network.node('deaf')
  const channel = await stage.clock.until(deaf.open('provider', SWARM_PROTOCOL))
  await channel.send(encodeSwarmMessage(wanting(image)))
  for (let index = 0; index < 500; index++) {
    const ask = { request: index + 1, requestClass: 'rest', maxCopies: 255, index } as const
    await channel.send(encodeSwarmMessage({ type: 'request', ...ask }))
  }
  const agent = await stage.agent('agent')

  const result = await stage.clock.until(agent.download(image, { sources }))
  await stage.clock.advance(30_000)

  expect(result.chunksDone).toBe(600)
  expect(channel.ended.aborted).toBe(true)
  expect(provider.events.events).toContainEqual(
    expect.objectContaining({ event: 'neighbour-left', peer: 'deaf', reason: 'silent' })
  )
})

test('agents that want nothing of each other part after a while', async () => {
  const stage = new Stage()
  const image = randomImage(5, KIB, seededRandom(41))
  const provider = await stage.provider(image)
  const agent = await stage.agent('agent')
  await stage.clock.until(agent.download(image, { sources }))
  expect(agent.service.describe(image.manifest.root)?.neighbours).toHaveLength(1)

  await stage.clock.advance(25_000)

  expect(agent.service.describe(image.manifest.root)?.neighbours).toEqual([])
  expect(provider.service.describe(image.manifest.root)?.neighbours).toEqual([])
})

test('one that connects and says nothing is let go', async () => {
  const stage = new Stage()
  await stage.provider(imageOf('abc'))
  const mute = stage.network.node('mute')
  const channel = await stage.clock.until(mute.open('provider', SWARM_PROTOCOL))

  await stage.clock.advance(11_000)

  expect(channel.ended.aborted).toBe(true)
})
