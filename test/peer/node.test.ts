import { createHook } from 'node:async_hooks'
import { afterEach, describe, expect, test } from '@jest/globals'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { secureBytes } from '../../src/lib/random.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import type { ProtocolSpec } from '../../src/peer/types.ts'
import { addressOf, nextMessage, PeerCluster } from '../support/peer-cluster.ts'

const ECHO: ProtocolSpec = { id: '/blobswarm/echo/1', maxMessageBytes: 300_000 }

let cluster = new PeerCluster()
afterEach(async () => {
  await cluster.stop()
  cluster = new PeerCluster()
})

async function serveEcho(node: Libp2pNode): Promise<void> {
  await node.serve(ECHO, async (channel) => {
    for await (const message of channel.messages()) await channel.send([message])
  })
}

/** Tries again until it works; for what the DHT knows a little later. */
async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt()
    } catch {
      await nextTurn()
    }
  }
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await nextTurn()
}

/** Timers that have been started since, and keep the process alive as long as they run. */
class StartedTimers {
  readonly #timers = new Map<number, NodeJS.Timeout>()
  readonly #hook = createHook({
    init: (id, type, _trigger, timer) => {
      if (type === 'Timeout') this.#timers.set(id, timer as NodeJS.Timeout)
    },
    destroy: (id) => {
      this.#timers.delete(id)
    }
  }).enable()

  get running(): number {
    return this.#timers
      .values()
      .filter((timer) => timer.hasRef())
      .toArray().length
  }

  [Symbol.dispose](): void {
    this.#hook.disable()
  }
}

describe('connecting', () => {
  test('makes each a member in the eyes of the other', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]

    const member = await left.connect(addressOf(right))

    expect(member.peerId).toBe(right.peerId)
    expect(member.roles.has('metadata')).toBe(true)
    expect(left.members().map(({ peerId }) => peerId)).toEqual([right.peerId])
    expect(right.members().map(({ peerId }) => peerId)).toEqual([left.peerId])
  })

  test('twice uses the connection that is there', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    let changes = 0
    right.onMembersChanged(() => {
      changes += 1
    })

    await Promise.all([left.connect(addressOf(right)), left.connect(addressOf(right))])
    await left.connect(addressOf(right))

    expect(changes).toBe(1)
  })

  test('fails clearly where nobody listens', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    const address = addressOf(right)
    await right.stop()

    await expect(left.connect(address)).rejects.toMatchObject({
      code: 'ERR_PEER_UNREACHABLE',
      peer: right.peerId
    })
  })

  test('fails where somebody else listens than was meant', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    const meant = await cluster.member()
    const address = addressOf(right).replace(right.peerId, meant.peerId)

    await expect(left.connect(address)).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
  })

  test('without a certificate is refused', async () => {
    const member = await cluster.member({ helloTimeoutMs: 100 })
    const stranger = await cluster.stranger({ helloTimeoutMs: 100 })

    await expect(stranger.connect(addressOf(member))).rejects.toMatchObject({
      code: 'ERR_NOT_MEMBER'
    })
    expect(member.members()).toEqual([])
  })

  test('can be given up', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    const controller = new AbortController()

    const connecting = left.connect(addressOf(right), { signal: controller.signal })
    controller.abort(new Error('enough'))

    await expect(connecting).rejects.toThrow('enough')
  })

  test('works for thirty that come at once', async () => {
    const host = await cluster.member()
    const guests = await Promise.all(
      Array.from({ length: 30 }, async () => cluster.member({ listen: [] }))
    )

    await Promise.all(guests.map(async (guest) => guest.connect(addressOf(host))))

    expect(host.members().length).toBe(30)
  })
})

