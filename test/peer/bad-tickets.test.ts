import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { NodeProof, SignedTicket } from '../../src/metadata/ticket-types.ts'
import { encodeTicket, proveNodes, signTicket } from '../../src/metadata/tickets.ts'
import type { KeyedNode } from '../../src/metadata/tree-types.ts'
import { OTHER_BLOB, PublishedTree } from '../support/published-tree.ts'

let tree: PublishedTree

beforeAll(async () => {
  tree = await PublishedTree.open()
})

afterAll(async () => {
  await tree.stop()
})

/** A put that must be refused. */
interface BadPut {
  readonly nodes: readonly KeyedNode[]
  readonly proof: NodeProof
}

async function expectRefused(put: BadPut, code: string): Promise<void> {
  const { provider } = tree
  const keys = put.nodes.map(({ key }) => key)
  const before = await provider.getNodes(keys)

  await expect(provider.putNodes(put.nodes, put.proof)).rejects.toMatchObject({ code })

  expect(await provider.getNodes(keys)).toEqual(before)
  expect(await tree.isUnchanged()).toBe(true)
}

/** The nodes that the writer of a new version would put, over chunk 2. */
async function goodPut(): Promise<{ signed: SignedTicket; nodes: KeyedNode[] }> {
  const signed = tree.assign({ ranges: [{ start: 2, end: 3 }] })
  return { signed, nodes: await tree.weave(signed.ticket, [2]) }
}

function publishedTicket(version: number): SignedTicket {
  const signed = tree.tickets[version]
  if (signed === undefined) throw new RangeError(`version ${version} was not published`)
  return signed
}

test('a put as it should be is taken', async () => {
  const { signed, nodes } = await goodPut()

  await tree.provider.putNodes(nodes, proveNodes(tree.signers.writer, signed.envelope, nodes))

  const found = await tree.provider.getNodes(nodes.map(({ key }) => key))
  expect(found).toEqual(nodes.map(({ node }) => node))
  expect(await tree.isUnchanged()).toBe(true)
})

describe('a forged ticket is refused as not trusted', () => {
  const CODE = 'ERR_UNTRUSTED_SIGNATURE'

  test('that a writer has signed for itself', async () => {
    const { writer } = tree.signers
    const { signed, nodes } = await goodPut()
    const forged = signTicket(writer, signed.ticket)

    await expectRefused({ nodes, proof: proveNodes(writer, forged.envelope, nodes) }, CODE)
  })

  test('that the version manager of another cluster has signed', async () => {
    const { writer, foreignManager } = tree.signers
    const { signed, nodes } = await goodPut()
    const forged = signTicket(foreignManager, signed.ticket)

    await expectRefused({ nodes, proof: proveNodes(writer, forged.envelope, nodes) }, CODE)
  })

  test('that a writer has signed and shown the certificate of the version manager with', async () => {
    const { writer } = tree.signers
    const { signed, nodes } = await goodPut()
    const forged = signTicket(writer, signed.ticket).envelope
    const envelope = { ...forged, certificate: signed.envelope.certificate }

    await expectRefused({ nodes, proof: proveNodes(writer, envelope, nodes) }, CODE)
  })

  test('whose bytes were changed after it was signed', async () => {
    const { signed } = await goodPut()
    const wider = { ...signed.ticket, ranges: [{ start: 0, end: 4 }] }
    const nodes = await tree.weave(wider, [0, 1, 2, 3])
    const envelope = { ...signed.envelope, payload: encodeTicket(wider) }

    await expectRefused({ nodes, proof: proveNodes(tree.signers.writer, envelope, nodes) }, CODE)
  })

  test('that somebody else than its writer uses', async () => {
    const { signed, nodes } = await goodPut()

    for (const putter of [tree.signers.otherWriter, tree.signers.reader]) {
      await expectRefused({ nodes, proof: proveNodes(putter, signed.envelope, nodes) }, CODE)
    }
  })

  test('that a member without the right to write was given', async () => {
    const { reader, manager } = tree.signers
    const { signed, nodes } = await goodPut()
    const ticket = signTicket(manager, { ...signed.ticket, writer: reader.peerId })

    await expectRefused({ nodes, proof: proveNodes(reader, ticket.envelope, nodes) }, CODE)
  })
})

