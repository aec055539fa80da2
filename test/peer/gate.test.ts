import { afterEach, describe, expect, test } from '@jest/globals'
import type { Connection } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { systemClock } from '../../src/lib/clock.ts'
import { secureBytes } from '../../src/lib/random.ts'
import { Authority } from '../../src/peer/authority.ts'
import { KAD_PROTOCOL } from '../../src/peer/create-libp2p.ts'
import { MembershipGate } from '../../src/peer/membership-gate.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import { askToRenew, HELLO } from '../../src/peer/protocols/hello.ts'
import type { ProtocolSpec } from '../../src/peer/types.ts'
import { testMember } from '../support/channel-pair.ts'
import {
  ALL_RIGHTS,
  addressOf,
  DEPLOYER,
  nextMessage,
  PeerCluster
} from '../support/peer-cluster.ts'
import { RawPeer } from '../support/raw-peer.ts'

const ECHO: ProtocolSpec = { id: '/blobswarm/echo/1', maxMessageBytes: 1000 }
const PING_PROTOCOL = '/blobswarm/ping/1.0.0'
const KAD_PING = Uint8Array.of(2, 0x08, 0x05)

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

function newCluster(): PeerCluster {
  const cluster = new PeerCluster()
  cleanups.push(async () => cluster.stop())
  return cluster
}

async function newRawPeer(listen: readonly string[] = []): Promise<RawPeer> {
  const peer = await RawPeer.start(listen)
  cleanups.push(async () => peer.stop())
  return peer
}

async function serveEcho(node: Libp2pNode): Promise<() => number> {
  let served = 0
  await node.serve(ECHO, async (channel) => {
    served += 1
    for await (const message of channel.messages()) await channel.send([message])
  })
  return () => served
}

describe('without a hello', () => {
  test.each([
    ['a protocol of ours', ECHO.id, Uint8Array.of(0, 1, 7)],
    ['the DHT', KAD_PROTOCOL, KAD_PING],
    ['ping', PING_PROTOCOL, new Uint8Array(32)]
  ])('%s does not answer', async (_name, protocol, bytes) => {
    const node = await newCluster().member({ helloTimeoutMs: 200 })
    const served = await serveEcho(node)
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))

    const isAnswered = await peer.isAnswered(connection, protocol, bytes)

    expect(isAnswered).toBe(false)
    expect(served()).toBe(0)
  })

  test('the connection is closed after a while', async () => {
    const node = await newCluster().member({ helloTimeoutMs: 50 })
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))

    const { promise, resolve } = Promise.withResolvers<void>()
    connection.addEventListener('close', () => resolve())
    await promise

    expect(node.members()).toEqual([])
  })
})

const connectionOf = (at: number, about: object = {}): Connection =>
  ({
    id: `${at}`,
    status: 'open',
    remotePeer: `peer ${at}`,
    direction: 'inbound',
    remoteAddr: multiaddr('/ip4/10.0.0.1/tcp/1'),
    ...about
  }) as unknown as Connection

