import { mkdir, readdir, readFile, stat, watch, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import {
  type AgentProcess,
  blobswarmJson,
  runBlobswarm
} from '../../experiments/support/agent-process.ts'
import type { CachedImage } from '../../src/agent/cached-image.ts'
import type { OperationProgress, PrefetchResult, PullResult } from '../../src/agent/operations.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { Cluster } from '../support/cluster.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const IMAGE_BYTES = 6 * MIB
const QUOTA_BYTES = 14 * MIB

jest.setTimeout(120_000)

let cluster: Cluster
let managers: AgentProcess
let provider: AgentProcess
let hypervisor: AgentProcess

beforeAll(async () => {
  cluster = await Cluster.create()
  const roles = 'versionManager,providerManager,metadata,gridftp'
  managers = await cluster.start('managers', ['--roles', roles, '--gridftp', '127.0.0.1:0'])
  const request = ['token', 'create', '--roles', 'provider', '--rights', 'read,write']
  const { token } = await blobswarmJson<{ token: string }>(managers.dataDir, request)
  provider = await cluster.start('provider', ['--roles', 'provider', '--join', token])
  hypervisor = await cluster.startHypervisor(managers, 'first', [...CACHE, ...SLOW])
  for (const number of [1, 2, 3]) {
    await writeFile(cluster.file(`${number}.raw`), sampleBytes(IMAGE_BYTES, number))
    await blobswarmJson(provider.dataDir, ['push', cluster.file(`${number}.raw`), `/${number}`])
  }
}, 120_000)
afterAll(async () => cluster.stop())

const CACHE = ['--set', `storage.quotaBytes=${QUOTA_BYTES}`]
const SLOW = ['--set', `swarm.downloadRate=${2 * MIB}`]

async function restart(name: string, extra: readonly string[]): Promise<AgentProcess> {
  return cluster.start(name, ['--roles', 'deploy', ...extra])
}

async function cached(agent: AgentProcess): Promise<string[]> {
  const images = await blobswarmJson<CachedImage[]>(agent.dataDir, ['cache'])
  return images.map(({ names, dataBytes, heldBytes }) => {
    const part = heldBytes === dataBytes ? 'whole' : heldBytes > 0 ? 'a part' : 'nothing'
    return `${names.map(({ path }) => path).join(' ')}: ${part}`
  })
}

async function bytesBelow(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true })
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Begins a command that brings chunks, and kills the agent when some have come. */
async function killInTheMiddleOf(agent: AgentProcess, command: readonly string[]): Promise<void> {
  const moving = Promise.withResolvers<void>()
  const onError = (line: string): void => {
    const { doneBytes = 0 } = line.startsWith('{') ? (JSON.parse(line) as OperationProgress) : {}
    if (doneBytes > MIB) moving.resolve()
  }
  const run = runBlobswarm(agent.dataDir, [...command, '--progress', 'json'], { onError })
  await moving.promise
  await agent.kill()
  expect((await run).code).toBe(6)
}

/** Resolves when an image of a catalogue is no longer there: its chunks are being deleted. */
async function forgets(folder: string): Promise<void> {
  const entries = async (): Promise<string[]> =>
    (await readdir(folder)).filter((name) => name.endsWith('.json'))
  const before = await entries()
  for await (const { filename } of watch(folder)) {
    if (filename === null || !before.includes(filename)) continue
    if (!(await entries()).includes(filename)) return
  }
}

test('kill -9 in the middle of a pull loses no chunk that had come, and leaves no file', async () => {
  const folder = cluster.file('images')
  await mkdir(folder)
  await killInTheMiddleOf(hypervisor, ['pull', '/1', join(folder, 'killed.raw')])

  hypervisor = await restart('first', CACHE)

  expect(await readdir(folder)).toEqual([])
  expect(await cached(hypervisor)).toEqual(['/1: a part'])
  const args = ['pull', '/1', cluster.file('out.raw')]
  const { reusedBytes, fromProvidersBytes } = await blobswarmJson<PullResult>(
    hypervisor.dataDir,
    args
  )
  expect(reusedBytes).toBeGreaterThan(0)
  expect(reusedBytes + fromProvidersBytes).toBe(IMAGE_BYTES)
  expect(await readFile(cluster.file('out.raw'))).toEqual(await readFile(cluster.file('1.raw')))
})