describe('opening a protocol', () => {
  test('connects first when addresses are known', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    await serveEcho(right)
    await left.learnAddresses(right.peerId, ['not an address', addressOf(right)])

    const channel = await left.open(right.peerId, ECHO)
    await channel.send([Uint8Array.of(1)])

    expect(await nextMessage(channel)).toEqual(Uint8Array.of(1))
    await channel.close()
  })

  test('finds the address of a peer in the DHT', async () => {
    const [server, left, right] = [
      await cluster.member(),
      await cluster.member(),
      await cluster.member()
    ]
    await serveEcho(right)
    await Promise.all([left.connect(addressOf(server)), right.connect(addressOf(server))])

    const channel = await eventually(async () => left.open(right.peerId, ECHO))

    expect(channel.remote.peerId).toBe(right.peerId)
    await channel.close()
  })

  test('works over a connection that the other side made', async () => {
    const [left, right] = [await cluster.member({ listen: [] }), await cluster.member()]
    await serveEcho(left)
    await left.connect(addressOf(right))

    const channel = await right.open(left.peerId, ECHO)

    expect(channel.remote.peerId).toBe(left.peerId)
    await channel.close()
  })

  test('that nobody serves is refused', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    await left.connect(addressOf(right))

    await expect(left.open(right.peerId, ECHO)).rejects.toMatchObject({
      code: 'ERR_PROTOCOL_REFUSED'
    })
  })

  test('of this agent itself, or of nobody known, fails clearly', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]

    for (const peerId of [left.peerId, right.peerId]) {
      await expect(left.open(peerId, ECHO)).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
    }
  })

  test('more often than allowed is refused, and then possible again', async () => {
    const spec = { ...ECHO, maxStreams: 2 }
    const [left, right] = [await cluster.member(), await cluster.member()]
    await right.serve(spec, async (channel) => {
      for await (const message of channel.messages()) await channel.send([message])
    })
    await left.connect(addressOf(right))
    const first = await left.open(right.peerId, spec)
    await left.open(right.peerId, spec)

    await expect(left.open(right.peerId, spec)).rejects.toMatchObject({
      code: expect.stringMatching(/ERR_PEER_UNREACHABLE|ERR_PROTOCOL_REFUSED/)
    })
    await first.close()

    const again = await left.open(right.peerId, spec)
    expect(again.ended.aborted).toBe(false)
  })

  test('ends the channel of a handler that fails', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    await right.serve(ECHO, async () => {
      throw new Error('it went wrong')
    })
    await left.connect(addressOf(right))

    const channel = await left.open(right.peerId, ECHO)

    await expect(nextMessage(channel)).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
  })
})

describe('joining', () => {
  test('with a token makes a member', async () => {
    const issuer = await cluster.member()
    const stranger = await cluster.stranger()

    const documents = await stranger.join(await cluster.token(issuer))

    expect(stranger.membership.self?.roles).toEqual(new Set(['deploy']))
    expect(documents.clusterId).toEqual(cluster.authority.clusterId)
    expect(issuer.members().map(({ peerId }) => peerId)).toEqual([stranger.peerId])
  })

  test('with a token of somebody else is refused', async () => {
    const issuer = await cluster.member()
    const token = await cluster.token(issuer)
    await (await cluster.stranger()).join(token)

    const late = await cluster.stranger()

    await expect(late.join(token)).rejects.toMatchObject({ code: 'ERR_JOIN_REFUSED' })
    expect(late.membership.self).toBeUndefined()
  })

  test('again with the same key gives the same certificate', async () => {
    const issuer = await cluster.member()
    const token = await cluster.token(issuer)
    const seed = secureBytes(32)
    const first = await cluster.stranger({ seed })
    const documents = await first.join(token)
    await first.stop()

    const again = await cluster.stranger({ seed })

    expect(await again.join(token)).toEqual(documents)
  })

  test('is refused where no certificates are issued', async () => {
    const member = await cluster.member({ components: { issuer: undefined } })
    const stranger = await cluster.stranger()

    await expect(stranger.join(await cluster.token(member))).rejects.toThrow(
      'join refused: this agent issues no certificates'
    )
  })

  test('asks the next issuer when one cannot be reached', async () => {
    const [gone, issuer] = [await cluster.member(), await cluster.member()]
    const addresses = [addressOf(gone), addressOf(issuer)]
    await gone.stop()
    const grant = { roles: [], rights: ['read' as const] }
    const token = await cluster.issuer.create({ grant, validMs: 1000, addresses })
    const stranger = await cluster.stranger()

    await stranger.join(token)

    expect(stranger.members().map(({ peerId }) => peerId)).toEqual([issuer.peerId])
  })
})

