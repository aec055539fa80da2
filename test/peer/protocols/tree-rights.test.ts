import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { MemoryMetadataStore } from '../../../src/metadata/memory-node-store.ts'
import type { Signer } from '../../../src/metadata/signature-types.ts'
import { encodeEnvelope } from '../../../src/metadata/signed.ts'
import { TREE_PROTOCOL, treeMethods } from '../../../src/peer/protocols/tree.ts'
import { serveTree } from '../../../src/peer/protocols/tree-serve.ts'
import { RemoteMetadataProvider } from '../../../src/peer/remote/metadata-provider.ts'
import { type RetirementOrder, signRetirementOrder } from '../../../src/peer/retirement-order.ts'
import { RpcClient } from '../../../src/peer/rpc-client.ts'
import type { Member } from '../../../src/peer/types.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { testSigner, trusting } from '../../support/signing.ts'

const manager = testSigner(1)
const stranger = testSigner(2)
const bytes = new Uint8Array(Buffer.from('page'))
const page = { id: chunkId(bytes), bytes }
const notPermitted = { code: 'ERR_NOT_PERMITTED' }

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()))
})

/** A provider with one page that has no lease, and ways to ask it. */
async function stage() {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const verifier = trusting(manager)
  const store = new MemoryMetadataStore({ verifier, clock }, { leaseMs: 1000 })
  await serveTree(network.node('provider'), {
    store,
    verifier,
    clock: systemClock,
    logger: noLogger
  })
  await store.putPages([page])
  clock.advance(2000)
  const asMember = (about: Partial<Member>, signer?: Signer) => {
    const node = network.node(`member ${stops.length}`, about)
    const common = { node, clock: systemClock, peerId: 'provider' }
    const remote = new RemoteMetadataProvider({ ...common, signer })
    const client = new RpcClient({ ...common, spec: TREE_PROTOCOL })
    stops.push(async () => {
      await Promise.all([remote.close(), client.close()])
    })
    return { remote, client }
  }
  const isThere = async (): Promise<boolean> => !(await store.lacking('pages', [page.id]))[0]
  return { store, asMember, isThere }
}

const asManager: Partial<Member> = {
  roles: new Set(['versionManager']),
  rights: new Set(['read', 'write', 'admin'])
}

describe('collection over the network', () => {
  test('is for version managers only, whatever rights others have', async () => {
    const { asMember, store, isThere } = await stage()
    const collection = await store.beginCollection()
    const rights = new Set(['read', 'write', 'admin'] as const)
    const { remote } = asMember({ roles: new Set(['metadata', 'gridftp']), rights }, manager)

    await expect(remote.beginCollection()).rejects.toMatchObject(notPermitted)
    await expect(remote.unleased(collection, { kind: 'pages' })).rejects.toMatchObject(notPermitted)
    await expect(remote.nodeVersions(collection, undefined)).rejects.toMatchObject(notPermitted)
    const asked = { kind: 'pages', keys: [page.id] } as const
    await expect(remote.collect(collection, asked)).rejects.toMatchObject(notPermitted)

    expect(await isThere()).toBe(true)
    expect(await store.unleased(collection, { kind: 'pages' })).toEqual([page.id])
  })

  test('needs a signer to delete', async () => {
    const { asMember, isThere } = await stage()
    const { remote } = asMember(asManager)
    const collection = await remote.beginCollection()
    const asked = { kind: 'pages', keys: [page.id] } as const

    await expect(remote.collect(collection, asked)).rejects.toBeInstanceOf(TypeError)

    expect(await isThere()).toBe(true)
  })

  test('deletes nothing for an order that is forged, of another kind or for another provider', async () => {
    const { asMember, store, isThere } = await stage()
    const { client } = asMember(asManager)
    const collection = await store.beginCollection()
    const order: RetirementOrder = {
      kind: 'pages',
      provider: 'provider',
      collection,
      keys: [page.id]
    }
    const signed = (changes: Partial<RetirementOrder>, signer: Signer = manager) =>
      signRetirementOrder(signer, { ...order, ...changes })
    const good = signed({})
    const payload = good.payload.map((byte, at) =>
      at === good.payload.length - 1 ? byte ^ 1 : byte
    )
    const untrusted = 'ERR_UNTRUSTED_SIGNATURE'
    const cases = [
      [signed({}, stranger), untrusted],
      [{ ...good, payload }, untrusted],
      [manager.sign('ticket', good.payload), untrusted],
      [signed({ provider: 'another' }), untrusted],
      [signed({ kind: 'chunks' }), untrusted],
      [signed({ kind: 'records' }), untrusted],
      [signed({ collection: 'ended' }), 'ERR_COLLECTION_ENDED'],
      [manager.sign('retirement', new Uint8Array([1, 2, 3])), 'ERR_MALFORMED']
    ] as const

    for (const [envelope, code] of cases) {
      const request = { kind: 'pages' as const, order: encodeEnvelope(envelope) }
      await expect(client.call(treeMethods.collect, request)).rejects.toMatchObject({ code })
    }

    expect(await isThere()).toBe(true)
    const request = { kind: 'pages' as const, order: encodeEnvelope(good) }
    expect((await client.call(treeMethods.collect, request)).count).toBe(1)
    expect(await isThere()).toBe(false)
  })

  test('an order is of no use in the next collection', async () => {
    const { asMember, store, isThere } = await stage()
    const { client } = asMember(asManager)
    const collection = await store.beginCollection()
    const order = { kind: 'pages', provider: 'provider', collection, keys: [page.id] } as const
    const request = {
      kind: 'pages' as const,
      order: encodeEnvelope(signRetirementOrder(manager, order))
    }
    await store.beginCollection()

    await expect(client.call(treeMethods.collect, request)).rejects.toMatchObject({
      code: 'ERR_COLLECTION_ENDED'
    })

    expect(await isThere()).toBe(true)
  })
})

describe('puts over the network', () => {
  test('need the right to write, or to be a metadata provider that hands over', async () => {
    const { asMember } = await stage()
    const rights = new Set(['read'] as const)
    const other = new Uint8Array(Buffer.from('other'))
    const pages = [{ id: chunkId(other), bytes: other }]

    const reader = asMember({ roles: new Set(['deploy']), rights }).remote
    const provider = asMember({ roles: new Set(['metadata']), rights }).remote

    await expect(reader.putPages(pages)).rejects.toMatchObject(notPermitted)
    await provider.putPages(pages)
    expect(await reader.getPages([pages[0]!.id])).toEqual([other])
  })
})
