import { describe, expect, test } from '@jest/globals'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { signLocation } from '../../src/metadata/location.ts'
import type { Verifier } from '../../src/metadata/signature-types.ts'
import type { MetadataStore, NamedRecord } from '../../src/metadata/store-types.ts'
import { proveNodes } from '../../src/metadata/tickets.ts'
import type { KeyedNode, LeafNode } from '../../src/metadata/tree-types.ts'
import { testSigner, trusting } from '../support/signing.ts'
import { sampleWrite } from '../support/tree-samples.ts'

const signer = testSigner(1)
const stranger = testSigner(2)
const page = { id: chunkId(Buffer.from('page')), bytes: new Uint8Array(Buffer.from('page')) }

function location(sequence: number, replicas: string[][] = [['p1']]): NamedRecord {
  return signLocation(signer, { page: page.id, sequence, replicas })
}

/** Another node of the sample's ticket in the place of its first leaf. */
function otherLeaf(nodes: readonly KeyedNode[]): KeyedNode {
  const leaf = nodes.find(({ node }) => node.kind === 'leaf')
  if (leaf?.node.kind !== 'leaf') throw new Error('no leaf')
  const node: LeafNode = {
    ...leaf.node,
    fragments: leaf.node.fragments.map((fragment) => ({ ...fragment, replicas: ['provider-9'] }))
  }
  return { ...leaf, node }
}

