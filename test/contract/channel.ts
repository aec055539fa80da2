import { afterEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { concatBytes, equalBytes, KIB } from '../../src/lib/bytes.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import type { Channel, ProtocolSpec } from '../../src/peer/types.ts'

export const CONTRACT_SPEC: ProtocolSpec = { id: '/blobswarm/test/1', maxMessageBytes: 300 * KIB }

/** Two ends of one open channel; `close` is called after the test. */
export interface OpenedChannels {
  readonly left: Channel
  readonly right: Channel
  readonly close: () => Promise<void>
}

/** What every channel does. */
export function testChannel(name: string, open: () => Promise<OpenedChannels>): void {
  const cleanups: (() => Promise<void>)[] = []
  const opened = async (): Promise<OpenedChannels> => {
    const channels = await open()
    cleanups.push(channels.close)
    return channels
  }
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0)) await cleanup()
  })

  describe(`${name}: messages`, () => testMessages(opened))
  describe(`${name}: delivery`, () => testDelivery(opened))
  describe(`${name}: waiting`, () => testWaiting(opened))
  describe(`${name}: ending`, () => testEnding(opened))
}

function testMessages(opened: () => Promise<OpenedChannels>): void {
  test('arrive whole, in order, joined from their parts', async () => {
    const { left, right } = await opened()

    await left.send([Uint8Array.of(1), Uint8Array.of(2, 3)])
    await left.send([])
    await left.send([new Uint8Array(256 * KIB).fill(9)])

    const [received] = await Promise.all([collectAndClose(right), left.close()])
    expect(received.map(({ byteLength }) => byteLength)).toEqual([3, 0, 256 * KIB])
    expect(received[0]).toEqual(Uint8Array.of(1, 2, 3))
    expect(received[2]?.every((byte) => byte === 9)).toBe(true)
  })

  test('of any sizes arrive as they were sent', async () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 70_000 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(sizes, async (lengths) => {
        const { left, right, close } = await opened()
        const sent = lengths.map((length, index) => new Uint8Array(length).fill(index + 1))
        const receiving = collectAndClose(right)
        for (const message of sent) await left.send([message])
        await left.close()
        const received = await receiving
        expect(received.length).toBe(sent.length)
        expect(equalBytes(concatBytes(received), concatBytes(sent))).toBe(true)
        await close()
      }),
      { numRuns: 8 }
    )
  })

  test('sent by several tasks at once are not mixed', async () => {
    const { left, right } = await opened()
    const messages = [1, 2, 3, 4].map((fill) => new Uint8Array(200 * KIB).fill(fill))

    const receiving = collectAndClose(right)
    await Promise.all(messages.map(async (message) => left.send([message])))
    await left.close()

    const received = await receiving
    expect(received.map(([first]) => first)).toEqual([1, 2, 3, 4])
    for (const message of received) expect(new Set(message).size).toBe(1)
  })

  test('go both ways at once', async () => {
    const { left, right } = await opened()
    const echoing = (async () => {
      for await (const message of right.messages()) await right.send([message])
      await right.close()
    })()

    await left.send([Uint8Array.of(7)])
    const [answer] = await take(left, 1)
    await left.close()
    await echoing

    expect(answer).toEqual(Uint8Array.of(7))
  })

  test('are not lost when reading stops in between', async () => {
    const { left, right } = await opened()
    for (const byte of [1, 2, 3]) await left.send([Uint8Array.of(byte)])
    const closing = left.close()

    const first = await take(right, 1)
    const rest = await collectAndClose(right)
    await closing

    expect([...first, ...rest].map(([byte]) => byte)).toEqual([1, 2, 3])
  })

  test('that are too long are the mistake of the caller', async () => {
    const { left } = await opened()

    const sending = left.send([new Uint8Array(300 * KIB + 1)])

    await expect(sending).rejects.toBeInstanceOf(RangeError)
    expect(left.ended.aborted).toBe(false)
  })
}

