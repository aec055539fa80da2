import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { ChunkCopier } from '../../../src/chunks/chunk-copier.ts'
import { DiskStore } from '../../../src/chunks/disk-store.ts'
import { LocalProvider } from '../../../src/chunks/local-provider.ts'
import { GIB } from '../../../src/lib/bytes.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { MemoryMetrics } from '../../../src/lib/metrics.ts'
import { serveStore } from '../../../src/peer/protocols/store-serve.ts'
import { RemoteProvider } from '../../../src/peer/remote/provider.ts'
import { sampleChunk } from '../../contract/chunk-store.ts'
import { FailingDisk } from '../../support/failing-disk.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { gullible } from '../../support/plain-signing.ts'
import { TestProvider } from '../../support/provider-pool.ts'

let directory: string
let disk: FailingDisk
const closings: (() => Promise<void>)[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-bad-disk-'))
  disk = new FailingDisk()
})

afterEach(async () => {
  disk.condition = 'well'
  for (const close of closings.splice(0).toReversed()) await close()
  await rm(directory, { recursive: true, force: true })
})

const chunks = [1, 2, 3, 4].map((seed) => sampleChunk(seed))
const ids = chunks.map(({ id }) => id)
const [first, second] = chunks as [ReturnType<typeof sampleChunk>, ReturnType<typeof sampleChunk>]

/** A provider with some chunks on a disk that may go bad, and a twin that has all of them. */
async function setUp(held: typeof chunks) {
  const store = new DiskStore({ logger: noLogger, files: disk }, { directory })
  await store.start()
  for (const { id, bytes } of held) await store.put(id, bytes)
  const twin = new TestProvider('twin')
  await twin.store.start()
  for (const { id, bytes } of chunks) await twin.store.put(id, bytes)
  const sources = { open: () => twin }
  const copier = new ChunkCopier({ sources, clock: systemClock })
  const provider = new LocalProvider('provider', { store, copier, freeBytes: async () => GIB })
  const network = new MemoryNetwork()
  const metrics = new MemoryMetrics()
  const serving = { provider, verifier: gullible, clock: systemClock, logger: noLogger, metrics }
  await serveStore(network.node('provider'), serving)
  const node = network.node('client')
  const remote = new RemoteProvider({ node, clock: systemClock, peerId: 'provider' })
  closings.push(
    () => store.stop(),
    () => remote.close()
  )
  return { remote, provider, metrics, twin: { id: 'twin', addresses: [] } }
}

test('a disk that became read-only is told of before a chunk is sent, and still read from', async () => {
  const { remote, provider, metrics } = await setUp([first])
  disk.condition = 'read-only'
  const failed = { code: 'ERR_STORE_FAILED' }
  await expect(remote.put(second.id, second.bytes)).rejects.toMatchObject(failed)

  await expect(remote.put(second.id, second.bytes)).rejects.toMatchObject(failed)

  const refused = 'blobswarm_peer_store_refused_puts_total{code=ERR_STORE_FAILED}'
  expect(metrics.values.get(refused)).toBe(1)
  expect(await remote.get(first.id)).toEqual(first.bytes)
  expect(await provider.report('zone')).toMatchObject({ freeBytes: 0 })
})

test('copies to a disk that takes no writes fail with its reason', async () => {
  const { remote, twin } = await setUp([first])
  disk.condition = 'read-only'

  await expect(remote.copy(ids, [twin])).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })

  expect(await remote.holds(ids)).toEqual([true, false, false, false])
})

test('what a bad part of the disk holds is found, not held any more, and copied again', async () => {
  const { remote, provider, twin } = await setUp(chunks)
  await disk.spoil(directory, second.id)

  const found = await remote.check(ids)
  const held = await remote.holds(ids)
  const { lostCount } = await provider.report('zone')
  const copied = await remote.copy(ids, [twin])

  expect(found).toEqual(['intact', 'corrupt', 'intact', 'intact'])
  expect([held, lostCount]).toEqual([[true, false, true, true], 1])
  expect(copied).toEqual([true, true, true, true])
  expect(await remote.get(second.id)).toEqual(second.bytes)
})

test('a reader gets nothing rather than what a bad disk gives, and goes elsewhere', async () => {
  const { remote } = await setUp(chunks)
  await disk.spoil(directory, second.id)

  expect(await remote.get(second.id)).toBeUndefined()
  expect(await remote.has([second.id])).toEqual([false])
})