/** What every MetadataStore does. `open` gives an empty one that trusts what `verifier` trusts. */
export function metadataStoreContract(
  name: string,
  open: (verifier: Verifier) => Promise<MetadataStore>
): void {
  describe(name, () => {
    test('gives back the nodes that were put, and undefined for others', async () => {
      const store = await open(trusting(signer))
      const { nodes, proof } = await sampleWrite(5, { signer })

      await store.putNodes(nodes, proof)

      const keys = nodes.map(({ key }) => key)
      const other = { blob: 'ee'.repeat(32), version: 1, offset: 0, span: 8 }
      const found = await store.getNodes([other, ...keys])
      expect(found).toEqual([undefined, ...nodes.map(({ node }) => node)])
    })

    test('takes a part of a batch with the proof of all of it', async () => {
      const store = await open(trusting(signer))
      const { nodes, proof } = await sampleWrite(5, { signer })

      await store.putNodes(nodes.slice(2, 4), proof)

      const found = await store.getNodes(nodes.map(({ key }) => key))
      expect(found.map((node) => node !== undefined)).toEqual(
        nodes.map((_, at) => at === 2 || at === 3)
      )
    })

    test('takes the same nodes again, also with another valid proof', async () => {
      const manager = testSigner(3)
      const store = await open(trusting(signer, manager))
      const { nodes, proof, signed } = await sampleWrite(3, { signer })
      await store.putNodes(nodes, proof)

      await store.putNodes(nodes, proveNodes(signer, signed.envelope, nodes.toReversed()))

      expect(await store.getNodes([nodes[0]!.key])).toEqual([nodes[0]!.node])
    })

    test('refuses other bytes under a key, and the whole batch with them', async () => {
      const store = await open(trusting(signer))
      const { nodes, signed } = await sampleWrite(3, { signer })
      const first = nodes[0]!
      await store.putNodes([first], proveNodes(signer, signed.envelope, [first]))
      const batch = [...nodes.slice(1), otherLeaf(nodes)]

      const put = store.putNodes(batch, proveNodes(signer, signed.envelope, batch))

      await expect(put).rejects.toMatchObject({ code: 'ERR_NODE_CONFLICT', key: first.key })
      const found = await store.getNodes(nodes.map(({ key }) => key))
      expect(found).toEqual([first.node, ...nodes.slice(1).map(() => undefined)])
    })

    test('refuses a batch that contradicts itself', async () => {
      const store = await open(trusting(signer))
      const { nodes, signed } = await sampleWrite(3, { signer })
      const batch = [...nodes, otherLeaf(nodes)]

      const put = store.putNodes(batch, proveNodes(signer, signed.envelope, batch))

      await expect(put).rejects.toMatchObject({ code: 'ERR_NODE_CONFLICT' })
      expect(await store.getNodes([nodes[0]!.key])).toEqual([undefined])
    })

    test('a conflict fails its own put and none of those beside it', async () => {
      const store = await open(trusting(signer))
      const { nodes, proof, signed } = await sampleWrite(3, { signer })
      const other = await sampleWrite(3, { signer, fill: 7 })
      await store.putNodes(nodes, proof)
      const wrong = [otherLeaf(nodes)]

      const puts = await Promise.allSettled([
        store.putNodes(wrong, proveNodes(signer, signed.envelope, wrong)),
        store.putNodes(other.nodes, other.proof)
      ])

      expect(puts.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
      expect(await store.getNodes([other.nodes[0]!.key])).toEqual([other.nodes[0]!.node])
    })

    test('refuses nodes that the proof does not list', async () => {
      const store = await open(trusting(signer))
      const { nodes, signed } = await sampleWrite(3, { signer })

      const put = store.putNodes(nodes, proveNodes(signer, signed.envelope, nodes.slice(1)))

      await expect(put).rejects.toMatchObject({ code: 'ERR_INVALID_NODE' })
    })

    test('refuses nodes that somebody else than the writer signed', async () => {
      const store = await open(trusting(signer, stranger))
      const { nodes, signed } = await sampleWrite(3, { signer })

      const put = store.putNodes(nodes, proveNodes(stranger, signed.envelope, nodes))

      await expect(put).rejects.toMatchObject({ code: 'ERR_UNTRUSTED_SIGNATURE' })
    })

    test('refuses nodes under a ticket of a stranger', async () => {
      const store = await open(trusting(stranger))
      const { nodes, proof } = await sampleWrite(3, { signer })

      await expect(store.putNodes(nodes, proof)).rejects.toMatchObject({
        code: 'ERR_UNTRUSTED_SIGNATURE'
      })
    })

    test('gives back the pages that were put, and undefined for others', async () => {
      const store = await open(trusting(signer))
      await store.putPages([page])
      await store.putPages([page])

      const found = await store.getPages([ZERO_CHUNK_ID, page.id])

      expect(found.map((bytes) => bytes && Buffer.from(bytes).toString())).toEqual([
        undefined,
        'page'
      ])
    })

    test('refuses bytes that are not the page that their id names', async () => {
      const store = await open(trusting(signer))

      const put = store.putPages([{ id: page.id, bytes: new Uint8Array(4) }])

      await expect(put).rejects.toMatchObject({ code: 'ERR_CHUNK_MISMATCH' })
      expect(await store.getPages([page.id])).toEqual([undefined])
    })

    test('keeps the record of the highest sequence', async () => {
      const store = await open(trusting(signer))
      await store.putRecords([location(2)])

      await store.putRecords([location(1), location(3, [['p2']])])
      await store.putRecords([location(2)])

      const [found] = await store.getRecords([location(1).name])
      expect(found).toEqual(location(3, [['p2']]))
      expect(await store.getRecords(['location/none'])).toEqual([undefined])
    })

    test('takes the same record again and refuses another of its sequence', async () => {
      const store = await open(trusting(signer))
      await store.putRecords([location(2)])
      await store.putRecords([location(2)])

      const put = store.putRecords([location(2, [['p2']])])

      await expect(put).rejects.toMatchObject({ code: 'ERR_RECORD_CONFLICT' })
      expect(await store.getRecords([location(2).name])).toEqual([location(2)])
    })

    test('refuses a record under another name or sequence than was signed', async () => {
      const store = await open(trusting(signer))
      const cases = [
        { ...location(2), name: `location/${'00'.repeat(32)}` },
        { ...location(2), sequence: 3 },
        signLocation(stranger, { page: page.id, sequence: 1, replicas: [[]] })
      ]

      for (const record of cases) {
        await expect(store.putRecords([record])).rejects.toMatchObject({
          code: 'ERR_UNTRUSTED_SIGNATURE'
        })
      }
    })

    test('an aborted call rejects with its reason', async () => {
      const store = await open(trusting(signer))
      const { nodes, proof } = await sampleWrite(2, { signer })
      const options = { signal: AbortSignal.abort(new Error('given up')) }

      await expect(store.getNodes([nodes[0]!.key], options)).rejects.toThrow('given up')
      await expect(store.putNodes(nodes, proof, options)).rejects.toThrow('given up')
      await expect(store.putPages([page], options)).rejects.toThrow('given up')
      await expect(store.getRecords(['x'], options)).rejects.toThrow('given up')
    })
  })
}
