import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import {
  type AgentProcess,
  blobswarmJson,
  runBlobswarm
} from '../../experiments/support/agent-process.ts'
import type { CollectionReport } from '../../src/metadata/collection-types.ts'
import { Cluster } from '../support/cluster.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

const CHUNK = 65_536
const WITHIN_MS = 40_000
const SETTINGS = ['--set', 'storage.lease=1s', '--set', 'storage.replicas=2']
const ON_REQUEST = ['--set', 'collection.every=0s']

jest.setTimeout(120_000)

let cluster: Cluster
let manager: AgentProcess
let admin: AgentProcess
let stores: AgentProcess[]

beforeAll(async () => {
  cluster = await Cluster.create()
  const roles = 'versionManager,providerManager'
  manager = await cluster.start('manager', ['--roles', roles, ...SETTINGS, ...ON_REQUEST])
  stores = await Promise.all(['store-1', 'store-2'].map((name) => join(name, 'provider,metadata')))
  admin = await join('admin', 'deploy', 'read,write,admin')
}, 90_000)
afterAll(async () => cluster.stop(), 30_000)

async function join(name: string, roles: string, rights?: string): Promise<AgentProcess> {
  const asked = rights === undefined ? [] : ['--rights', rights]
  const request = ['token', 'create', '--roles', roles, ...asked]
  const { token } = await blobswarmJson<{ token: string }>(manager.dataDir, request)
  return cluster.start(name, ['--roles', roles, '--join', token, ...SETTINGS])
}

async function push(bytes: Uint8Array, path: string): Promise<void> {
  const file = cluster.file('pushed.raw')
  await writeFile(file, bytes)
  await blobswarmJson(admin.dataDir, ['push', file, path])
}

async function storedBytes({ dataDir }: AgentProcess): Promise<number> {
  return (await blobswarmJson<{ storedBytes: number }>(dataDir, ['status'])).storedBytes
}

/** Does something again and again until the stores hold as many bytes as wanted. */
async function until<T>(
  wantedBytes: number,
  agents: readonly AgentProcess[],
  work: () => Promise<T>
): Promise<T[]> {
  const done: T[] = []
  for (const endMs = performance.now() + WITHIN_MS; ; ) {
    done.push(await work())
    const bytes = await Promise.all(agents.map(storedBytes))
    if (bytes.every((stored) => stored === wantedBytes)) return done
    if (performance.now() > endMs) throw new Error(`stored ${bytes.join()}, not ${wantedBytes}`)
  }
}

async function collect(): Promise<CollectionReport> {
  return blobswarmJson<CollectionReport>(admin.dataDir, ['gc'])
}

async function expectReadable(path: string, bytes: Uint8Array): Promise<void> {
  const { code, stdout } = await runBlobswarm(admin.dataDir, ['stat', path, '--sha256', '--json'])
  expect(code).toBe(0)
  expect(JSON.parse(stdout).sha256).toBe(sha256(bytes))
}

test('space comes back at every provider, asked for by another agent, and what is left reads', async () => {
  const kept = sampleBytes(CHUNK * 24, 1)
  const gone = Buffer.concat([kept.subarray(0, CHUNK * 8), sampleBytes(CHUNK * 20, 2)])
  await push(kept, '/images/kept')
  await push(gone, '/images/gone')
  await runBlobswarm(admin.dataDir, ['rm', '/images/gone'])

  const reports = await until(kept.byteLength, stores, collect)

  await expectReadable('/images/kept', kept)
  const freed = reports.reduce((sum, { chunks }) => sum + chunks.bytes, 0)
  expect(freed).toBe(CHUNK * 20 * 2) // two copies of each
  expect(reports.flatMap(({ missed }) => missed)).toEqual([])
  expect(reports.at(-1)?.liveChunks).toBe(24)
})

test('a store that is down is named, and freed once it is back', async () => {
  const before = await storedBytes(stores[0] as AgentProcess)
  await push(sampleBytes(CHUNK * 16, 3), '/images/soon-gone')
  await stores[1]?.kill()
  await runBlobswarm(admin.dataDir, ['rm', '/images/soon-gone'])

  const reports = await until(before, stores.slice(0, 1), collect)
  const restarted = await cluster.start('store-2', ['--roles', 'provider,metadata', ...SETTINGS])
  await until(before, [restarted], collect)

  expect(reports.at(-1)?.missed).toEqual([stores[1]?.ready.peerId])
})

test('an agent alone collects by itself', async () => {
  const every = ['--set', 'collection.every=500ms', '--set', 'storage.lease=1s']
  const alone = await cluster.startRepository('alone', every)
  const file = cluster.file('alone.raw')
  await writeFile(file, sampleBytes(CHUNK * 16, 4))
  await blobswarmJson(alone.dataDir, ['push', file, '/image'])
  const before = await storedBytes(alone)

  await runBlobswarm(alone.dataDir, ['rm', '/image'])
  await until(0, [alone], async () => {})

  expect(before).toBe(CHUNK * 16)
})