test('a prefetch goes on after kill -9 in the middle of it, and the image costs a pull nothing', async () => {
  await blobswarmJson(hypervisor.dataDir, ['limits', '--down', `${2 * MIB}`])
  await killInTheMiddleOf(hypervisor, ['prefetch', '/2'])

  hypervisor = await restart('first', CACHE)

  expect(await cached(hypervisor)).toEqual(['/2: a part', '/1: whole'])
  const { reusedBytes, fromProvidersBytes } = await blobswarmJson<PrefetchResult>(
    hypervisor.dataDir,
    ['prefetch', '/2']
  )
  expect(reusedBytes).toBeGreaterThan(0)
  expect(reusedBytes + fromProvidersBytes).toBe(IMAGE_BYTES)
  const pull = ['pull', '/2', cluster.file('2.out')]
  expect(await blobswarmJson(hypervisor.dataDir, pull)).toMatchObject({ reusedBytes: IMAGE_BYTES })
})

test('a third image evicts the one used longest ago, of which nothing is left after kill -9 meanwhile', async () => {
  const forgotten = forgets(join(hypervisor.dataDir, 'images'))
  const prefetch = runBlobswarm(hypervisor.dataDir, ['prefetch', '/3'])
  await forgotten
  await hypervisor.kill()
  await prefetch

  hypervisor = await restart('first', CACHE)

  expect(await cached(hypervisor)).not.toContainEqual(expect.stringMatching('/1'))
  expect(await bytesBelow(join(hypervisor.dataDir, 'cache'))).toBeLessThanOrEqual(QUOTA_BYTES)
  await blobswarmJson(hypervisor.dataDir, ['prefetch', '/3'])
  expect(await cached(hypervisor)).toEqual(['/3: whole', '/2: whole'])
  expect(await bytesBelow(join(hypervisor.dataDir, 'cache'))).toBeLessThanOrEqual(QUOTA_BYTES)
})

test('an image larger than the cache is refused with both sizes', async () => {
  const large = sampleBytes(QUOTA_BYTES + MIB, 9)
  await writeFile(cluster.file('large.raw'), large)
  await blobswarmJson(provider.dataDir, ['push', cluster.file('large.raw'), '/large'])

  const { code, stderr } = await runBlobswarm(hypervisor.dataDir, ['prefetch', '/large'])

  expect(code).toBe(1)
  expect(stderr).toContain(`${large.byteLength} bytes`)
  expect(stderr).toContain(`${QUOTA_BYTES}`)
  expect(await cached(hypervisor)).toEqual(['/3: whole', '/2: whole'])
})

test('an image whose providers are all down is served by an agent that was killed and started', async () => {
  const second = await cluster.startHypervisor(managers, 'second')
  await provider.kill()
  await hypervisor.kill()
  hypervisor = await restart('first', CACHE)

  const args = ['pull', '/3', cluster.file('3.out')]
  const result = await blobswarmJson<PullResult>(second.dataDir, args)

  expect(result).toMatchObject({ fromPeersBytes: IMAGE_BYTES, fromProvidersBytes: 0 })
  expect(await readFile(cluster.file('3.out'))).toEqual(await readFile(cluster.file('3.raw')))
  await second.stop()
})

test('an image in the cache can be pulled while nobody else is there, and dropped', async () => {
  await managers.kill()

  const args = ['pull', '/3', cluster.file('3.alone')]
  const result = await blobswarmJson<PullResult>(hypervisor.dataDir, args)
  const dropped = await blobswarmJson(hypervisor.dataDir, ['cache', 'evict', '/3'])
  const again = await runBlobswarm(hypervisor.dataDir, ['cache', 'evict', '/3'])

  expect(result).toMatchObject({ version: 1, reusedBytes: IMAGE_BYTES })
  expect(await readFile(cluster.file('3.alone'))).toEqual(await readFile(cluster.file('3.raw')))
  expect(dropped).toEqual({ ref: '/3', freedBytes: IMAGE_BYTES })
  expect(again.code).toBe(3)
  expect(await cached(hypervisor)).toEqual(['/2: whole'])
})
