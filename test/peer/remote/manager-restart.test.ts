import { afterEach, expect, test } from '@jest/globals'
import { LocalProviderManager } from '../../../src/chunks/provider-manager.ts'
import type { ProviderState } from '../../../src/chunks/provider-manager-types.ts'
import type { WrittenChunk } from '../../../src/chunks/replica-types.ts'
import { ReplicatedWriter } from '../../../src/chunks/replicated-writer.ts'
import type { ProviderId } from '../../../src/chunks/types.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { serveProviders } from '../../../src/peer/protocols/providers-serve.ts'
import { RemoteProviderManager } from '../../../src/peer/remote/provider-manager.ts'
import { sampleChunk } from '../../contract/chunk-store.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { ProviderPool } from '../../support/provider-pool.ts'

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()))
})

/** Providers `a` to `d`, a writer, and between them a provider manager that comes and goes. */
async function setUp() {
  const network = new MemoryNetwork()
  const pool = await ProviderPool.start('abcd')
  const remoteOf = (name: string): RemoteProviderManager => {
    const remote = new RemoteProviderManager(
      { node: network.node(name), clock: systemClock, find: () => 'manager' },
      { retryForMs: 10_000, retryPauseMs: 2 }
    )
    stops.push(() => remote.stop())
    return remote
  }
  /** A manager that knows nothing. */
  const startManager = async (): Promise<LocalProviderManager> => {
    const components = { clock: systemClock, random: seededRandom(1) }
    const manager = new LocalProviderManager(components, { settleMs: 10_000 })
    stops.push(async () => manager.stop())
    const serving = { providers: manager, clock: systemClock, logger: noLogger }
    await serveProviders(network.node('manager'), serving)
    return manager
  }
  const heartbeats = new Map<ProviderId, RemoteProviderManager>()
  for (const name of pool.providers.keys()) heartbeats.set(name, remoteOf(name))
  const beat = async (names: Iterable<ProviderId> = pool.providers.keys()): Promise<void> => {
    for (const name of names) {
      await heartbeats.get(name)?.report(await pool.get(name).report('zone'))
    }
  }
  const writer = new ReplicatedWriter(
    { directory: pool, providers: remoteOf('writer') },
    { replicas: 2, maxStock: 4 }
  )
  const write = async (seed: number): Promise<WrittenChunk> => {
    const { id, bytes } = sampleChunk(seed)
    return { id, replicas: await writer.write(id, bytes) }
  }
  return { network, pool, startManager, beat, writer, write }
}

test('an upload goes on when the provider manager restarts in the middle of it', async () => {
  const { network, pool, startManager, beat, writer, write } = await setUp()
  await startManager()
  await beat()
  const before = await Promise.all([1, 2, 3].map(write))

  network.remove('manager')
  const during = [4, 5, 6, 7, 8, 9].map(write) // more than there is in stock
  await startManager()
  await beat()
  const chunks = [...before, ...(await Promise.all(during))]
  const whole = await writer.makeWhole(chunks)

  expect(whole).toEqual(chunks.map(({ replicas }) => replicas))
  expect(chunks.map(({ id }) => pool.holders(id).length)).toEqual(chunks.map(() => 2))
})

const told = (state: ProviderState): object => ({ ...state, seenMs: 0 })

test('a provider manager that has forgotten everything knows it after one heartbeat each', async () => {
  const { network, startManager, beat, write } = await setUp()
  const first = await startManager()
  await beat()
  await write(1)
  await beat()
  const before = await first.list()

  network.remove('manager')
  const second = await startManager()
  expect(await second.list()).toEqual([])
  await beat()

  expect((await second.list()).map(told)).toEqual(before.map(told))
  expect((await write(2)).replicas).toHaveLength(2)
})
