import { describe, expect, test } from '@jest/globals'
import { RestartMarkers } from '../../src/gridftp/restart-markers.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { type Range, RangeSet } from '../../src/lib/range-set.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { ManualClock } from '../support/manual-clock.ts'

const INTERVAL_MS = 5000

function setUp(options: { readonly base?: number; readonly claimed?: readonly Range[] } = {}) {
  const clock = new ManualClock()
  const sent: string[] = []
  const durable = new RangeSet()
  const faults: { isUnread?: boolean; checkpoint?: () => Promise<void> } = {}
  const handle = {
    checkpoint: async (): Promise<Iterable<Range>> => {
      await faults.checkpoint?.()
      return durable
    }
  }
  const logger = noLogger.forComponent('test')
  const send = ({ code, lines }: { code: number; lines: readonly string[] }): boolean => {
    if (faults.isUnread !== true) sent.push(`${code} ${lines.join()}`)
    return faults.isUnread !== true
  }
  const markers = new RestartMarkers(
    { clock, logger, handle, send },
    { intervalMs: INTERVAL_MS, ...options }
  )
  const tick = async (): Promise<void> => {
    clock.advance(INTERVAL_MS)
    for (let turn = 0; turn < 5; turn++) await nextTurn()
  }
  return { clock, sent, durable, faults, markers, tick }
}

describe('restart markers', () => {
  test('say what has become durable since the one before', async () => {
    const { markers, durable, sent, tick } = setUp()

    markers.start()
    await tick()
    durable.add(0, 10)
    durable.add(20, 30)
    await tick()
    await tick()
    durable.add(10, 25)
    await tick()
    await markers.stop()

    expect(sent).toEqual(['111 Range Marker 0-10,20-30', '111 Range Marker 10-20'])
  })

  test('count from where the blocks do', async () => {
    const { markers, durable, sent, tick } = setUp({ base: 500 })

    markers.start()
    durable.add(500, 700)
    await tick()
    await markers.stop()
    markers.finish({ start: 500, end: 900 })

    expect(sent).toEqual(['111 Range Marker 0-200', '111 Range Marker 200-400'])
  })

  test('leave out what the client has told us, and what is empty', () => {
    const { markers, sent } = setUp({ claimed: [{ start: 0, end: 10 }] })

    markers.finish({ start: 0, end: 10 })
    markers.finish({ start: 10, end: 10 })
    markers.finish({ start: 0, end: 15 })

    expect(sent).toEqual(['111 Range Marker 10-15'])
  })

  test('that the client did not read come again', async () => {
    const { markers, durable, sent, faults, tick } = setUp()

    markers.start()
    durable.add(0, 10)
    faults.isUnread = true
    await tick()
    faults.isUnread = false
    durable.add(10, 20)
    await tick()
    await markers.stop()

    expect(sent).toEqual(['111 Range Marker 0-20'])
    expect(markers.promisedBytes).toBe(20)
  })

  test('are several where there are many ranges, and no line is long', async () => {
    const { markers, durable, sent } = setUp()

    for (let at = 0; at < 5000; at++) durable.add(2 * at, 2 * at + 1)
    await markers.breakOff()
    const lengths = sent.map((line) => line.split(',').length)

    expect(lengths).toEqual(Array.from({ length: 20 }, () => 100))
    expect(markers.promisedBytes).toBe(2000)
  })

  test('end where the storage can promise nothing more, and the upload goes on', async () => {
    const { markers, durable, sent, faults, tick } = setUp()

    markers.start()
    faults.checkpoint = async () => {
      throw new Error('disk full')
    }
    durable.add(0, 10)
    await tick()
    faults.checkpoint = async () => {}
    await tick()
    await markers.breakOff()
    markers.finish({ start: 0, end: 10 })

    expect(sent).toEqual(['111 Range Marker 0-10'])
  })

  test('never run two checkpoints at once, and wait for the last one', async () => {
    const { markers, durable, sent, faults, tick } = setUp()
    const held = Promise.withResolvers<void>()
    let running = 0
    let most = 0
    faults.checkpoint = async () => {
      most = Math.max(most, ++running)
      await held.promise
      running--
    }

    markers.start()
    await tick()
    await tick()
    durable.add(0, 10)
    const broken = markers.breakOff()
    held.resolve()
    await broken

    expect(most).toBe(1)
    expect(sent).toEqual(['111 Range Marker 0-10'])
  })

  test('are not sent for a storage that keeps nothing, except the last one', async () => {
    const { clock, sent } = setUp()
    const send = ({ lines }: { lines: readonly string[] }): boolean => sent.push(...lines) > 0
    const logger = noLogger.forComponent('test')
    const markers = new RestartMarkers({ clock, logger, handle: {}, send })

    markers.start()
    clock.advance(INTERVAL_MS)
    await markers.breakOff()
    markers.finish({ start: 0, end: 3 })

    expect(sent).toEqual(['Range Marker 0-3'])
  })
})
