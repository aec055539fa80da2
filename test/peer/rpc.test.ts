import { afterEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { z } from 'zod'
import { concatBytes } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { BlobswarmError, MalformedError } from '../../src/lib/errors.ts'
import { MemoryLogger, noLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { naturalNumber } from '../../src/peer/codec.ts'
import {
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolViolationError,
  RemoteError
} from '../../src/peer/errors.ts'
import { decodeFrame, defineMethod, encodeFrame, type RpcFrame } from '../../src/peer/rpc.ts'
import { RpcClient } from '../../src/peer/rpc-client.ts'
import {
  answerMethod,
  permitted,
  type RpcHandler,
  type ServeRpcOptions,
  serveRpc
} from '../../src/peer/rpc-server.ts'
import type { ProtocolSpec } from '../../src/peer/types.ts'
import { channelPair, testMember } from '../support/channel-pair.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryNetwork, type MemoryNode } from '../support/memory-network.ts'

const SPEC: ProtocolSpec = { id: '/blobswarm/test/1', maxMessageBytes: 64 * 1024 }
const shape = {
  request: z.object({ value: naturalNumber }),
  answer: z.object({ value: naturalNumber }),
  maxBytes: 32 * 1024
}
const double = defineMethod('double', shape)
const wait = defineMethod('wait', shape)
const waitLong = defineMethod('waitLong', { ...shape, isLong: true })

const clients: RpcClient[] = []

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()))
})

function clientOf(node: MemoryNode, options = {}): RpcClient {
  const client = new RpcClient(
    { node, clock: systemClock, peerId: 'server', spec: SPEC },
    { timeoutMs: 2000, ...options }
  )
  clients.push(client)
  return client
}

async function network(
  handlers: readonly RpcHandler[],
  options: ServeRpcOptions = {},
  logger = noLogger.forComponent('rpc')
) {
  const net = new MemoryNetwork()
  const server = net.node('server')
  await server.serve(SPEC, (channel) =>
    serveRpc(channel, { handlers, clock: systemClock, logger }, options)
  )
  return { net, server, client: net.node('client') }
}

const doubling = answerMethod(double, async ({ value }) => ({ value: value * 2 }))

