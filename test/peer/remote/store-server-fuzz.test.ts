import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { MAX_CHUNK_BYTES } from '../../../src/chunks/chunk-size.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import {
  encodeStoreRequest,
  STORE_PROTOCOL,
  type StoreRequest
} from '../../../src/peer/protocols/store.ts'
import { decodeStoreAnswer } from '../../../src/peer/protocols/store-answers.ts'
import { serveStore } from '../../../src/peer/protocols/store-serve.ts'
import type { Channel } from '../../../src/peer/types.ts'
import { sampleChunk } from '../../contract/chunk-store.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { gullible } from '../../support/plain-signing.ts'
import { TestProvider } from '../../support/provider-pool.ts'

const QUOTA_BYTES = 2 * MAX_CHUNK_BYTES
const chunks = Array.from({ length: 4 }, (_, seed) => sampleChunk(seed, 60))

const request = fc.nat(3)
const chunk = fc.constantFrom(...chunks)
const ids = fc.subarray(
  chunks.map(({ id }) => id),
  { minLength: 1 }
)
const kind = <K extends string>(name: K): fc.Arbitrary<K> => fc.constant(name)
const order = fc.constant({
  payload: new Uint8Array(10),
  signature: new Uint8Array(64),
  certificate: new Uint8Array(0)
})

/** Puts in one message, in parts that may not come, and of more than there is room for. */
const puts = fc
  .tuple(request, chunk, fc.constantFrom(60, 60, 30, 20), fc.boolean())
  .map(([number, { id, bytes }, partBytes, isLarge]): StoreRequest => {
    const length = isLarge ? MAX_CHUNK_BYTES : 60
    return { kind: 'put', request: number, id, length, part: bytes.subarray(0, partBytes) }
  })
const parts = fc
  .tuple(request, chunk, fc.constantFrom(30, 40))
  .map(([number, { bytes }, from]): StoreRequest => {
    return { kind: 'part', request: number, part: bytes.subarray(from) }
  })
const others: fc.Arbitrary<StoreRequest> = fc.oneof(
  fc.record({ kind: kind('cancel'), request }),
  fc.record({ kind: kind('has'), request, ids }),
  fc.record({ kind: kind('holds'), request, ids }),
  fc.record({ kind: kind('check'), request, ids }),
  fc.record({ kind: kind('copy'), request, ids, sources: fc.constant([]) }),
  fc.record({ kind: kind('get'), request, id: chunk.map(({ id }) => id) }),
  fc.record({ kind: kind('trim'), request, order }),
  fc.record({ kind: kind('collect'), request, order })
)
const conversations = fc.array(fc.oneof(puts, puts, parts, others), { maxLength: 12 })

async function send(channel: Channel, message: StoreRequest): Promise<void> {
  await channel.send(encodeStoreRequest(message))
}

/** Whether a stream gets all the room and all the slots there are. */
async function hasAllRoom(channel: Channel): Promise<boolean> {
  const id = new Uint8Array(32).fill(9)
  const part = Uint8Array.of(1)
  await send(channel, { kind: 'put', request: 1, id, length: MAX_CHUNK_BYTES, part })
  await send(channel, { kind: 'cancel', request: 1 })
  await send(channel, { kind: 'copy', request: 2, ids: [id], sources: [] })
  await send(channel, { kind: 'holds', request: 3, ids: [id] })
  const answered = new Set<number>()
  for await (const message of channel.messages()) {
    answered.add(decodeStoreAnswer(message).request)
    if (answered.size === 2) break
  }
  await channel.close()
  return answered.has(2) && answered.has(3)
}

test('a store server keeps no room and no slot of a caller that has gone, whatever it sent', async () => {
  const provider = new TestProvider('provider', QUOTA_BYTES)
  await provider.store.start()
  const network = new MemoryNetwork()
  const server = network.node('provider')
  const serving = { provider, verifier: gullible, clock: systemClock, logger: noLogger }
  const tight = { maxReads: 1, streamMaxReads: 1, maxWorks: 1, streamMaxWorks: 1 }
  await serveStore(server, serving, {
    putBytes: MAX_CHUNK_BYTES,
    streamPutBytes: MAX_CHUNK_BYTES,
    ...tight
  })
  const client = network.node('client')
  await fc.assert(
    fc.asyncProperty(conversations, fc.boolean(), async (messages, isCut) => {
      const channel = await client.open('provider', STORE_PROTOCOL)
      for (const message of messages) await send(channel, message).catch(() => {})
      if (isCut) channel.abort(new Error('cut'))
      else await channel.close()
      await server.idle()

      const reservation = await provider.store.reserve(QUOTA_BYTES - provider.store.storedBytes)
      reservation.release()
      expect(await hasAllRoom(await client.open('provider', STORE_PROTOCOL))).toBe(true)
      await server.idle()
    }),
    { numRuns: 25 }
  )
})
