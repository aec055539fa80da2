import { afterEach, describe, expect, test } from '@jest/globals'
import { systemClock } from '../../src/lib/clock.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import type { Revocation } from '../../src/peer/revocation-list.ts'
import type { ProtocolSpec } from '../../src/peer/types.ts'
import { addressOf, DEPLOYER, nextMessage, PeerCluster } from '../support/peer-cluster.ts'
import { RawPeer } from '../support/raw-peer.ts'

const ECHO: ProtocolSpec = { id: '/blobswarm/echo/1', maxMessageBytes: 1000 }
const YEAR_MS = 365 * 24 * 3_600_000

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

function newCluster(): PeerCluster {
  const cluster = new PeerCluster()
  cleanups.push(async () => cluster.stop())
  return cluster
}

async function serveEcho(node: Libp2pNode): Promise<void> {
  await node.serve(ECHO, async (channel) => {
    for await (const message of channel.messages()) await channel.send([message])
  })
}

/** Resolves when a condition holds that changes of the members may bring about. */
async function until(node: Libp2pNode, holds: () => boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const look = (): void => {
    if (holds()) resolve()
  }
  const stops = [node.onMembersChanged(look), node.membership.onRevocationsChanged(look)]
  look()
  await promise
  for (const stop of stops) stop()
}

function revocationOf(
  node: Pick<Libp2pNode, 'peerId'>,
  reason = 'its disk was stolen'
): Revocation {
  const nowMs = systemClock.now()
  return { peerId: node.peerId, atMs: nowMs, untilMs: nowMs + YEAR_MS, reason }
}

const isConnected = (node: Libp2pNode, other: Libp2pNode): boolean =>
  node.members().some(({ peerId }) => peerId === other.peerId)

describe('a member that is revoked', () => {
  test('is dropped at once with all that it had open, and learns why', async () => {
    const cluster = newCluster()
    const [node, thief] = [await cluster.member(), await cluster.member({ grant: DEPLOYER })]
    await serveEcho(node)
    await thief.connect(addressOf(node))
    const channel = await thief.open(node.peerId, ECHO)
    const revocation = revocationOf(thief)

    node.membership.offerRevocations(cluster.authority.signRevocations(1, [revocation]))

    expect(node.members()).toEqual([])
    await until(thief, () => !isConnected(thief, node))
    await expect(nextMessage(channel)).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
    expect(thief.membership.revocations?.revoked).toEqual([revocation])
  })

  test('is refused everywhere from then on, with the reason, whoever dials', async () => {
    const cluster = newCluster()
    const [node, thief, other] = [
      await cluster.member(),
      await cluster.member(),
      await cluster.member()
    ]
    const revoked = [revocationOf(thief), revocationOf(other)]
    node.membership.offerRevocations(cluster.authority.signRevocations(1, revoked))

    const coming = thief.connect(addressOf(node))
    const going = node.connect(addressOf(other))

    await expect(coming).rejects.toThrow(/was revoked at .*: its disk was stolen/)
    await expect(going).rejects.toThrow(/was revoked at .*: its disk was stolen/)
    expect(node.members()).toEqual([])
  })

  test('is dropped by those who hear of it from others', async () => {
    const cluster = newCluster()
    const [first, second, thief] = [
      await cluster.member(),
      await cluster.member(),
      await cluster.member()
    ]
    await second.connect(addressOf(first))
    await thief.connect(addressOf(second))

    first.membership.offerRevocations(cluster.authority.signRevocations(1, [revocationOf(thief)]))
    await until(second, () => !isConnected(second, thief))

    expect(isConnected(second, first)).toBe(true)
  })

  test('shuts itself out by showing the list that names it', async () => {
    const cluster = newCluster()
    const node = await cluster.member()
    const thief = await RawPeer.start()
    cleanups.push(async () => thief.stop())
    const connection = await thief.dial(addressOf(node))
    const { clusterId } = cluster.authority
    const certificate = cluster.authority.issue(thief.peerId, DEPLOYER)
    const revocations = cluster.authority.signRevocations(3, [revocationOf(thief)])

    const hello = thief.sayHello(connection, { clusterId, certificate, revocations })

    await expect(hello).rejects.toThrow('was revoked')
    expect(node.membership.revocations?.number).toBe(3)
  })

  test('comes back with a certificate that was issued later', async () => {
    const cluster = newCluster()
    const [node, other] = [await cluster.member(), await cluster.member()]
    const revocation = revocationOf(other)
    node.membership.offerRevocations(cluster.authority.signRevocations(1, [revocation]))
    const certificate = cluster.authority.issue(other.peerId, DEPLOYER, revocation.atMs)
    other.membership.enter({ clusterId: cluster.authority.clusterId, certificate })

    await other.connect(addressOf(node))

    expect(isConnected(node, other)).toBe(true)
  })
})

describe('a member that renews', () => {
  test('keeps what is open, and everybody sees the newer certificate', async () => {
    const cluster = newCluster()
    const [node, other] = [await cluster.member(), await cluster.member()]
    await serveEcho(node)
    await other.connect(addressOf(node))
    const channel = await other.open(node.peerId, ECHO)
    const before = node.members()[0]?.issuedMs ?? 0

    const { clusterId } = cluster.authority
    const certificate = cluster.authority.issue(other.peerId, DEPLOYER, before + 5000)
    other.membership.enter({ clusterId, certificate })
    await until(node, () => (node.members()[0]?.issuedMs ?? 0) > before)

    await channel.send([Uint8Array.of(7)])
    expect(await nextMessage(channel)).toEqual(Uint8Array.of(7))
    expect(node.members()[0]?.rights).toEqual(new Set(['read']))
  })

  test('gets the newer certificate over an open connection, or by dialling who issues them', async () => {
    const cluster = newCluster()
    let skewMs = 0
    const clock = { ...systemClock, now: () => systemClock.now() + skewMs }
    const { issuer } = cluster.at(clock)
    const authority = await cluster.member({ components: { issuer } })
    const other = await cluster.member({ components: { issuer: undefined }, grant: DEPLOYER })
    await other.connect(addressOf(authority))
    const { issuedMs } = other.membership.self ?? { issuedMs: 0 }

    skewMs = 20 * 24 * 3_600_000
    const overConnection = await other.renew([])
    const byDialling = await other.renew(authority.addresses())

    const { clusterId } = cluster.authority
    skewMs = 0
    for (const certificate of [overConnection, byDialling]) {
      expect(certificate).toBeDefined()
      const read = cluster.authority.read(certificate ?? new Uint8Array())
      expect(read).toMatchObject({ peerId: other.peerId, roles: ['deploy'], rights: ['read'] })
      expect(read.clusterId).toEqual(clusterId)
      expect(read.issuedMs).toBeGreaterThan(issuedMs)
    }
  })
})

describe('a member whose certificate expires', () => {
  test('is dropped within the interval, and its protocols are refused before that', async () => {
    let skewMs = 0
    const clock = { ...systemClock, now: () => systemClock.now() + skewMs }
    const cluster = newCluster()
    const node = await cluster.member({ components: { clock }, watchMs: 50 })
    const other = await cluster.member()
    await other.connect(addressOf(node))

    skewMs = YEAR_MS
    const opening = other.open(node.peerId, ECHO)

    await expect(opening).rejects.toMatchObject({
      code: expect.stringMatching(/ERR_P(ROTOCOL_REFUSED|EER_UNREACHABLE)/)
    })
    await until(other, () => !isConnected(other, node))
    expect(node.members()).toEqual([])
  })
})