describe('strangers who come in great numbers', () => {
  test('make room for each other, the one that has been silent for longest first', () => {
    const gate = new MembershipGate(systemClock, { maxStrangers: 3 })
    const connections = Array.from({ length: 6 }, (_, at) => connectionOf(at))

    const closed: (Connection | undefined)[] = []
    for (const connection of connections) {
      const oldest = gate.opened(connection)
      if (oldest !== undefined) gate.refuse(oldest, new Error('too many'))
      closed.push(oldest)
    }

    expect(closed).toEqual([undefined, undefined, undefined, ...connections.slice(0, 3)])
    expect(gate.strangers()).toEqual(connections.slice(3))
  })

  test('make room for those of other addresses, and those that were dialled stay', () => {
    const gate = new MembershipGate(systemClock, { maxStrangers: 3 })
    const dialled = connectionOf(1, { direction: 'outbound' })
    const elsewhere = connectionOf(2, { remoteAddr: multiaddr('/ip4/10.0.0.2/tcp/1') })
    const [first, second, third] = [connectionOf(3), connectionOf(4), connectionOf(5)]

    const closed = [dialled, elsewhere, first, second, third].map((each) => gate.opened(each))

    expect(closed).toEqual([undefined, undefined, undefined, undefined, first])
  })

  test('take no room from members', () => {
    const gate = new MembershipGate(systemClock, { maxStrangers: 1 })
    const [member, stranger] = [connectionOf(1), connectionOf(2)]

    gate.opened(member)
    gate.admit(member, testMember('peer 1'))

    expect(gate.opened(stranger)).toBeUndefined()
    expect(gate.isAdmitted(member)).toBe(true)
  })

  test('cannot fill an agent as members, either: one has a few connections', () => {
    const gate = new MembershipGate(systemClock, { maxForMember: 2 })
    const connections = Array.from({ length: 4 }, (_, at) => connectionOf(at))

    for (const connection of connections) gate.admit(connection, testMember('member'))
    gate.admit(connectionOf(9), testMember('other'))

    expect(gate.excessOf('member')).toEqual(connections.slice(0, 2))
    expect(gate.excessOf('other')).toEqual([])
  })

  test('are cut off at a first message of more than 16 KiB, before it has come', async () => {
    const node = await newCluster().member()
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))
    const stream = await connection.newStream(HELLO.id)
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    connection.addEventListener('close', () => resolve())

    stream.send(Uint8Array.of(0x81, 0x80, 0x01, 0xa1)) // the length 16,385, and the first byte
    await closed

    expect(node.members()).toEqual([])
  })

  test('may renew nothing that is none, and their connection stays for a hello', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))
    const { clusterId } = cluster.authority
    const foreignCertificate = new Authority(secureBytes(32), systemClock).issue(
      peer.peerId,
      DEPLOYER
    )

    for (const certificate of [new Uint8Array(4096), foreignCertificate]) {
      const channel = await peer.channel(connection, HELLO.id)
      await expect(askToRenew(channel, { clusterId, certificate })).rejects.toMatchObject({
        code: 'ERR_PROTOCOL_REFUSED'
      })
    }

    const certificate = cluster.authority.issue(peer.peerId, DEPLOYER)
    await peer.sayHello(connection, { clusterId, certificate })
    expect(node.members()).toHaveLength(1)
  })
})

describe('after a hello', () => {
  test('what was refused before answers', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    await serveEcho(node)
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))
    const { clusterId } = cluster.authority

    await peer.sayHello(connection, {
      clusterId,
      certificate: cluster.authority.issue(peer.peerId, DEPLOYER)
    })

    expect(await peer.isAnswered(connection, ECHO.id, Uint8Array.of(0, 1, 7))).toBe(true)
    expect(await peer.isAnswered(connection, KAD_PROTOCOL, KAD_PING)).toBe(true)
    expect(await peer.isAnswered(connection, PING_PROTOCOL, new Uint8Array(32))).toBe(true)
    expect(node.members().map(({ peerId }) => peerId)).toEqual([peer.peerId])
  })

  test('streams that were opened before it are served', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    await serveEcho(node)
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))
    const answered = peer.isAnswered(connection, KAD_PROTOCOL, KAD_PING)

    await peer.sayHello(connection, {
      clusterId: cluster.authority.clusterId,
      certificate: cluster.authority.issue(peer.peerId, DEPLOYER)
    })

    expect(await answered).toBe(true)
  })

  test('each stream is handled once', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    const client = await cluster.member()
    const served = await serveEcho(node)
    await client.connect(addressOf(node))

    for (let count = 1; count <= 3; count++) {
      const channel = await client.open(node.peerId, ECHO)
      await channel.send([Uint8Array.of(count)])
      expect(await nextMessage(channel)).toEqual(Uint8Array.of(count))
      await channel.close()
    }

    expect(served()).toBe(3)
  })

  test('a role decides about a protocol, and the refusal has a reason', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    const client = await cluster.member({ grant: DEPLOYER })
    await node.serve(
      ECHO,
      async () => {},
      ({ rights }) => rights.has('write')
    )
    await client.connect(addressOf(node))

    const opening = client.open(node.peerId, ECHO)

    await expect(opening).rejects.toMatchObject({
      code: 'ERR_PROTOCOL_REFUSED',
      message: expect.stringContaining('neither role nor right')
    })
  })

  test('a certificate that expires meanwhile shuts the door', async () => {
    let skewMs = 0
    const clock = { ...systemClock, now: () => systemClock.now() + skewMs }
    const cluster = newCluster()
    const node = await cluster.member({ components: { clock } })
    const client = await cluster.member()
    await serveEcho(node)
    await client.connect(addressOf(node))

    skewMs = 366 * 24 * 3_600_000

    const opening = client.open(node.peerId, ECHO)
    await expect(opening).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED' })
  })
})

