import { afterEach, describe, expect, test } from '@jest/globals'
import type { ChunkId, ProviderId } from '../../src/chunks/types.ts'
import { locationRecordName, signLocation } from '../../src/metadata/location.ts'
import type { ChunkHoarder } from '../../src/metadata/repair-types.ts'
import {
  RepairBench,
  type RepairBenchOptions,
  type SampleImage,
  sourceOf,
  TIMES
} from '../support/repair/repair-bench.ts'

let bench: RepairBench
afterEach(async () => bench.stop())

const LONG = TIMES.dead + 5000

async function start(names: string, options: RepairBenchOptions = {}): Promise<void> {
  bench = await RepairBench.start(names, options)
}

/** How many copies chunks have, without repetition. */
function counts(image: SampleImage): number[] {
  const lengths = bench.holders(image).map(({ length }) => length)
  return [...new Set(lengths)].toSorted((left, right) => left - right)
}

function firstOf({ ids }: SampleImage): ChunkId {
  return ids[0] ?? new Uint8Array()
}

async function lose(name: ProviderId, id: ChunkId): Promise<void> {
  await bench.machine(name).provider.store.delete(id)
}

describe('a provider that dies', () => {
  test('has its chunks copied to others, and the records follow', async () => {
    await start('abcd')
    const image = await bench.upload(40)
    bench.kill('a')

    await bench.pass(LONG)

    expect(counts(image)).toEqual([2])
    expect(await bench.recorded(image)).toEqual(bench.holders(image))
    expect(await bench.figures()).toMatchObject({
      chunks: 40,
      underReplicated: 0,
      isCurrent: true,
      pending: 0
    })
  })

  test('is waited for while it is only suspect, but its copies do not count', async () => {
    await start('abc')
    const image = await bench.publish([
      ['a', 'b'],
      ['b', 'c']
    ])
    bench.kill('a')

    await bench.pass(TIMES.suspect + 2500)

    expect(bench.holders(image)).toEqual(['b', 'bc'])
    expect(await bench.figures()).toMatchObject({ underReplicated: 1, copiedChunks: 0 })
  })

  test('together with another leaves every chunk at three replicas again', async () => {
    await start('abcdef', { replicas: 3 })
    const image = await bench.upload(60)
    bench.kill('a', 'b')

    await bench.pass(LONG)

    expect(counts(image)).toEqual([3])
    expect(await bench.figures()).toMatchObject({ underReplicated: 0, unreachable: 0 })
  })

  test('with the last copy of a chunk makes it unreachable, which is said once', async () => {
    await start('abc')
    await bench.publish([['a', 'b']])
    bench.kill('a', 'b')

    await bench.pass(LONG)
    await bench.look()

    expect(await bench.figures()).toMatchObject({ underReplicated: 1, unreachable: 1 })
    expect(bench.logged('error')).toEqual(['nobody holds %d chunks of page %s: %s'])
  })

  test('while there is nobody else leaves its chunks as they are, and that is known', async () => {
    await start('ab')
    const image = await bench.upload(5)
    bench.kill('a')

    await bench.pass(LONG)

    expect(counts(image)).toEqual([1])
    expect(await bench.figures()).toMatchObject({
      underReplicated: 5,
      pending: 0,
      failedCopies: 0,
      isCurrent: true
    })
  })

  test('is replaced as soon as somebody else comes', async () => {
    await start('ab')
    const image = await bench.upload(5)
    bench.kill('a')
    await bench.pass(LONG)
    await bench.addProvider('c')

    await bench.pass(3000)

    expect(bench.holders(image)).toEqual(Array.from({ length: 5 }, () => 'bc'))
  })
})

test('a long look goes by who dies while it lasts', async () => {
  await start('abc')
  for (let number = 0; number < 40; number++) await bench.publish([['a', 'b']])
  const getRecords = bench.metadata.getRecords.bind(bench.metadata)
  bench.metadata.getRecords = async (names, options) => {
    const signal = options?.signal
    await bench.clock.sleep(TIMES.dead / 2, signal && { signal })
    return await getRecords(names, options)
  }
  const looking = bench.repairer.lookNow()
  await bench.pass(1)
  bench.kill('a')

  const { copiedChunks, isCurrent } = await bench.clock.until(looking)

  expect(copiedChunks).toBeGreaterThan(0)
  expect(isCurrent).toBe(false)
})

