import { afterEach, describe, expect, test } from '@jest/globals'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { type LeafList, LeafListBuilder } from '../../../src/metadata/leaf-list.ts'
import type {
  DataMover,
  OutgoingStripe,
  ReceivedStripe,
  StripeSession
} from '../../../src/metadata/stripe-types.ts'
import { MOVER_PROTOCOL, moverMethods } from '../../../src/peer/protocols/mover.ts'
import { serveMover } from '../../../src/peer/protocols/mover-serve.ts'
import { RemoteMover } from '../../../src/peer/remote/mover.ts'
import { RpcClient } from '../../../src/peer/rpc-client.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'

const ACCESS = { clientHost: '127.0.0.1', maxSockets: 4, idleMs: 1000 }
const DESCRIPTION = { blob: 'ab'.repeat(32), chunkBytes: 65_536, replicas: 1, createdMs: 1 }
const STRIPE = { description: DESCRIPTION, blockOffset: 0, baseOffset: 0, isRestartable: true }

/** A list of many fragments, no two of which can be joined. */
function leavesOf(count: number): LeafList {
  const builder = new LeafListBuilder()
  for (let index = 0; index < count; index++) {
    const chunk = Uint8Array.from({ length: 32 }, (_, at) => (at < 4 ? index >> (8 * at) : 1))
    builder.add(index, { at: 0, length: 65_536, chunk, chunkOffset: 0, replicas: ['p'] })
  }
  return builder.build()
}

/** A mover without data connections, whose transfers end when a test says so. */
class ScriptedMover implements DataMover, StripeSession {
  readonly id = 'mover'
  readonly mover = 'mover'
  readonly calls: string[] = []
  received = Promise.withResolvers<ReceivedStripe>()
  sent: OutgoingStripe | undefined
  readonly closed = Promise.withResolvers<void>()
  readonly aborted = Promise.withResolvers<void>()
  stored = leavesOf(3)

  async open(): Promise<StripeSession> {
    this.calls.push('open')
    return this
  }

  async listen(family: 1 | 2 | undefined) {
    return { host: family === 2 ? '::1' : '127.0.0.1', port: 5000 }
  }

  async connect() {
    return { counts: [2], isReused: true }
  }

  async receive(_stripe: unknown, options: { signal?: AbortSignal } = {}) {
    options.signal?.addEventListener('abort', () => this.aborted.resolve(), { once: true })
    return await this.received.promise
  }

  async checkpoint() {
    return this.stored
  }

  async send(stripe: OutgoingStripe) {
    this.sent = stripe
    return 77
  }

  async progress() {
    return { movedBytes: 5, isConnected: true, isStoring: false }
  }

  async ensure() {
    this.calls.push('ensure')
  }

  async release() {
    this.calls.push('release')
  }

  async close() {
    this.calls.push('close')
    this.closed.resolve()
  }
}

const clients: { close(): Promise<void> }[] = []

afterEach(async () => {
  await Promise.all(clients.splice(0).map(async (client) => client.close()))
})

async function setUp(roles: ReadonlySet<'gridftp' | 'deploy'> = new Set(['gridftp'])) {
  const network = new MemoryNetwork()
  const mover = new ScriptedMover()
  await serveMover(network.node('mover'), { mover, clock: systemClock, logger: noLogger })
  const node = network.node('front', { roles })
  return { network, mover, node, remote: new RemoteMover('mover', { node, clock: systemClock }) }
}

async function opened(remote: RemoteMover): Promise<StripeSession> {
  const session = await remote.open(ACCESS)
  clients.push(session)
  return session
}

/** A front that says what it likes. */
function strangeFront(node: MemoryNode): RpcClient {
  const client = new RpcClient({ node, clock: systemClock, peerId: 'mover', spec: MOVER_PROTOCOL })
  clients.push(client)
  return client
}

describe('a session at a data mover', () => {
  test('says over the network what it says at home', async () => {
    const { mover, remote } = await setUp()
    const session = await opened(remote)
    const envelope = {
      payload: new Uint8Array(10),
      signature: new Uint8Array(64),
      certificate: new Uint8Array(5)
    }
    const part = { target: 0, targetCount: 1, share: 0, shareCount: 1, eodCount: 2, sendsEof: true }
    const stripe: OutgoingStripe = {
      record: envelope,
      ranges: [{ start: 5, end: 2 ** 40 }],
      base: 5,
      stripeBytes: 4096,
      parts: [part],
      closes: false
    }

    const address = await session.listen(2)
    const connected = await session.connect({
      targets: [{ host: '10.0.0.1', port: 4000 }],
      parallelism: 2
    })
    const sent = await session.send(stripe)
    const progress = await session.progress()
    await session.ensure()
    await session.release()

    expect(address).toEqual({ host: '::1', port: 5000 })
    expect(connected).toEqual({ counts: [2], isReused: true })
    expect(sent).toBe(77)
    expect(mover.sent).toEqual(stripe)
    expect(progress).toEqual({ movedBytes: 5, isConnected: true, isStoring: false })
    expect(mover.calls).toEqual(['open', 'ensure', 'release'])
  })

  test('gives a leaf list of any length, a page at a time', async () => {
    const { mover, remote } = await setUp()
    const session = await opened(remote)
    const leaves = leavesOf(25_000)
    mover.received.resolve({ receivedBytes: 9, endBytes: 10, leaves })

    const received = await session.receive(STRIPE)
    const noted = await session.checkpoint()

    expect(received).toMatchObject({ receivedBytes: 9, endBytes: 10 })
    expect(received.leaves.fragmentCount).toBe(25_000)
    expect(received.leaves.fragment(24_999)).toEqual(leaves.fragment(24_999))
    expect(noted.fragmentCount).toBe(3)
  })

  test('ends with the connection of its front', async () => {
    const { network, mover, remote } = await setUp()
    const session = await opened(remote)
    const receiving = session.receive(STRIPE)
    receiving.catch(() => {}) // looked at below
    await session.progress()

    network.remove('front')
    await mover.closed.promise

    await expect(receiving).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
    mover.received.reject(new Error('closed'))
  })

  test('ends a transfer that its front gives up', async () => {
    const { mover, remote } = await setUp()
    const session = await opened(remote)
    const given = new AbortController()
    const receiving = session.receive(STRIPE, { signal: given.signal })
    await session.progress()

    given.abort(new Error('enough'))

    await expect(receiving).rejects.toThrow('enough')
    await mover.aborted.promise
    mover.received.reject(new Error('aborted'))
  })

  test('is for members that are GridFTP agents', async () => {
    const { remote } = await setUp(new Set(['deploy']))

    await expect(remote.open(ACCESS)).rejects.toMatchObject({ code: 'ERR_PROTOCOL_REFUSED' })
  })

  test('is opened first, and once', async () => {
    const { node, mover } = await setUp()
    const client = strangeFront(node)

    await expect(client.call(moverMethods.progress, {})).rejects.toThrow('no session is open')
    await client.call(moverMethods.open, ACCESS)
    await expect(client.call(moverMethods.open, ACCESS)).rejects.toThrow('open already')
    await expect(client.call(moverMethods.leaves, { list: 0 })).rejects.toThrow('no list 0')
    expect(mover.calls).toEqual(['open'])
  })
})
