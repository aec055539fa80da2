import { afterEach, describe, expect, test } from '@jest/globals'
import { LeaseTable } from '../../../src/chunks/lease-table.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import type { SignedEnvelope, Signer } from '../../../src/metadata/signature-types.ts'
import { ProtocolViolationError } from '../../../src/peer/errors.ts'
import { decodeStoreRequest, STORE_PROTOCOL } from '../../../src/peer/protocols/store.ts'
import { encodeStoreAnswer } from '../../../src/peer/protocols/store-answers.ts'
import { serveStore } from '../../../src/peer/protocols/store-serve.ts'
import { RemoteProvider } from '../../../src/peer/remote/provider.ts'
import { encodeRetirementOrder } from '../../../src/peer/retirement-order.ts'
import type { Member } from '../../../src/peer/types.ts'
import { sampleChunk } from '../../contract/chunk-store.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { TestProvider } from '../../support/provider-pool.ts'
import { testSigner, trusting } from '../../support/signing.ts'

const remotes: RemoteProvider[] = []

afterEach(async () => {
  await Promise.all(remotes.splice(0).map((remote) => remote.close()))
})

const byBytes = (left: Uint8Array, right: Uint8Array): number => Buffer.compare(left, right)
const manager = testSigner(1)
const stranger = testSigner(2)
const chunks = [1, 2, 3, 4].map((seed) => sampleChunk(seed))
const ids = chunks.map(({ id }) => id)

/** A provider `provider` with four chunks that nobody has a lease on. */
async function setUp() {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const leases = new LeaseTable({ clock }, { leaseMs: 1000 })
  const provider = new TestProvider('provider', undefined, leases)
  await provider.store.start()
  for (const { id, bytes } of chunks) await provider.store.put(id, bytes)
  clock.advance(1000)
  const components = { provider, clock: systemClock, logger: noLogger }
  await serveStore(network.node('provider'), { ...components, verifier: trusting(manager) })
  const remoteAs = (signer: Signer | undefined, about: Partial<Member> = {}): RemoteProvider => {
    const node = network.node('collector', about)
    const remote = new RemoteProvider({ node, clock: systemClock, peerId: 'provider', signer })
    remotes.push(remote)
    return remote
  }
  return { provider, network, remoteAs }
}

describe('a version manager', () => {
  test('lists and deletes what has no lease at a provider', async () => {
    const { provider, remoteAs } = await setUp()
    const remote = remoteAs(manager)
    const [first, ...others] = ids.toSorted(byBytes) as [Uint8Array, ...Uint8Array[]]
    const collection = await remote.beginCollection()
    await remote.has([first])

    const listed = await remote.unleased(collection, undefined)
    const above = await remote.unleased(collection, listed[0])
    const none = await remote.unleased(collection, listed.at(-1))
    const collected = await remote.collect(collection, ids)

    expect(listed).toEqual(others)
    expect([above, none]).toEqual([others.slice(1), []])
    expect(collected).toEqual({ count: 3, bytes: 3000 })
    expect([...provider.store.ids()]).toEqual([first])
  })

  test('can ask what would go, and nothing does', async () => {
    const { remoteAs } = await setUp()
    const remote = remoteAs(manager)
    const collection = await remote.beginCollection()

    const would = await remote.collect(collection, ids, { isDryRun: true })
    const listed = await remote.unleased(collection, undefined)
    const collected = await remote.collect(collection, ids)

    expect(would).toEqual({ count: 4, bytes: 4000 })
    expect(listed).toHaveLength(4)
    expect(collected).toEqual(would)
  })

  test('is told when the collection has ended', async () => {
    const { provider, remoteAs } = await setUp()
    const remote = remoteAs(manager)
    const ended = await remote.beginCollection()
    await remote.beginCollection()

    for (const name of [ended, 'unknown', '', 'no name', 'x'.repeat(65)]) {
      const code = { code: 'ERR_COLLECTION_ENDED' }
      await expect(remote.unleased(name, undefined)).rejects.toMatchObject(code)
      await expect(remote.collect(name, ids)).rejects.toMatchObject(code)
    }
    expect(provider.store.chunkCount).toBe(4)
  })

  test('cannot order more than 1,024 chunks at once, nor without a signer', async () => {
    const { provider, remoteAs } = await setUp()
    const remote = remoteAs(manager)
    const collection = await remote.beginCollection()

    const tooMany = Array.from({ length: 1025 }, () => ids[0] as Uint8Array)
    await expect(remote.collect(collection, tooMany)).rejects.toThrow(RangeError)
    await expect(remoteAs(undefined).collect(collection, ids)).rejects.toThrow(TypeError)
    expect(provider.store.chunkCount).toBe(4)
  })

  test('need not ask to delete nothing', async () => {
    const { remoteAs } = await setUp()

    expect(await remoteAs(manager).collect('any', [])).toEqual({ count: 0, bytes: 0 })
  })
})