describe('a provider that comes back', () => {
  test('is relieved of what others have now, but not while that has a lease', async () => {
    await start('abc')
    const image = await bench.publish([['a', 'b']])
    bench.kill('a')
    await bench.pass(LONG)
    await bench.revive('a')

    await bench.pass(3000)
    const early = bench.holders(image)
    await bench.pass(TIMES.lease * 2)
    await bench.look()

    expect(early).toEqual(['abc'])
    expect(bench.holders(image)[0]).toHaveLength(2)
    expect(await bench.recorded(image)).toEqual(bench.holders(image))
    expect(await bench.figures()).toMatchObject({ surplus: 0, trimmedChunks: 1 })
  })

  test('brings back what nobody else has', async () => {
    await start('abc')
    const image = await bench.publish([['a', 'b']])
    bench.kill('a', 'b')
    await bench.pass(LONG)
    await bench.revive('b')

    await bench.pass(3000)

    expect(bench.holders(image)).toEqual(['bc'])
    expect(await bench.figures()).toMatchObject({ underReplicated: 0, unreachable: 0 })
  })
})

/** A chunk at a, b and c, past all leases, that nobody has looked at. */
async function surplus(): Promise<SampleImage> {
  await start('abc')
  await bench.pass(TIMES.lease * 1.5)
  const image = await bench.publish([['a', 'b', 'c']])
  await bench.pass(TIMES.lease * 2.5)
  return image
}

describe('surplus', () => {
  test('goes only while enough others say that they have it', async () => {
    const image = await surplus()
    // They lose it between the look and the moment of deletion.
    for (const { provider } of bench.machines.values()) {
      const holds = provider.holds.bind(provider)
      let answers = 0
      provider.holds = async (ids) => (answers++ > 0 ? ids.map(() => false) : await holds(ids))
    }

    await bench.look()

    expect(bench.holders(image)).toEqual(['abc'])
  })

  test('that a writer has just found stays, and goes unasked when its lease has ended', async () => {
    const image = await surplus()
    const id = firstOf(image)
    for (const name of 'abc') await bench.machine(name).provider.has([id])

    await bench.look()
    const leased = bench.holders(image)
    await bench.pass(TIMES.lease * 3)

    expect(leased).toEqual(['abc'])
    expect(counts(image)).toEqual([2])
  })

  test('is not taken where the record could not be written', async () => {
    const image = await surplus()
    const put = bench.metadata.putRecords.bind(bench.metadata)
    bench.metadata.putRecords = async () => {
      throw new Error('disk full')
    }

    const figures = await bench.look()
    bench.metadata.putRecords = put

    expect(bench.holders(image)).toEqual(['abc'])
    expect(figures).toMatchObject({ surplus: 1, isCurrent: false })
  })
})

describe('draining', () => {
  test('moves everything elsewhere, until the provider has nothing', async () => {
    await start('abcd')
    const image = await bench.upload(30)
    await bench.manager.setDraining('a', true)

    await bench.pass(TIMES.lease * 3)
    await bench.look()

    expect(bench.machine('a').provider.store.chunkCount).toBe(0)
    expect(counts(image)).toEqual([2])
    expect(await bench.recorded(image)).toEqual(bench.holders(image))
  })

  test('makes the figures doubtful until everything was looked at again', async () => {
    await start('abc')
    const before = await bench.figures()

    await bench.manager.setDraining('a', true)
    const early = await bench.figures()
    await bench.pass(3000)

    const current = [before, early, await bench.figures()].map(({ isCurrent }) => isCurrent)
    expect(current).toEqual([true, false, true])
  })

  test('reads from the provider that drains, if it is the only one', async () => {
    await start('abc', { replicas: 1 })
    const image = await bench.publish([['a']])
    await bench.manager.setDraining('a', true)

    await bench.pass(3000)

    expect(bench.holders(image)[0]).toHaveLength(2)
    expect(await bench.figures()).toMatchObject({ underReplicated: 0 })
  })
})

describe('a chunk that is lost', () => {
  test('to a broken disk is copied anew as soon as its provider says so', async () => {
    await start('abc')
    const image = await bench.publish([['a', 'b']])
    await lose('a', firstOf(image))
    bench.machine('a').lostCount++

    await bench.pass(3000)

    expect(bench.holders(image)[0]).toHaveLength(2)
  })

  test('by a provider that has acknowledged it and says nothing is found by the next look', async () => {
    await start('abc')
    const image = await bench.publish([['a', 'b']])
    await lose('a', firstOf(image))

    await bench.look()

    expect(bench.holders(image)[0]).toHaveLength(2)
    expect(await bench.recorded(image)).toEqual(bench.holders(image))
  })

  test('is taken from a deploy agent if no provider has it', async () => {
    const held = new Map<string, Uint8Array>()
    const hoarder: ChunkHoarder = {
      source: sourceOf('h'),
      holds: async (ids) => ids.map((id) => held.has(Buffer.from(id).toString('hex')))
    }
    await start('abc', { components: { hoarders: () => [hoarder] } })
    await bench.addProvider('h')
    const image = await bench.publish([['h']])
    await bench.name(image.ids, [['a', 'b']])
    held.set(Buffer.from(firstOf(image)).toString('hex'), new Uint8Array())
    bench.machine('h').provider.holds = async (ids) => ids.map(() => false)

    await bench.look()

    expect(bench.holders(image)[0]?.replace('h', '')).toHaveLength(2)
    expect(await bench.figures()).toMatchObject({ underReplicated: 0, unreachable: 0 })
  })
})

