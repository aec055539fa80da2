import { describe, expect, test } from '@jest/globals'
import { SwarmControl, type SwarmControlComponents } from '../../src/agent/swarm-control.ts'
import { KIB, toHex } from '../../src/lib/bytes.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { PeerTimeoutError } from '../../src/peer/errors.ts'
import { randomImage, type SimulatedAgent } from '../support/simulated-agent.ts'
import { SwarmStage } from '../support/swarm-stage.ts'

const image = randomImage(100, KIB, seededRandom(1))
const root = toHex(image.manifest.root)
const sources = ['provider']

type Parts = Pick<SwarmControlComponents, 'repository' | 'catalogue'>

/** A provider that sends 10 KiB a second, an agent that fetches from it, and what operators ask the agent. */
async function bench(options: { readonly up?: number; readonly isManagerAway?: boolean } = {}) {
  const { up = 10 * KIB, isManagerAway = false } = options
  const stage = new SwarmStage()
  const provider = await stage.provider(image, { uploads: { bytesPerSecond: up } })
  const agent = await stage.agent('agent')
  const names = [{ path: '/a', version: 2, record: undefined }]
  const entry = { key: root, names }
  const record = async (): Promise<unknown> => {
    if (isManagerAway) throw new PeerTimeoutError('manager', 'record', 1)
    return { record: { manifestRoot: image.manifest.root } }
  }
  const catalogue = {
    get: (key: string) => (key === root ? entry : undefined),
    find: (path: string) => (path === '/a' ? names[0] : undefined),
    entries: () => [entry]
  }
  const parts = { repository: { record }, catalogue } as unknown as Parts
  const controlOf = ({ service: swarm }: SimulatedAgent): SwarmControl =>
    new SwarmControl({
      ...parts,
      swarm,
      node: {
        connections: () => [
          {
            member: {
              peerId: 'provider',
              roles: new Set(),
              rights: new Set(),
              issuedMs: 0,
              expiresMs: 0
            },
            direction: 'outbound',
            address: '/a',
            openedMs: stage.clock.now() - 5000
          }
        ]
      },
      clock: stage.clock,
      log: noLogger.forComponent('test')
    })
  const download = agent.download(image, { sources })
  download.catch(() => {})
  return { stage, provider, agent, control: controlOf(agent), controlOf, download }
}

test('sums up images, by name where it is known, and what they come to', async () => {
  const { stage, control } = await bench()
  await stage.clock.advance(2000)

  expect(control.images()).toMatchObject([
    { names: ['/a@2'], image: root, role: 'downloading', neighbourCount: 1 }
  ])
  const { receivedPerSecond, ...totals } = control.totals()
  expect(receivedPerSecond).toBeGreaterThan(5 * KIB)
  expect(totals).toEqual({
    images: 1,
    downloading: 1,
    seeding: 0,
    waiting: 0,
    neighbours: 1,
    sentPerSecond: 0,
    uploadRate: 0,
    downloadRate: 0
  })
})

test('lists connections with what is exchanged over them', async () => {
  const { stage, control } = await bench()
  await stage.clock.advance(1000)

  expect(control.peers()).toMatchObject([
    { peerId: 'provider', direction: 'outbound', ageSeconds: 5, images: ['/a@2'], zone: '' }
  ])
  expect(control.peers()[0]?.bytesReceived).toBeGreaterThan(5 * KIB)
})

describe('an image is found', () => {
  test('by its record', async () => {
    const { control } = await bench()

    expect(await control.describe('/b')).toMatchObject({ ref: '/b', image: root })
  })

  test('by what is known here while the version manager is away', async () => {
    const { stage, control } = await bench({ isManagerAway: true })
    await stage.clock.advance(100)

    expect(await control.describe('/a')).toMatchObject({ image: root, role: 'downloading' })
    await expect(control.describe('/b')).rejects.toMatchObject({ code: 'ERR_PEER_TIMEOUT' })
  })
})

describe('rate limits that are changed', () => {
  test('of what is sent, let go of what waits already', async () => {
    const { stage, provider, controlOf, download } = await bench({ up: 100 })
    await stage.clock.advance(5000)

    expect(controlOf(provider).setLimits({ uploadRate: 0 })).toEqual({
      uploadRate: 0,
      downloadRate: 0
    })

    await stage.clock.until(download, 2000)
  })

  test('of what is received, too, and back again', async () => {
    const { stage, agent, control, download } = await bench({ up: 1024 * KIB })
    control.setLimits({ downloadRate: 100 })
    await stage.clock.advance(5000)
    const held = agent.store.chunkCount
    expect(held).toBeLessThan(50)
    expect(control.totals()).toMatchObject({ downloadRate: 100, uploadRate: 0 })

    control.setLimits({ downloadRate: 0 })

    await stage.clock.until(download, 2000)
    expect(control.limits()).toEqual({ uploadRate: 0, downloadRate: 0 })
  })
})
