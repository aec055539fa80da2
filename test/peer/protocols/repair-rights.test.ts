import { afterEach, describe, expect, test } from '@jest/globals'
import type { RepairFigures } from '../../../src/chunks/maintenance-types.ts'
import { LocalProviderManager } from '../../../src/chunks/provider-manager.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { signLocation } from '../../../src/metadata/location.ts'
import { MemoryMetadataStore } from '../../../src/metadata/memory-node-store.ts'
import { recordKey, recordName } from '../../../src/metadata/metadata-keys.ts'
import { serveProviders } from '../../../src/peer/protocols/providers-serve.ts'
import { serveTree } from '../../../src/peer/protocols/tree-serve.ts'
import { RemoteMetadataProvider } from '../../../src/peer/remote/metadata-provider.ts'
import { RemoteProviderManager } from '../../../src/peer/remote/provider-manager.ts'
import type { Right, Role } from '../../../src/peer/types.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { testSigner, trusting } from '../../support/signing.ts'

const signer = testSigner()
const verifier = trusting(signer)
const notPermitted = { code: 'ERR_NOT_PERMITTED' }
const READ: ReadonlySet<Right> = new Set(['read'])

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()))
})

const record = (page: number) =>
  signLocation(signer, { page: new Uint8Array(32).fill(page), sequence: 1, replicas: [['a']] })

/** A metadata provider with three records, asked by somebody with a role and the right to read. */
async function metadataFor(role: Role): Promise<RemoteMetadataProvider> {
  const network = new MemoryNetwork()
  const store = new MemoryMetadataStore({ verifier })
  await store.putRecords([record(1), record(2), record(3)])
  const node = network.node('provider')
  await serveTree(node, { store, verifier, clock: systemClock, logger: noLogger })
  const asking = network.node('member', { roles: new Set([role]), rights: READ })
  const remote = new RemoteMetadataProvider({
    node: asking,
    clock: systemClock,
    peerId: 'provider'
  })
  stops.push(async () => await remote.close())
  return remote
}

describe('walking through the names of records', () => {
  const scan = { kind: 'records', prefix: recordKey('location/') } as const

  test('goes on where it was, for the provider manager', async () => {
    const remote = await metadataFor('providerManager')

    const first = await remote.scan({ ...scan, limit: 2 })
    const rest = await remote.scan({ ...scan, after: first.at(-1), limit: 2 })

    expect([...first, ...rest].map(recordName)).toEqual([1, 2, 3].map((page) => record(page).name))
  })

  test('is for nobody else', async () => {
    const remote = await metadataFor('deploy')

    await expect(remote.scan(scan)).rejects.toMatchObject(notPermitted)
  })
})

describe('location records', () => {
  const newer = signLocation(signer, { page: new Uint8Array(32), sequence: 7, replicas: [['b']] })

  test('are corrected by the provider manager, whatever its rights', async () => {
    const remote = await metadataFor('providerManager')

    await remote.putRecords([newer])

    expect((await remote.getRecords([newer.name]))[0]?.sequence).toBe(7)
  })

  test('are not written by those who may only read', async () => {
    const remote = await metadataFor('deploy')

    await expect(remote.putRecords([newer])).rejects.toMatchObject(notPermitted)
  })
})

async function managerWith(known: RepairFigures | undefined): Promise<RemoteProviderManager> {
  const network = new MemoryNetwork()
  const providers = new LocalProviderManager({ clock: systemClock, random: seededRandom(1) })
  const repair = { figures: async () => known }
  const common = { clock: systemClock, logger: noLogger }
  await serveProviders(network.node('manager'), { providers, repair, ...common })
  const node = network.node('member', { roles: new Set(['deploy']), rights: READ })
  const remote = new RemoteProviderManager(
    { node, clock: systemClock, find: () => 'manager' },
    { retryForMs: 0 }
  )
  stops.push(async () => await remote.stop())
  return remote
}

describe('the figures of repair', () => {
  const figures: RepairFigures = {
    replicas: 2,
    chunks: 10,
    underReplicated: 3,
    unreachable: 1,
    surplus: 4,
    isCurrent: true,
    lookedMs: 1_900_000_000_000,
    pending: 2,
    copiedChunks: 5,
    copiedBytes: 6,
    failedCopies: 7,
    trimmedChunks: 8
  }

  test('are told to every member', async () => {
    const remote = await managerWith(figures)

    expect(await remote.figures()).toEqual(figures)
  })

  test('are not there before the first look', async () => {
    const remote = await managerWith(undefined)

    expect(await remote.figures()).toBeUndefined()
  })
})