describe('a ticket that is used again', () => {
  test('for other nodes of its published version: they conflict', async () => {
    const signed = publishedTicket(2)
    const nodes = await tree.weave(signed.ticket, [1], 'other')
    const proof = proveNodes(tree.signers.writer, signed.envelope, nodes)

    await expectRefused({ nodes, proof }, 'ERR_NODE_CONFLICT')
  })

  test('by the version manager itself, for other nodes: they conflict too', async () => {
    const signed = publishedTicket(1)
    const nodes = await tree.weave(signed.ticket, [0, 1, 2, 3], 'other')
    const proof = proveNodes(tree.signers.manager, signed.envelope, nodes)

    await expectRefused({ nodes, proof }, 'ERR_NODE_CONFLICT')
  })

  test('for a later version, or an older one: its nodes do not follow from it', async () => {
    const { nodes } = await goodPut()
    const proof = proveNodes(tree.signers.writer, publishedTicket(2).envelope, nodes)
    await expectRefused({ nodes, proof }, 'ERR_INVALID_NODE')

    const older = await tree.weave(publishedTicket(1).ticket, [0, 1, 2, 3], 'other')
    const replayed = proveNodes(tree.signers.writer, publishedTicket(2).envelope, older)
    await expectRefused({ nodes: older, proof: replayed }, 'ERR_INVALID_NODE')
  })

  test('for another blob: its nodes do not follow from it', async () => {
    const whole = [{ start: 0, end: 4 }]
    const other = tree.assign({ blob: OTHER_BLOB, ranges: whole })
    const nodes = await tree.weave(publishedTicket(1).ticket, [0, 1, 2, 3], 'other')
    const proof = proveNodes(tree.signers.writer, other.envelope, nodes)

    await expectRefused({ nodes, proof }, 'ERR_INVALID_NODE')
  })

  test('for the same nodes again: that changes nothing and is fine', async () => {
    const signed = publishedTicket(2)
    const nodes = await tree.weave(signed.ticket, [1])

    await tree.provider.putNodes(nodes, proveNodes(tree.signers.writer, signed.envelope, nodes))

    expect(await tree.isUnchanged()).toBe(true)
  })
})

describe('nodes that do not follow from their ticket are refused as invalid', () => {
  const CODE = 'ERR_INVALID_NODE'

  /** Puts what was made out of the good nodes, signed by the right writer under the right ticket. */
  async function expectInvalid(
    change: (nodes: readonly KeyedNode[]) => readonly KeyedNode[]
  ): Promise<void> {
    const good = await goodPut()
    const nodes = change(good.nodes)
    const proof = proveNodes(tree.signers.writer, good.signed.envelope, nodes)
    await expectRefused({ nodes, proof }, CODE)
  }

  test('outside of its ranges', async () => {
    await expectInvalid((nodes) =>
      nodes.map(({ key, node }) => ({ key: key.span === 1 ? { ...key, offset: 0 } : key, node }))
    )
  })

  test('above the span of its tree', async () => {
    const inner = { kind: 'inner', left: undefined, right: undefined } as const
    await expectInvalid(([first]) =>
      first === undefined ? [] : [{ key: { ...first.key, offset: 0, span: 8 }, node: inner }]
    )
  })

  test('with a link to a version that is not there yet', async () => {
    await expectInvalid((nodes) =>
      nodes.map(({ key, node }) => {
        if (node.kind === 'leaf' || key.span !== 4) return { key, node }
        return { key, node: { ...node, left: { blob: key.blob, version: key.version + 1 } } }
      })
    )
  })

  test('with a leaf that is longer than its chunk', async () => {
    await expectInvalid((nodes) =>
      nodes.map(({ key, node }) => {
        if (node.kind === 'inner') return { key, node }
        const fragments = node.fragments.map((fragment) => ({ ...fragment, length: 65_537 }))
        return { key, node: { ...node, fragments } }
      })
    )
  })

  test('that their writer has not signed', async () => {
    const { signed, nodes } = await goodPut()
    const proof = proveNodes(tree.signers.writer, signed.envelope, nodes.slice(1))

    await expectRefused({ nodes, proof }, CODE)
  })
})
