import { afterEach, expect, test } from '@jest/globals'
import type { Libp2pNode } from '../../src/peer/node.ts'
import type { ProtocolSpec } from '../../src/peer/types.ts'
import { addressOf, nextMessage, PeerCluster } from '../support/peer-cluster.ts'

const ECHO: ProtocolSpec = { id: '/blobswarm/echo/1', maxMessageBytes: 300_000 }
const WRITER = { roles: ['deploy'], rights: ['read', 'write'] } as const
const METADATA = { roles: ['metadata'], rights: ['read', 'write'] } as const
const AUTHORITY = { roles: ['versionManager'], rights: ['read', 'write', 'admin'] } as const

let cluster = new PeerCluster()
afterEach(async () => {
  await cluster.stop()
  cluster = new PeerCluster()
})

/** Says which member is a metadata provider, and where. */
function listed(authority: Libp2pNode, provider: Libp2pNode): void {
  const { peerId } = provider
  const addresses = authority.addressesOf(peerId)
  const encoded = cluster.authority.signMetadataList(1, [{ peerId, addresses }])
  authority.membership.offerMetadataList(encoded)
}

test('a member that only met the authority can reach the metadata providers', async () => {
  const authority = await cluster.member({ grant: AUTHORITY })
  const provider = await cluster.member({ grant: METADATA })
  await provider.serve(ECHO, async (channel) => {
    for await (const message of channel.messages()) await channel.send([message])
  })
  await provider.connect(addressOf(authority))
  listed(authority, provider)
  const writer = await cluster.member({ grant: WRITER })
  await writer.connect(addressOf(authority))

  const channel = await writer.open(provider.peerId, ECHO)

  await channel.send([Uint8Array.of(5)])
  expect(await nextMessage(channel)).toEqual(Uint8Array.of(5))
  await channel.close()
})

test('what a member said of its addresses is known while it is connected', async () => {
  const authority = await cluster.member({ grant: AUTHORITY })
  const provider = await cluster.member({ grant: METADATA })
  expect(authority.addressesOf(provider.peerId)).toEqual([])

  await provider.connect(addressOf(authority))

  expect(authority.addressesOf(provider.peerId)).toEqual(provider.addresses())
})