describe('the metadata list', () => {
  test('goes from member to member', async () => {
    const nodes = [await cluster.member(), await cluster.member(), await cluster.member()]
    const [first, second, third] = nodes as [Libp2pNode, Libp2pNode, Libp2pNode]
    await first.connect(addressOf(second))
    await second.connect(addressOf(third))
    const provider = { peerId: first.peerId, addresses: first.addresses() }

    first.membership.offerMetadataList(cluster.authority.signMetadataList(2, [provider]))
    await until(() => third.membership.metadataList !== undefined)

    expect(third.membership.metadataList?.providers).toEqual([provider])
  })

  test('is never replaced by an older one', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    left.membership.offerMetadataList(cluster.authority.signMetadataList(2, []))
    right.membership.offerMetadataList(cluster.authority.signMetadataList(1, []))
    const { promise: changed, resolve } = Promise.withResolvers<unknown>()
    right.membership.onMetadataListChanged(resolve)

    await left.connect(addressOf(right))
    await changed

    expect(left.membership.metadataList?.number).toBe(2)
    expect(right.membership.metadataList?.number).toBe(2)
  })
})

describe('keeping a connection', () => {
  test('finds a peer again that restarts at the same address', async () => {
    const seed = secureBytes(32)
    const before = await cluster.member({ seed })
    const address = addressOf(before)
    const [listen = ''] = address.split('/p2p/')
    const client = await cluster.member()
    client.keepConnected([address])
    await until(() => client.members().length === 1)
    await before.stop()
    await until(() => client.members().length === 0)

    const startedMs = performance.now()
    const after = await cluster.member({ seed, listen: [listen] })
    await until(() => client.members().length === 1)

    expect(after.members().map(({ peerId }) => peerId)).toEqual([client.peerId])
    expect(performance.now() - startedMs).toBeLessThan(4000)
  })
})

describe('the wire', () => {
  test('is counted, for the node and for its metrics', async () => {
    const metrics = new MemoryMetrics()
    const left = await cluster.member({ components: { metrics } })
    const right = await cluster.member()
    await serveEcho(right)
    await left.connect(addressOf(right))
    const before = left.wireBytes

    const channel = await left.open(right.peerId, ECHO)
    await channel.send([new Uint8Array(250_000)])
    await nextMessage(channel)
    const { sent, received } = left.wireBytes

    for (const bytes of [sent - before.sent, received - before.received]) {
      expect(bytes).toBeGreaterThan(250_000)
      expect(bytes).toBeLessThan(255_000)
    }
    expect(metrics.values.get('blobswarm_peer_sent_bytes_total')).toBe(sent)
    expect(metrics.values.get('blobswarm_peer_received_bytes_total')).toBe(received)
    await channel.close()
  })
})

describe('stopping', () => {
  test('ends channels on both sides, and may be asked for twice', async () => {
    const [left, right] = [await cluster.member(), await cluster.member()]
    await serveEcho(right)
    await left.connect(addressOf(right))
    const channel = await left.open(right.peerId, ECHO)

    await Promise.all([right.stop(), right.stop()])
    await until(() => channel.ended.aborted)

    expect(left.members()).toEqual([])
  })

  test('leaves no timer running', async () => {
    using timers = new StartedTimers()
    const node = await cluster.member()

    await node.stop()

    const stoppedMs = performance.now() // listeners close a turn or two later, jest has timers of its own
    while (timers.running > 0 && performance.now() - stoppedMs < 500) await nextTurn()
    expect(timers.running).toBe(0)
  })

  test('may come before the start', async () => {
    const node = await cluster.member()
    await node.stop()

    await expect(node.open(node.peerId, ECHO)).rejects.toMatchObject({
      code: 'ERR_PEER_UNREACHABLE'
    })
  })
})
