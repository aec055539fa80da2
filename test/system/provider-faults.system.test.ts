import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { AgentProcess } from '../../experiments/support/agent-process.ts'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { ProviderStage } from '../support/providers/provider-stage.ts'
import { SampleImage } from '../support/providers/sample-image.ts'
import { canMountTmpfs, mountTmpfs, unmountTmpfs } from '../support/tmpfs.ts'

const CHUNK_BYTES = 64 * KIB
const IMAGE_MIB = 8
const CHUNKS = (IMAGE_MIB * MIB) / CHUNK_BYTES
const REPLICAS = 2

jest.setTimeout(90_000)

const testWithMount = canMountTmpfs() ? test : test.skip

let stage: ProviderStage
let images = 0

beforeAll(async () => {
  stage = await ProviderStage.start({
    providers: 3,
    replicas: REPLICAS,
    chunkBytes: CHUNK_BYTES,
    withinMs: 60_000
  })
}, 60_000)
afterAll(async () => stage.stop(), 30_000)

function nextImage(): SampleImage {
  images += 1
  const shape = { chunkBytes: CHUNK_BYTES, seed: images }
  return new SampleImage(`/images/${images}`, IMAGE_MIB, shape)
}

test('a second agent on the directory of a provider that runs is told so and ends', async () => {
  const { dataDir, ready } = stage.provider('provider-1')

  const second = AgentProcess.start({ dataDir, args: ['--roles', 'provider'] })

  await expect(second).rejects.toThrow(
    new RegExp(`in use by another agent \\(process ${ready.pid}\\)`)
  )
  const states = await stage.states()
  expect(states.get('provider-1')?.condition).toBe('live')
})

test('a provider with little room takes what fits, and the others the rest', async () => {
  await stage.startProvider('small', ['--set', `storage.quotaBytes=${MIB}`])
  await stage.untilLive(['small'])
  const image = nextImage()

  await stage.push(image)

  const { byCopies } = await stage.count(image)
  expect(byCopies).toEqual({ [REPLICAS]: CHUNKS })
  const states = await stage.until('a report', stage.states.bind(stage), (seen) => {
    return (seen.get('small')?.freeBytes ?? MIB) < MIB
  })
  expect(states.get('small')?.storedBytes).toBeLessThanOrEqual(MIB)
})

testWithMount(
  'a provider whose disk takes no writes any more says so, and uploads go on',
  async () => {
    const folder = stage.cluster.file('read-only')
    mountTmpfs(folder, 64)
    try {
      await stage.startProvider('read-only')
      await stage.untilLive(['read-only'])
      expect(spawnSync('mount', ['-o', 'remount,ro', folder]).status).toBe(0)
      const image = nextImage()

      await stage.push(image)

      const { byCopies } = await stage.count(image)
      expect(byCopies).toEqual({ [REPLICAS]: CHUNKS })
      await stage.until('no room reported', stage.states.bind(stage), (seen) => {
        return seen.get('read-only')?.freeBytes === 0
      })
      await stage.killProviders('read-only')
    } finally {
      unmountTmpfs(folder)
    }
  }
)

test('a provider that stops answering in the middle of an upload is replaced', async () => {
  const frozen = await stage.startProvider('frozen')
  await stage.untilLive(['frozen'])
  const image = nextImage()
  let isFrozen = false

  const { bytes } = await stage.push(image, (sentBytes) => {
    if (isFrozen || sentBytes < image.bytes / 2) return
    isFrozen = true
    process.kill(frozen.ready.pid, 'SIGSTOP')
  })

  const states = await stage.states()
  process.kill(frozen.ready.pid, 'SIGCONT')
  expect(bytes).toBe(image.bytes)
  expect(states.get('frozen')?.condition).not.toBe('live')
  await stage.untilLive(['frozen'])
  const { byCopies } = await stage.count(image)
  // What is surplus may wait for its leases and the next look; too few there must never be.
  expect(Object.keys(byCopies).filter((copies) => Number(copies) < REPLICAS)).toEqual([])
})