describe('a provider that lies', () => {
  test('about what it holds is passed over for one that tells the truth', async () => {
    await start('abcd', { replicas: 3 })
    const image = await bench.publish([['a', 'b']])
    const { provider } = bench.machine('a')
    await lose('a', firstOf(image))
    provider.holds = async (ids) => ids.map(() => true)

    await bench.look()

    expect(bench.holders(image)[0]).toContain('b')
    expect(bench.holders(image)[0]).toHaveLength(2)
  })

  test('and is the only one is found out: the copy fails, and is tried again', async () => {
    await start('ab')
    const image = await bench.publish([['a']])
    const { provider } = bench.machine('a')
    await lose('a', firstOf(image))
    provider.holds = async (ids) => ids.map(() => true)

    const figures = await bench.look()

    expect(bench.holders(image)).toEqual([''])
    expect(figures).toMatchObject({ underReplicated: 1, failedCopies: 1, isCurrent: false })
  })

  test('is not waited for about chunks that it was never said to hold', async () => {
    await start('abcd')
    const image = await bench.publish([['a']])
    bench.machine('d').provider.onCall = async () => {
      throw new Error('connection refused')
    }

    const figures = await bench.look()

    expect(bench.holders(image)[0]).toHaveLength(2)
    expect(figures).toMatchObject({ underReplicated: 0, isCurrent: false })
  })

  test('by reporting without answering is lost after a while', async () => {
    await start('abc')
    const image = await bench.publish([['a', 'b']])
    bench.machine('a').provider.onCall = async () => {
      throw new Error('connection refused')
    }

    await bench.look()
    const early = await bench.figures()
    await bench.pass(TIMES.dead * 3)

    expect(early).toMatchObject({ underReplicated: 1, copiedChunks: 0 })
    expect(bench.holders(image)).toEqual(['abc'])
    expect(await bench.figures()).toMatchObject({ underReplicated: 0 })
  })
})

describe('a target that fails', () => {
  test('is left out for the rest of the look', async () => {
    await start('abcd')
    const image = await bench.publish(Array.from({ length: 12 }, () => ['a']))
    bench.machine('b').provider.onCall = async (call) => {
      if (call === 'copy') throw new Error('disk full')
    }

    await bench.look()

    expect(counts(image)).toEqual([2])
    expect(bench.machine('b').provider.calls.copy).toBe(1)
  })
})