describe('a hello is refused', () => {
  const foreign = new Authority(secureBytes(32), systemClock)
  test('with a certificate that somebody else signed', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))
    const certificate = foreign.issue(peer.peerId, ALL_RIGHTS)

    const hello = peer.sayHello(connection, {
      clusterId: cluster.authority.clusterId,
      certificate
    })

    await expect(hello).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED' })
    expect(node.members()).toEqual([])
  })

  test('with the certificate of another peer', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))

    const hello = peer.sayHello(connection, {
      clusterId: cluster.authority.clusterId,
      certificate: cluster.authority.issue(node.peerId, ALL_RIGHTS)
    })

    await expect(hello).rejects.toThrow('its certificate is that of')
  })

  test('of another cluster', async () => {
    const node = await newCluster().member()
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))

    const hello = peer.sayHello(connection, {
      clusterId: foreign.clusterId,
      certificate: foreign.issue(peer.peerId, ALL_RIGHTS)
    })

    await expect(hello).rejects.toThrow('another cluster')
  })

  test('with an expired certificate', async () => {
    const inAYear = { ...systemClock, now: () => systemClock.now() + 366 * 24 * 3_600_000 }
    const cluster = newCluster()
    const node = await cluster.member()
    const late = await cluster.member({ components: { clock: inAYear } })

    const connecting = node.connect(addressOf(late))

    await expect(connecting).rejects.toThrow('expired')
    expect(late.members()).toEqual([])
  })

  test('when it is no hello at all', async () => {
    const node = await newCluster().member()
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))
    const channel = await peer.channel(connection, HELLO.id)

    await channel.send([Uint8Array.of(0xff, 1, 2)])

    const answer = await nextMessage(channel)
    expect(Buffer.from(answer ?? []).toString('latin1')).toContain('malformed')
    expect(node.members()).toEqual([])
  })

  test('and its connection closed, so that nothing else is asked on it', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    await serveEcho(node)
    const peer = await newRawPeer()
    const connection = await peer.dial(addressOf(node))
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    connection.addEventListener('close', () => resolve())
    const hello = peer.sayHello(connection, {
      clusterId: cluster.authority.clusterId,
      certificate: foreign.issue(peer.peerId, ALL_RIGHTS)
    })

    await expect(hello).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED' })
    await closed

    expect(connection.status).not.toBe('open')
  })
})

describe('a peer that is dialled', () => {
  const listen = ['/ip4/127.0.0.1/tcp/0']

  test('must speak hello', async () => {
    const node = await newCluster().member()
    const peer = await newRawPeer(listen)

    const connecting = node.connect(peer.address())

    await expect(connecting).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED' })
  })

  test('must answer the hello in time', async () => {
    const node = await newCluster().member({ helloTimeoutMs: 100 })
    const peer = await newRawPeer(listen)
    await peer.ignore(HELLO.id)

    const connecting = node.connect(peer.address())

    await expect(connecting).rejects.toMatchObject({
      code: expect.stringMatching(/ERR_PEER_TIMEOUT|ERR_NOT_MEMBER/)
    })
    expect(node.members()).toEqual([])
  })
})
