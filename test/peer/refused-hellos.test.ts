import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import type { Connection } from '@libp2p/interface'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { Ed25519Key } from '../../src/lib/ed25519.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { secureBytes } from '../../src/lib/random.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { signCertificate } from '../../src/peer/membership-certificate.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import { askToJoin, HELLO } from '../../src/peer/protocols/hello.ts'
import { addressOf, DEPLOYER, PeerCluster } from '../support/peer-cluster.ts'
import { RawPeer } from '../support/raw-peer.ts'

const YEAR_MS = 366 * 24 * 3_600_000

const cluster = new PeerCluster()
const { clusterId } = cluster.authority
const [metrics, logger] = [new MemoryMetrics(), new MemoryLogger()]
const peers: RawPeer[] = []
let node: Libp2pNode

beforeAll(async () => {
  node = await cluster.member({ helloTimeoutMs: 1000, components: { metrics, logger } })
})

afterEach(async () => {
  metrics.values.clear()
  await Promise.all(peers.splice(0).map(async (peer) => peer.stop()))
})

afterAll(async () => cluster.stop())

/** Reasons that were counted, each as often as it was. */
function counted(): Record<string, number> {
  const refused = Array.from(metrics.values).flatMap(([key, count]) => {
    const [, reason] = /^blobswarm_peer_hellos_refused_total\{reason=(\w+)\}$/.exec(key) ?? []
    return reason === undefined ? [] : [[reason, count] as const]
  })
  return Object.fromEntries(refused)
}

async function untilCounted(): Promise<Record<string, number>> {
  while (Object.keys(counted()).length === 0) await nextTurn()
  return counted()
}

async function stranger(): Promise<{ peer: RawPeer; connection: Connection }> {
  const peer = await RawPeer.start(['/ip4/127.0.0.1/tcp/0'])
  peers.push(peer)
  return { peer, connection: await peer.dial(addressOf(node)) }
}

const at = (skewMs: number): Clock => ({ ...systemClock, now: () => systemClock.now() + skewMs })

function forgedFor(peerId: string): Uint8Array {
  const times = { issuedMs: systemClock.now(), expiresMs: systemClock.now() + YEAR_MS }
  const said = { clusterId, peerId, ...DEPLOYER, ...times, serial: new Uint8Array(16) }
  return signCertificate(new Ed25519Key(secureBytes(32)), said)
}

const CERTIFICATES: [string, (peerId: string) => Uint8Array][] = [
  ['forged', forgedFor],
  ['foreign', (peerId) => new PeerCluster().authority.issue(peerId, DEPLOYER)],
  ['borrowed', () => cluster.authority.issue(node.peerId, DEPLOYER)],
  ['expired', (peerId) => cluster.at(at(-2 * YEAR_MS)).authority.issue(peerId, DEPLOYER)],
  ['early', (peerId) => cluster.at(at(YEAR_MS)).authority.issue(peerId, DEPLOYER)],
  ['malformed', () => secureBytes(200)]
]

describe('a refused hello is counted', () => {
  test.each(CERTIFICATES)('with a certificate that is %s', async (reason, certificateFor) => {
    const { peer, connection } = await stranger()

    const hello = peer.sayHello(connection, { clusterId, certificate: certificateFor(peer.peerId) })

    await expect(hello).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED' })
    expect(await untilCounted()).toEqual({ [reason]: 1 })
  })

  test('once, with a certificate that was revoked', async () => {
    const { peer, connection } = await stranger()
    const certificate = cluster.authority.issue(peer.peerId, DEPLOYER)
    const atMs = systemClock.now() + 1000
    const revoked = [{ peerId: peer.peerId, atMs, untilMs: atMs + YEAR_MS, reason: '' }]
    node.membership.offerRevocations(cluster.authority.signRevocations(1, revoked))

    await peer.sayHello(connection, { clusterId, certificate }).catch(() => {})

    expect(await untilCounted()).toEqual({ revoked: 1 })
  })

  test('in another cluster', async () => {
    const { peer, connection } = await stranger()
    const { authority } = new PeerCluster()
    const certificate = authority.issue(peer.peerId, DEPLOYER)

    await peer.sayHello(connection, { clusterId: authority.clusterId, certificate }).catch(() => {})

    expect(await untilCounted()).toEqual({ foreign: 1 })
  })

  test('with a token that nobody gave out', async () => {
    const { peer, connection } = await stranger()
    const channel = await peer.channel(connection, HELLO.id)
    const token = { clusterId, addresses: [], secret: secureBytes(32), expiresMs: YEAR_MS }

    await expect(askToJoin(channel, token)).rejects.toMatchObject({ code: 'ERR_JOIN_REFUSED' })
    await channel.close()

    expect(await untilCounted()).toEqual({ token: 1 })
  })

  test('that is none', async () => {
    const { peer, connection } = await stranger()
    const channel = await peer.channel(connection, HELLO.id)

    await channel.send([secureBytes(100)])
    await channel.close()

    expect(await untilCounted()).toEqual({ garbled: 1 })
  })

  test('that has not been said when its peer goes', async () => {
    const { peer, connection } = await stranger()
    await peer.channel(connection, HELLO.id)

    connection.abort(new Error('enough'))

    expect(await untilCounted()).toEqual({ gone: 1 })
  })

  test('that is not said in time', async () => {
    const options = { helloTimeoutMs: 50, components: { metrics: new MemoryMetrics() } }
    const impatient = await cluster.member(options)
    const { peer } = await stranger()
    metrics.values.clear()

    const connection = await peer.dial(addressOf(impatient))
    await new Promise((resolve) => connection.addEventListener('close', resolve))

    const key = 'blobswarm_peer_hellos_refused_total{reason=silent}'
    expect(options.components.metrics.values.get(key)).toBe(1)
  })

  test('where the other side does not speak it, or does not take this agent', async () => {
    const { peer } = await stranger()
    await expect(node.connect(peer.address())).rejects.toMatchObject({ isUnknown: true })
    expect(counted()).toMatchObject({ version: 1 })
    const other = new PeerCluster()

    const connecting = node.connect(addressOf(await other.member()))

    await expect(connecting).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED' })
    expect(counted()).toMatchObject({ version: 1, rejected: 1 })
    await other.stop()
  })
})

test('the log names who was refused last, and why', () => {
  const told = logger.lines.filter(
    ({ level, format }) => level === 'info' && / refused /.test(format)
  )

  const reasons = told.map(({ values }) => values[2])
  expect(new Set(reasons).size).toBe(reasons.length)
  expect(told).toContainEqual(
    expect.objectContaining({
      values: [1, 'hellos', 'forged', expect.stringMatching(/not signed by the authority/)]
    })
  )
})