describe('copies', () => {
  test('are made of what has the fewest left first', async () => {
    await start('abcd', { replicas: 3, maxCopies: 1 })
    const image = await bench.publish([
      ...Array.from({ length: 10 }, () => ['a', 'b']),
      ...Array.from({ length: 10 }, () => ['a'])
    ])
    const order: number[] = []
    for (const { provider } of bench.machines.values()) {
      const copy = provider.copy.bind(provider)
      provider.copy = async (ids, sources, options) => {
        order.push(...ids.map((id) => (image.ids.indexOf(id) >= 10 ? 1 : 2)))
        return await copy(ids, sources, options)
      }
    }

    await bench.look()

    expect(counts(image)).toEqual([3])
    // The first jobs are of the first page that is looked at, so all of one page are sorted.
    expect(order).toEqual(order.toSorted((left, right) => left - right))
  })

  test('are made by no more providers at a time than allowed, and by each in one call', async () => {
    await start('abcdef', { maxCopies: 2 })
    await bench.publish(Array.from({ length: 300 }, () => ['a']))
    const copying = new Set<string>()
    let most = 0
    for (const { provider } of bench.machines.values()) {
      provider.onCall = async (call) => {
        if (call !== 'copy') return
        expect(copying.has(provider.id)).toBe(false)
        copying.add(provider.id)
        most = Math.max(most, copying.size)
        await bench.clock.sleep(10)
        copying.delete(provider.id)
      }
    }

    await bench.look()

    expect(most).toBe(2)
    expect(await bench.figures()).toMatchObject({ copiedChunks: 300, underReplicated: 0 })
  })

  test('that have no room in the queue are made by the next looks', async () => {
    await start('abc', { maxQueued: 8 })
    const image = await bench.publish(Array.from({ length: 40 }, () => ['a']))
    for (const { provider } of bench.machines.values()) {
      provider.onCall = async (call) => {
        if (call === 'copy') await bench.clock.sleep(5)
      }
    }

    const figures = await bench.look()
    await bench.pass(60_000)

    expect(figures.isCurrent).toBe(false)
    expect(counts(image)).toEqual([2])
    expect(await bench.figures()).toMatchObject({ underReplicated: 0, isCurrent: true })
  })

  test('of a chunk that several images share are made once, and all records follow', async () => {
    await start('abcd')
    const image = await bench.publish([['a'], ['b']])
    const other = await bench.name([firstOf(image)], [['a']])

    await bench.look()

    expect(counts(image)).toEqual([2])
    expect(await bench.recorded(other)).toEqual(bench.holders(other))
    expect(await bench.figures()).toMatchObject({ chunks: 3, copiedChunks: 2, surplus: 0 })
  })

  test('that are on their way are not asked for again by other images', async () => {
    await start('abcdef')
    const shared = await bench.publish([['a']])
    const images: SampleImage[] = []
    for (let number = 0; number < 40; number++) {
      const own = await bench.publish([['a', 'b']])
      const sets = [['a'], ['a', 'b']]
      images.push(await bench.name([firstOf(shared), firstOf(own)], sets))
    }
    const getRecords = bench.metadata.getRecords.bind(bench.metadata)
    const read = { pages: 0 }
    bench.metadata.getRecords = async (names, options) => {
      read.pages += names.length
      return await getRecords(names, options)
    }
    for (const { provider } of bench.machines.values()) {
      provider.onCall = async (call) => {
        if (call !== 'copy') return
        // It takes until all pages have been looked at.
        while (read.pages < 81) await bench.clock.sleep(100)
      }
    }

    await bench.look()

    const recorded = await Promise.all(images.map(async (image) => await bench.recorded(image)))
    expect(counts(shared)).toEqual([2])
    expect(new Set(recorded.map(([first]) => first))).toEqual(new Set(bench.holders(shared)))
    expect(await bench.figures()).toMatchObject({ copiedChunks: 1, underReplicated: 0 })
  })

  test('are not made where there are some that the records do not know of', async () => {
    await start('abcd')
    const image = await bench.publish([['a', 'c']])
    await bench.name(image.ids, [['a']])

    await bench.look()

    expect(await bench.recorded(image)).toEqual(['ac'])
    expect(await bench.figures()).toMatchObject({ copiedChunks: 0 })
  })

  test('that are under way are given up when repair stops', async () => {
    await start('ab')
    await bench.publish([['a']])
    bench.machine('b').provider.onCall = async (call, { signal }) => {
      if (call === 'copy') await bench.clock.sleep(1e9, signal && { signal })
    }
    const looking = bench.repairer.lookNow()
    const ended = expect(looking).rejects.toThrow('repair is not running')
    await bench.pass(10)

    await bench.stop()

    await ended
  })

  test('that only wait give way to what has changed meanwhile', async () => {
    await start('abcde', { maxCopies: 1 })
    const image = await bench.publish(Array.from({ length: 400 }, () => ['a', 'b']))
    let isSlow = true
    for (const { provider } of bench.machines.values()) {
      provider.onCall = async (call) => {
        if (call === 'copy' && isSlow) await bench.clock.sleep(2000)
      }
    }
    bench.kill('a')
    await bench.pass(TIMES.dead + 4000)
    const running = await bench.figures()
    bench.machine('c').lostCount++
    isSlow = false

    await bench.pass(10_000)

    expect(running).toMatchObject({ isCurrent: false })
    expect(running.underReplicated).toBeGreaterThan(100)
    expect(counts(image)).toEqual([2])
    expect(await bench.figures()).toMatchObject({ isCurrent: true, underReplicated: 0 })
  })
})