function testDelivery(opened: () => Promise<OpenedChannels>): void {
  test('gives messages of any sizes whole and in order, whoever read the first ones', async () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 70_000 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat({ max: 3 }), async (lengths, readBefore) => {
        const { left, right, close } = await opened()
        const sent = lengths.map((length, index) => new Uint8Array(length).fill(index + 1))
        const sending = (async () => {
          for (const message of sent) await left.send([message])
          await left.close()
        })()

        const before = readBefore === 0 ? [] : await take(right, readBefore)
        const delivered: Uint8Array[] = []
        await right.deliver((message) => delivered.push(message.slice()) > 0)
        await right.close()
        await sending

        const received = [...before, ...delivered]
        expect(received.map(({ byteLength }) => byteLength)).toEqual(lengths)
        expect(equalBytes(concatBytes(received), concatBytes(sent))).toBe(true)
        await close()
      }),
      { numRuns: 8 }
    )
  })

  test('stops when the taker has enough, and what follows can still be read', async () => {
    const { left, right } = await opened()
    for (const byte of [1, 2, 3, 4]) await left.send([Uint8Array.of(byte)])
    const closing = left.close()
    const delivered: (number | undefined)[] = []

    await right.deliver(([byte]) => delivered.push(byte) < 2)
    const rest = await collectAndClose(right)
    await closing

    expect(delivered).toEqual([1, 2])
    expect(rest.map(([byte]) => byte)).toEqual([3, 4])
  })

  test('ends with an error when the other end gives up', async () => {
    const { left, right } = await opened()
    const delivery = right.deliver(() => true)

    left.abort(new Error('changed my mind'))

    await expect(delivery).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
  })

  test('has many messages pass that nobody waits for', async () => {
    const { left, right } = await opened()
    let receivedBytes = 0
    const delivery = right.deliver(({ byteLength }) => (receivedBytes += byteLength) > 0)

    for (let count = 0; count < 100; count++) await left.send([new Uint8Array(256 * KIB)])
    await left.close()
    await delivery
    await right.close()

    expect(receivedBytes).toBe(100 * 256 * KIB)
  })
}

function testWaiting(opened: () => Promise<OpenedChannels>): void {
  test('lets a sender wait for a reader that does not read', async () => {
    const { left, right } = await opened()
    let sentCount = 0
    const sending = (async () => {
      for (; sentCount < 100; sentCount++) await left.send([new Uint8Array(256 * KIB)])
      await left.close()
    })()
    await untilQuiet(() => sentCount)
    const sentUnread = sentCount

    const received = await collectAndClose(right)
    await sending

    expect(sentUnread).toBeLessThan(12)
    expect(received.length).toBe(100)
  })

  test('ends a wait for a message when its signal is aborted, and loses none', async () => {
    const { left, right } = await opened()
    const controller = new AbortController()
    const reason = new Error('enough')
    const reading = take(right, 1, controller.signal)

    controller.abort(reason)

    await expect(reading).rejects.toBe(reason)
    await left.send([Uint8Array.of(5)])
    expect(await take(right, 1)).toEqual([Uint8Array.of(5)])
  })

  test('ends a wait for room when its signal is aborted', async () => {
    const { left } = await opened()
    const controller = new AbortController()
    let sentCount = 0
    const sending = (async () => {
      const { signal } = controller
      for (; sentCount < 100; sentCount++) await left.send([new Uint8Array(256 * KIB)], { signal })
    })()
    await untilQuiet(() => sentCount)

    controller.abort(new Error('enough'))

    await expect(sending).rejects.toThrow('enough')
  })
}

function testEnding(opened: () => Promise<OpenedChannels>): void {
  test('ends for both when both have closed', async () => {
    const { left, right } = await opened()

    await Promise.all([left.close(), right.close()])
    await untilEnded(left)
    await untilEnded(right)

    expect(left.ended.aborted && right.ended.aborted).toBe(true)
  })

  test('refuses to send after the end', async () => {
    const { left, right } = await opened()
    await Promise.all([left.close(), right.close()])

    const sending = left.send([Uint8Array.of(1)])

    await expect(sending).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
  })

  test('ends for both when one gives up', async () => {
    const { left, right } = await opened()
    const reading = collect(right)

    left.abort(new Error('changed my mind'))

    await expect(reading).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
    await untilEnded(right)
    expect(left.ended.aborted).toBe(true)
    left.abort(new Error('again'))
  })

  test('discards what nobody reads when closed', async () => {
    const { left, right } = await opened()
    await left.send([new Uint8Array(1000)])
    await left.send([new Uint8Array(1000)])

    await Promise.all([left.close(), right.close()])

    expect(right.ended.aborted).toBe(true)
  })
}

async function collect(channel: Channel): Promise<Uint8Array[]> {
  return take(channel, Number.POSITIVE_INFINITY)
}

async function collectAndClose(channel: Channel): Promise<Uint8Array[]> {
  const messages = await collect(channel)
  await channel.close()
  return messages
}

async function take(channel: Channel, count: number, signal?: AbortSignal): Promise<Uint8Array[]> {
  const taken: Uint8Array[] = []
  for await (const message of channel.messages({ signal })) {
    taken.push(message)
    if (taken.length === count) break
  }
  return taken
}

async function untilEnded(channel: Channel): Promise<void> {
  while (!channel.ended.aborted) await nextTurn()
}

/** Resolves when a number has not changed for many turns of the event loop. */
export async function untilQuiet(read: () => number, turns = 300): Promise<void> {
  let last = read()
  for (let quiet = 0; quiet < turns; quiet++) {
    await nextTurn()
    if (read() === last) continue
    last = read()
    quiet = 0
  }
}
