import { expect, test } from '@jest/globals'
import { Key } from 'interface-datastore/key'
import { seededRandom } from '../../src/lib/random.ts'
import { imageKey, shardKey, withdrawalKey } from '../../src/peer/image-keys.ts'
import type { ProviderRecords, ProviderRecordsOptions } from '../../src/peer/provider-records.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDht, recordKey } from '../support/memory-dht.ts'
import { peerIds } from '../support/peer-ids.ts'

const ROOT = new Uint8Array(32).fill(7)
const KEY = imageKey(ROOT)
const [ALICE = '', BOB = '', CAROL = ''] = peerIds(3)

/** Records with those agents' announcements, made one after the other, and where their addresses are known. */
async function recordsOf(announcers: readonly string[], options?: ProviderRecordsOptions) {
  const clock = new ManualClock()
  const dht = new MemoryDht({ clock, random: seededRandom(1) }, options)
  for (const peerId of announcers) await announce(dht, peerId)
  return { clock, dht, records: dht.records }
}

async function announce(dht: MemoryDht, peerId: string, key = KEY): Promise<void> {
  await Array.fromAsync(dht.client(peerId).provide(key))
}

async function told(records: ProviderRecords, key = KEY): Promise<string[]> {
  const entries = await Array.fromAsync(records.query({ prefix: recordKey(key).toString() }))
  return entries.map((entry) => entry.key.toString().split('/').at(-1) ?? '').toSorted()
}

test('tells who has announced an image', async () => {
  const { records } = await recordsOf([ALICE, BOB])

  expect(await told(records)).toEqual([ALICE, BOB].toSorted())
  expect(await told(records, shardKey(ROOT, 0))).toEqual([])
})

test('forgets an announcement that is not repeated', async () => {
  const { records, dht, clock } = await recordsOf([ALICE, BOB], { validMs: 1000 })
  clock.advance(600)
  await announce(dht, BOB)

  clock.advance(600)

  expect(await told(records)).toEqual([BOB])
  expect(records.count).toBe(1)
})

test('forgets what has expired under keys that nobody asks for', async () => {
  const { records, dht, clock } = await recordsOf([ALICE], { validMs: 1000 })
  clock.advance(1001)

  await announce(dht, BOB, shardKey(ROOT, 1))

  expect(records.count).toBe(1)
})

test('an announcement is taken back by whoever made it', async () => {
  const { records, dht } = await recordsOf([ALICE, BOB])

  await announce(dht, ALICE, withdrawalKey(KEY))
  await announce(dht, CAROL, withdrawalKey(KEY))

  expect(await told(records)).toEqual([BOB])
})

test('leaves out whose addresses it does not know', async () => {
  const { records } = await recordsOf([ALICE])

  await records.put(recordKey(KEY, BOB), new Uint8Array(1))

  expect(await told(records)).toEqual([ALICE])
})

test('tells of many a random few', async () => {
  const many = peerIds(200)
  const { records } = await recordsOf(many)

  const answers = [await told(records), await told(records)]

  expect(answers.map((answer) => new Set(answer).size)).toEqual([50, 50])
  expect(answers[0]).not.toEqual(answers[1])
})

test('keeps so many of a key and so many in all, the newest', async () => {
  const perKey = await recordsOf([ALICE, BOB, CAROL], { maxPerKey: 2 })
  const inAll = await recordsOf([ALICE, BOB, CAROL], { maxRecords: 2 })

  expect(await told(perKey.records)).toEqual([BOB, CAROL].toSorted())
  expect(await told(inAll.records)).toEqual([BOB, CAROL].toSorted())
  expect(inAll.records.count).toBe(2)
})

test('keeps everything else as any datastore does', async () => {
  const { records } = await recordsOf([])
  const key = new Key('/peers/somebody')

  await records.put(key, Uint8Array.of(1))

  expect(await records.get(key)).toEqual(Uint8Array.of(1))
  expect(await Array.fromAsync(records.query({ prefix: '/peers' }))).toHaveLength(1)
  await records.delete(key)
  expect(await records.has(key)).toBe(false)
})
