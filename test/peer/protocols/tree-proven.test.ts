import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { MalformedError } from '../../../src/lib/errors.ts'
import { encodeEnvelope } from '../../../src/metadata/signed.ts'
import type { ProvenNode } from '../../../src/metadata/store-types.ts'
import type { NodeKey } from '../../../src/metadata/tree-types.ts'
import { MAX_TREE_PAYLOAD_BYTES, treeMethods } from '../../../src/peer/protocols/tree.ts'
import { byProof, provenAnswer, unpackProven } from '../../../src/peer/protocols/tree-proven.ts'
import { sampleWrite } from '../../support/tree-samples.ts'

const noOptions = {}

/** A store of these nodes that counts how many it is asked for. */
function storeOf(nodes: readonly ProvenNode[]) {
  const byKey = new Map(nodes.map((node) => [JSON.stringify(node.key), node]))
  const store = {
    asked: 0,
    getProvenNodes: async (keys: readonly NodeKey[]) => {
      store.asked += keys.length
      return keys.map((key) => byKey.get(JSON.stringify(key)))
    }
  }
  return store
}

async function provenWrite(chunks: number, blob: number): Promise<ProvenNode[]> {
  const { nodes, proof } = await sampleWrite(chunks, { fill: blob })
  return nodes.map(({ key, node }) => ({ key, node, proof }))
}

describe('nodes with their proofs', () => {
  test('come back as they were, each proof once', async () => {
    const nodes = [...(await provenWrite(9, 1)), ...(await provenWrite(5, 2))]
    const nowhere = { ...nodes[0]!.key, version: 7 }
    const keys = [nodes[0]!.key, nowhere, ...nodes.slice(1).map(({ key }) => key)]

    const answer = await provenAnswer(storeOf(nodes), keys, noOptions)
    const wire = treeMethods.getProvenNodes.answer
    const back = unpackProven(keys, wire.decode(wire.encode(answer)))

    expect(answer.proofs).toHaveLength(2)
    expect(back).toEqual([nodes[0], undefined, ...nodes.slice(1)])
    expect(
      [...byProof(back.filter((node) => node !== undefined)).values()].map(({ length }) => length)
    ).toEqual([
      nodes.filter(({ key }) => key.blob.startsWith('01')).length,
      nodes.filter(({ key }) => key.blob.startsWith('02')).length
    ])
  })

  test('are as many as fit into a message, at least one, and no more are read than that takes', async () => {
    const nodes = (await provenWrite(500, 1)).map(({ key, node, proof }, at) => {
      const payload = new Uint8Array(100_000).fill(at % 251)
      const signature = new Uint8Array(64).fill(at % 251)
      return { key, node, proof: { ...proof, nodes: { ...proof.nodes, payload, signature } } }
    })
    const store = storeOf(nodes)
    const keys = nodes.map(({ key }) => key)

    const answer = await provenAnswer(store, keys, noOptions)

    const bytes = treeMethods.getProvenNodes.answer.encode(answer).byteLength
    expect(answer.nodes.length).toBeGreaterThan(5)
    expect(bytes).toBeLessThan(MAX_TREE_PAYLOAD_BYTES + 10_000)
    expect(store.asked).toBe(64)
  })

  test('made of anything are refused or read, never worse', async () => {
    const [sample] = await provenWrite(4, 1)
    const keys = [sample!.key, sample!.key]
    const proof = {
      ticket: encodeEnvelope(sample!.proof.ticket),
      proof: encodeEnvelope(sample!.proof.nodes)
    }
    const anyBytes = fc.uint8Array({ maxLength: 120 })
    const anyProof = fc.oneof(fc.constant(proof), fc.record({ ticket: anyBytes, proof: anyBytes }))
    const anyNode = fc.option(fc.record({ node: anyBytes, proof: fc.nat(4) }), { nil: null })
    const answers = fc.record({
      proofs: fc.array(anyProof, { maxLength: 3 }),
      nodes: fc.array(anyNode, { maxLength: 4 })
    })

    fc.assert(
      fc.property(answers, (answer) => {
        try {
          expect(unpackProven(keys, answer)).toHaveLength(answer.nodes.length)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      })
    )
  })
})