describe('a call', () => {
  test('gets the answer to its own request while many are in flight', async () => {
    const gates = Array.from({ length: 20 }, () => Promise.withResolvers<void>())
    const waiting = answerMethod(wait, async ({ value }) => {
      await gates[value]?.promise
      return { value: value + 100 }
    })
    const { client } = await network([waiting])
    const rpc = clientOf(client)

    const answers = gates.map((_, value) => rpc.call(wait, { value }))
    for (const gate of gates.toReversed()) gate.resolve()

    expect(await Promise.all(answers)).toEqual(gates.map((_, value) => ({ value: value + 100 })))
    expect(client.opened).toHaveLength(1)
  })

  test('finds the channel closed that nobody needed for a while, and opens another', async () => {
    const clock = new ManualClock()
    const { client } = await network([doubling])
    const kept = { node: client, clock, peerId: 'server', spec: SPEC }
    const rpc = new RpcClient(kept)
    clients.push(rpc)
    await rpc.call(double, { value: 1 })

    clock.advance(100_000)
    await rpc.call(double, { value: 2 })
    clock.advance(100_000)
    await rpc.call(double, { value: 3 })
    const openedWhileUsed = client.opened.length
    clock.advance(130_000)
    await nextTurn()

    expect(await rpc.call(double, { value: 4 })).toEqual({ value: 8 })
    expect([openedWhileUsed, client.opened.length]).toEqual([1, 2])
  })

  test('fails with the code and message that the server failed with', async () => {
    const refusing = answerMethod(double, async () => {
      throw new BlobswarmError('no room left', 'ERR_STORE_FULL')
    })
    const { client } = await network([refusing])

    const failure = await clientOf(client)
      .call(double, { value: 1 })
      .catch((error: unknown) => error)

    expect(failure).toBeInstanceOf(RemoteError)
    expect(failure).toMatchObject({
      code: 'ERR_STORE_FULL',
      message: 'no room left',
      peer: 'server'
    })
  })

  test('fails clearly for a method that the server does not have', async () => {
    const { client } = await network([])

    await expect(clientOf(client).call(double, { value: 1 })).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_METHOD'
    })
  })

  test('does not tell a stranger what went wrong inside, but the log has it', async () => {
    const logger = new MemoryLogger()
    const broken = answerMethod(double, async () => {
      throw new Error('secret path')
    })
    const { client } = await network([broken], {}, logger.forComponent('rpc'))

    await expect(clientOf(client).call(double, { value: 1 })).rejects.toMatchObject({
      code: 'ERR_INTERNAL',
      message: 'internal failure'
    })
    expect(logger.lines.map(({ level }) => level)).toEqual(['error'])
  })

  test('is refused without the right that the method needs', async () => {
    const handlers = permitted({ double: [['write'], ['metadata', 'admin']] }, [doubling])
    const { net } = await network(handlers)
    const reader = net.node('reader', { rights: new Set(['read']) })

    await expect(clientOf(reader).call(double, { value: 1 })).rejects.toMatchObject({
      code: 'ERR_NOT_PERMITTED',
      message:
        'not permitted: double needs the right to write or the role metadata and the right to admin'
    })
  })

  test('ends in time when nothing is answered, and the next uses a new channel', async () => {
    const net = new MemoryNetwork()
    await net.node('server').serve(SPEC, async ({ ended }) => {
      await new Promise((resolve) => ended.addEventListener('abort', resolve))
    })
    const node = net.node('client')
    const rpc = clientOf(node, { timeoutMs: 30 })

    await expect(rpc.call(double, { value: 1 })).rejects.toBeInstanceOf(PeerTimeoutError)
    await expect(rpc.call(double, { value: 1 })).rejects.toMatchObject({
      code: 'ERR_PEER_TIMEOUT',
      peer: 'server',
      timeoutMs: 30
    })
    expect(node.opened).toHaveLength(2)
  })

  test('ends in time when the channel does not even open', async () => {
    const rpc = new RpcClient(
      {
        node: { open: () => new Promise(() => {}) },
        clock: systemClock,
        peerId: 'server',
        spec: SPEC
      },
      { openTimeoutMs: 20 }
    )
    clients.push(rpc)

    await expect(rpc.call(double, { value: 1 })).rejects.toBeInstanceOf(PeerTimeoutError)
  })

  test('tells the server when it is given up', async () => {
    const started = Promise.withResolvers<void>()
    const cancelled = Promise.withResolvers<void>()
    const waiting = answerMethod(wait, async (request, { signal }) => {
      started.resolve()
      signal.addEventListener('abort', () => cancelled.resolve())
      await cancelled.promise
      return request
    })
    const { client } = await network([waiting, doubling])
    const rpc = clientOf(client)
    const controller = new AbortController()

    const call = rpc.call(wait, { value: 1 }, { signal: controller.signal })
    await started.promise
    controller.abort(new Error('changed my mind'))

    await expect(call).rejects.toThrow('changed my mind')
    await cancelled.promise
    expect(await rpc.call(double, { value: 4 })).toEqual({ value: 8 })
    expect(client.opened).toHaveLength(1)
  })

  test('that was sent and lost rejects, and the next one reconnects', async () => {
    const started = Promise.withResolvers<void>()
    const waiting = answerMethod(wait, async (request, { signal }) => {
      started.resolve()
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      return request
    })
    const { client, server } = await network([waiting, doubling])
    const rpc = clientOf(client)

    const lost = rpc.call(wait, { value: 1 })
    await started.promise
    server.cut()

    await expect(lost).rejects.toBeInstanceOf(PeerUnreachableError)
    expect(await rpc.call(double, { value: 2 })).toEqual({ value: 4 })
    await rpc.close()
    await server.idle()
  })

  test('waits for its turn, but not behind long ones', async () => {
    const gate = Promise.withResolvers<void>()
    let running = 0
    let peak = 0
    const waiting = answerMethod(wait, async (request) => {
      running += 1
      peak = Math.max(peak, running)
      await gate.promise
      running -= 1
      return request
    })
    const longing = answerMethod(waitLong, async (request) => {
      await gate.promise
      return request
    })
    const { client } = await network([waiting, longing, doubling], { maxConcurrent: 3 })
    const rpc = clientOf(client, { maxInFlight: 3 })

    const long = [1, 2, 3, 4, 5].map((value) => rpc.call(waitLong, { value }))
    expect(await rpc.call(double, { value: 1 })).toEqual({ value: 2 })
    const calls = [1, 2, 3, 4, 5, 6].map((value) => rpc.call(wait, { value }))
    gate.resolve()

    expect(await Promise.all(calls)).toHaveLength(6)
    expect(await Promise.all(long)).toHaveLength(5)
    expect(peak).toBeLessThanOrEqual(3)
  })

  test('answered with nonsense blames the peer', async () => {
    const net = new MemoryNetwork()
    await net.node('server').serve(SPEC, async (channel) => {
      for await (const message of channel.messages()) {
        const { id } = decodeFrame(message)
        await channel.send(encodeFrame({ kind: 'answer', id, body: new Uint8Array([0xff]) }))
      }
    })

    await expect(clientOf(net.node('client')).call(double, { value: 1 })).rejects.toBeInstanceOf(
      ProtocolViolationError
    )
  })

  test('rejects after close', async () => {
    const { client } = await network([doubling])
    const rpc = clientOf(client)
    await rpc.call(double, { value: 1 })

    await rpc.close()

    await expect(rpc.call(double, { value: 1 })).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
  })
})

describe('frames', () => {
  const id = fc.integer({ min: 0, max: 0xff_ff_ff_ff })
  const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_]{0,63}$/)
  const body = fc.uint8Array()
  const frame: fc.Arbitrary<RpcFrame> = fc.oneof(
    fc.record({ kind: fc.constant('request' as const), id, method: name, body }),
    fc.record({ kind: fc.constant('answer' as const), id, body }),
    fc.record({ kind: fc.constant('failure' as const), id, code: name, message: fc.string() }),
    fc.record({ kind: fc.constant('cancel' as const), id })
  )

  test('survive encoding and decoding', () => {
    fc.assert(
      fc.property(frame, (original) => {
        expect(decodeFrame(concatBytes(encodeFrame(original)))).toEqual(original)
      })
    )
  })

  test('made of any bytes are refused or read, never worse', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        try {
          decodeFrame(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      })
    )
  })

  test('of any bytes end only the channel that they came over', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        const [near, far] = channelPair(testMember('client'), testMember('server'), SPEC)
        const serving = serveRpc(far, {
          handlers: [doubling],
          clock: systemClock,
          logger: noLogger.forComponent('rpc')
        }).catch((error: unknown) => error)

        await near.send([bytes])
        const closing = near.close()
        const outcome = await serving
        if (outcome === undefined) await far.close()
        else far.abort(outcome as Error)
        await closing

        expect(outcome === undefined || outcome instanceof ProtocolViolationError).toBe(true)
      }),
      { numRuns: 50 }
    )
  })
})
