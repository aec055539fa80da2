import { afterEach, describe, expect, test } from '@jest/globals'
import { KIB } from '../../src/lib/bytes.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 64 * KIB
const CHUNKS = 24

let started: TestRepository | undefined

afterEach(async () => {
  await started?.stop()
})

async function setUp(providerCount = 10) {
  const clock = new ManualClock()
  const options = { clock, chunkBytes: CHUNK, providerCount, replicas: 2 }
  const run = await startTestRepository(options)
  started = run
  const upload = async (path: string) => run.repository.openWrite(path, { mode: 'replace' })
  /** Who has each chunk of an image, and who does by its location records. */
  const copiesOf = async (path: string) => {
    const { manifest } = await run.repository.openRead(path)
    return Promise.all(
      Array.from({ length: manifest.chunkCount }, async (_, index) => {
        const id = await manifest.chunkId(index)
        const named = (await manifest.replicas(index)).toSorted()
        const live = [...run.providers.keys()].filter((name) => run.stores.get(name)?.has(id))
        return { named, live: live.toSorted() }
      })
    )
  }
  const readBack = async (path: string) => {
    const snapshot = await run.repository.openRead(path)
    return Buffer.concat(
      await Array.fromAsync(snapshot.read({ offset: 0, length: snapshot.bytes }))
    )
  }
  return { ...run, clock, upload, copiesOf, readBack }
}

describe('a provider that dies in the middle of an upload', () => {
  test('leaves every chunk of it on two that live', async () => {
    const { clock, upload, copiesOf, readBack, kill, stores } = await setUp()
    const bytes = sampleBytes(CHUNKS * CHUNK, 1)
    const writer = await upload('/image')
    await writer.write(0, bytes.subarray(0, bytes.length / 2))
    await writer.write(bytes.length / 2, bytes.subarray(bytes.length / 2, bytes.length - CHUNK))
    await nextTurn()
    const [dead, had] = largest(stores)

    kill(dead)
    clock.advance(1000)
    await writer.write(bytes.length - CHUNK, bytes.subarray(bytes.length - CHUNK))
    await writer.publish()

    const copies = await copiesOf('/image')
    expect(had).toBeGreaterThan(0)
    for (const { named, live } of copies) {
      expect(named).toHaveLength(2)
      expect(named).toEqual(live)
    }
    expect(Buffer.compare(await readBack('/image'), bytes)).toBe(0)
  })

  test('is missed only in what it had, though others die as well one after the other', async () => {
    const { clock, upload, copiesOf, readBack, kill, providers } = await setUp()
    const bytes = sampleBytes(CHUNKS * CHUNK, 2)

    for (const round of [0, 1, 2]) {
      const writer = await upload('/image')
      const changed = Buffer.concat([sampleBytes(CHUNK, 10 + round), bytes.subarray(CHUNK)])
      await writer.write(0, changed)
      kill([...providers.keys()][round] ?? '')
      clock.advance(1000)
      await writer.publish()
      const copies = await copiesOf('/image')
      expect(copies.filter(({ named, live }) => named.join() !== live.join())).toEqual([])
      expect(copies.filter(({ live }) => live.length !== 2)).toEqual([])
      expect(Buffer.compare(await readBack('/image'), changed)).toBe(0)
    }
  })
})

test('chunks that are there already get the copies that they lack', async () => {
  const { upload, copiesOf, kill, stores, pool } = await setUp(5)
  const bytes = sampleBytes(CHUNKS * CHUNK, 3)
  const first = await upload('/first')
  await first.write(0, bytes)
  await first.publish()
  const { writes } = pool
  const [dead, lost] = largest(stores)
  kill(dead)

  const second = await upload('/second')
  await second.write(0, bytes)
  await second.publish()

  const copies = await copiesOf('/second')
  expect(copies.filter(({ live }) => live.length !== 2)).toEqual([])
  expect(pool.writes - writes).toBe(lost)
})

/** The provider with the most chunks, and how many. */
function largest(stores: TestRepository['stores']): [string, number] {
  const counts = Array.from(stores, ([name, { chunkCount }]): [string, number] => [
    name,
    chunkCount
  ])
  return counts.toSorted(([, left], [, right]) => right - left)[0] ?? ['', 0]
}