describe('a provider deletes nothing', () => {
  const otherProvider: Signer = {
    ...manager,
    sign: (purpose, payload) =>
      manager.sign(
        purpose,
        Buffer.from(
          Buffer.from(payload).toString('latin1').replace('provider', 'Provider'),
          'latin1'
        )
      )
  }
  const otherPurpose: Signer = { ...manager, sign: (_, payload) => manager.sign('nodes', payload) }
  const changed: Signer = {
    ...manager,
    sign: (purpose, payload) => ({
      ...manager.sign(purpose, payload),
      payload: payload.with(payload.length - 1, 0)
    })
  }

  test.each([
    ['of somebody who is no version manager', stranger],
    ['for another provider', otherProvider],
    ['signed for something else', otherPurpose],
    ['that was changed afterwards', changed]
  ])('by an order %s', async (_, signer) => {
    const { provider, remoteAs } = await setUp()
    const remote = remoteAs(signer)
    const collection = await remote.beginCollection()

    await expect(remote.collect(collection, ids)).rejects.toMatchObject({
      code: 'ERR_UNTRUSTED_SIGNATURE'
    })
    expect(provider.store.chunkCount).toBe(4)
  })

  test.each([
    ['of keys that are no chunks', { kind: 'pages' }, 'ERR_UNTRUSTED_SIGNATURE'],
    ['of keys that are no ids', { keys: [Uint8Array.of(1)] }, 'ERR_INVALID_REQUEST']
  ] as const)('by an order %s', async (_, change, code) => {
    const { provider, remoteAs } = await setUp()
    const collection = await provider.beginCollection()
    const order = {
      kind: 'chunks',
      provider: 'provider',
      collection,
      keys: ids,
      ...change
    } as const
    const signer: Signer = {
      ...manager,
      sign: (purpose): SignedEnvelope => manager.sign(purpose, encodeRetirementOrder(order))
    }

    await expect(remoteAs(signer).collect(collection, ids)).rejects.toMatchObject({ code })
    expect(provider.store.chunkCount).toBe(4)
  })

  test('for members that are no version managers, whatever they hold in hands', async () => {
    const { provider, remoteAs } = await setUp()
    const roles = new Set(['provider', 'deploy'] as const)
    const remote = remoteAs(manager, { roles })
    const collection = await provider.beginCollection()

    const code = { code: 'ERR_NOT_PERMITTED' }
    await expect(remote.beginCollection()).rejects.toMatchObject(code)
    await expect(remote.unleased(collection, undefined)).rejects.toMatchObject(code)
    await expect(remote.collect(collection, ids)).rejects.toMatchObject(code)
    expect(provider.store.chunkCount).toBe(4)
    expect(await provider.unleased(collection, undefined)).toHaveLength(4)
  })
})

test.each([
  ['a list that goes round', [ids[0], ids[0]]],
  ['a list that goes back', ids.toSorted(byBytes).toReversed()]
])('a provider that answers %s is blamed', async (_, listed) => {
  const network = new MemoryNetwork()
  await network.node('provider').serve(STORE_PROTOCOL, async (channel) => {
    for await (const message of channel.messages()) {
      const { request } = decodeStoreRequest(message)
      const answer = { kind: 'listed', request, ids: listed as Uint8Array[] } as const
      await channel.send(encodeStoreAnswer(answer))
    }
  })
  const node = network.node('collector')
  const remote = new RemoteProvider({ node, clock: systemClock, peerId: 'provider' })
  remotes.push(remote)

  await expect(remote.unleased('some', undefined)).rejects.toBeInstanceOf(ProtocolViolationError)
})
