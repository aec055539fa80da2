import { afterEach, expect, test } from '@jest/globals'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { MOVER_PROTOCOL } from '../../../src/peer/protocols/mover.ts'
import { MoverFinder, type MoverFinderOptions } from '../../../src/peer/remote/mover-finder.ts'
import type { ImageDirectory, Role } from '../../../src/peer/types.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { WaitingLogger } from '../../support/waiting-logger.ts'

const finders: MoverFinder[] = []

afterEach(async () => {
  await Promise.all(finders.splice(0).map(async (finder) => finder.stop()))
})

/** A DHT in which everybody finds the same. */
function directoryOf(peers: readonly string[]): ImageDirectory {
  return {
    announce: () => {},
    withdraw: () => {},
    find: async function* () {
      yield* peers
    }
  }
}

function setUp(announced: readonly string[], options: Partial<MoverFinderOptions> = {}) {
  const network = new MemoryNetwork()
  const node = network.node('front')
  const directory = directoryOf(announced)
  const logger = new WaitingLogger()
  const finder = new MoverFinder(
    { node, directory, clock: systemClock, logger },
    { isMover: false, isFront: true, minIntervalMs: 5, ...options }
  )
  finders.push(finder)
  const join = async (peerId: string, role: Role, isMover: boolean): Promise<void> => {
    const member = network.node(peerId, { roles: new Set([role]) })
    if (isMover) await member.serve(MOVER_PROTOCOL, async (channel) => channel.close())
  }
  return { network, finder, logger, join }
}

test('movers are found among the members and in the DHT, and nobody else', async () => {
  const { finder, logger, join } = setUp(['announced', 'liar', 'nowhere'])
  await join('member', 'gridftp', true)
  await join('announced', 'gridftp', true)
  await join('front-only', 'gridftp', false)
  await join('liar', 'deploy', true)
  const found = [logger.next(/data mover member/), logger.next(/data mover announced/)]

  await finder.start()
  await Promise.all(found)

  expect(finder.list().map(({ id }) => id)).toEqual(['announced', 'member'])
})

test('a mover whose connection is gone is not used', async () => {
  const { network, finder, logger, join } = setUp([])
  await join('mover', 'gridftp', true)
  const found = logger.next(/found the data mover/)
  await finder.start()
  await found

  network.remove('mover')

  expect(finder.list()).toEqual([])
})

test('no more movers are used than a transfer may have', async () => {
  const { finder, logger, join } = setUp([], { maxMovers: 2 })
  for (const name of ['a', 'b', 'c']) await join(name, 'gridftp', true)
  const found = logger.next(/found the data mover c/)

  await finder.start()
  await found

  expect(finder.list().map(({ id }) => id)).toEqual(['a', 'b'])
})

test('one that is no front looks for nobody', async () => {
  const { finder, join } = setUp([], { isFront: false })
  await join('mover', 'gridftp', true)

  await finder.start()

  expect(finder.list()).toEqual([])
})

test('intervals that cannot be are refused', () => {
  const components = {
    node: new MemoryNetwork().node('front'),
    directory: directoryOf([]),
    clock: systemClock,
    logger: noLogger
  }
  const options = { isMover: false, isFront: true, minIntervalMs: 10, maxIntervalMs: 5 }

  expect(() => new MoverFinder(components, options)).toThrow(RangeError)
})