describe('records', () => {
  test('that a sealing writes at the same time keep what it wrote', async () => {
    await start('abc')
    const image = await bench.publish([['a'], ['a', 'b']])
    const put = bench.metadata.putRecords.bind(bench.metadata)
    let isFirst = true
    bench.metadata.putRecords = async (records, options) => {
      if (isFirst) {
        isFirst = false
        const replicas = [['a'], ['a', 'b', 'c']]
        await put([signLocation(bench.signer, { page: image.page, sequence: 2, replicas })])
        await bench
          .machine('c')
          .provider.put(image.ids[1] ?? new Uint8Array(), await secondOf(image))
      }
      await put(records, options)
    }

    await bench.look()

    const recorded = await bench.recorded(image)
    expect(recorded[0]).toBe(bench.holders(image)[0])
    expect(recorded[1]).toContain('c')
  })

  test('that have been collected meanwhile are not made again', async () => {
    await start('abc')
    const image = await bench.publish([['a']])
    const getRecords = bench.metadata.getRecords.bind(bench.metadata)
    let reads = 0
    bench.metadata.getRecords = async (names, options) =>
      reads++ === 0 ? await getRecords(names, options) : names.map(() => undefined)
    const puts: string[] = []
    bench.metadata.putRecords = async (records) => {
      puts.push(...records.map(({ name }) => name))
    }

    const figures = await bench.look()

    expect(puts).toEqual([])
    expect(figures).toMatchObject({ copiedChunks: 1, failedCopies: 0 })
    expect(bench.logged('info').filter((format) => format.includes('not written'))).toEqual([])
    expect(locationRecordName(image.page)).toMatch(/^location/)
  })

  test('whose page cannot be read are counted, and tried again', async () => {
    await start('abc')
    const image = await bench.publish([['a']])
    const getPages = bench.metadata.getPages.bind(bench.metadata)
    bench.metadata.getPages = async (ids) => ids.map(() => undefined)

    const figures = await bench.look()
    bench.metadata.getPages = getPages
    await bench.pass(6000)

    expect(figures).toMatchObject({ chunks: 0, isCurrent: false })
    expect(counts(image)).toEqual([2])
    expect(await bench.figures()).toMatchObject({ chunks: 1, isCurrent: true })
  })

  test('that nobody trusted has signed are passed over', async () => {
    await start('abc')
    const image = await bench.publish([['a']])
    const getRecords = bench.metadata.getRecords.bind(bench.metadata)
    bench.metadata.getRecords = async (names, options) => {
      const records = await getRecords(names, options)
      return records.map((record) => {
        if (record === undefined) return undefined
        const signature = record.envelope.signature.toReversed()
        return Object.assign({}, record, { envelope: { ...record.envelope, signature } })
      })
    }

    const figures = await bench.look()

    expect(counts(image)).toEqual([1])
    expect(figures).toMatchObject({ chunks: 0, isCurrent: false })
  })
})

describe('metadata providers', () => {
  const silent = {
    id: 'silent',
    store: {
      scan: async () => {
        throw new Error('connection refused')
      }
    }
  }

  test('one of which is away do not keep repair from its work', async () => {
    await start('abc')
    const image = await bench.publish([['a']])
    const [own] = bench.scanned
    if (own === undefined) throw new Error('nobody to scan')
    bench.scanned = [silent, own, own]

    const figures = await bench.look()

    expect(counts(image)).toEqual([2])
    expect(figures).toMatchObject({ chunks: 1, isCurrent: true })
  })

  test('of which too many are away make the figures doubtful', async () => {
    await start('abc')
    const [own] = bench.scanned
    if (own === undefined) throw new Error('nobody to scan')
    bench.scanned = [silent, own, { ...silent, id: 'another' }]

    expect(await bench.look()).toMatchObject({ isCurrent: false })
  })
})

describe('a provider manager that was just started', () => {
  test('takes nobody for lost who may still report', async () => {
    await start('bc')
    const image = await bench.publish([['b']])
    await bench.name(image.ids, [['a', 'b']])

    await bench.look()
    const early = { holders: bench.holders(image), figures: await bench.figures() }
    await bench.pass(LONG)

    expect(early.holders).toEqual(['b'])
    expect(early.figures).toMatchObject({ underReplicated: 1, pending: 0 })
    expect(bench.holders(image)).toEqual(['bc'])
  })

  test('knows nothing before its first look', async () => {
    await start('a')
    const other = await RepairBench.start('a', { settleMs: 1e6 })

    expect(await other.repairer.figures()).toBeUndefined()

    await other.stop()
  })
})

test('metrics tell what was done', async () => {
  await start('abc')
  await bench.publish([['a'], ['b']])

  await bench.look()

  expect(bench.metrics.values.get('blobswarm_repair_copied_chunks_total')).toBe(2)
  expect(
    bench.metrics.values.get('blobswarm_repair_looks_total{outcome=complete}')
  ).toBeGreaterThan(0)
})

async function secondOf({ ids }: SampleImage): Promise<Uint8Array> {
  const bytes = await bench.machine('a').provider.get(ids[1] ?? new Uint8Array())
  return bytes ?? new Uint8Array()
}
