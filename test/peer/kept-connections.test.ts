import { afterEach, describe, expect, test } from '@jest/globals'
import { noLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { PeerUnreachableError, ProtocolRefusedError } from '../../src/peer/errors.ts'
import { KeptConnections } from '../../src/peer/kept-connections.ts'
import { testMember } from '../support/channel-pair.ts'
import { ManualClock } from '../support/manual-clock.ts'

const PEER = '12D3KooWFagYbBJquDnWP9XHqPtJY5WnzYYZDWT7BJwNwQ7aCjVv'
const ADDRESS = `/ip4/127.0.0.1/tcp/4001/p2p/${PEER}`

/** A peer that answers or not, and what was tried when. */
class Scene {
  readonly clock = new ManualClock()
  readonly triedMs: number[] = []
  answer: Error | 'connected' = 'connected'
  #isConnected = false
  readonly #listeners = new Set<() => void>()
  readonly kept = new KeptConnections(
    {
      clock: this.clock,
      random: () => 1,
      log: noLogger.forComponent('test'),
      connect: async () => this.#connect(),
      isConnected: () => this.#isConnected,
      onChanged: (listener) => {
        this.#listeners.add(listener)
        return () => this.#listeners.delete(listener)
      }
    },
    { minBackoffMs: 100, maxBackoffMs: 400, refusedBackoffMs: 9000 }
  )

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 100) {
      await nextTurn()
      this.clock.advance(100)
    }
    await nextTurn()
  }

  lose(): void {
    this.#isConnected = false
    for (const listener of this.#listeners) listener()
  }

  #connect() {
    this.triedMs.push(this.clock.now())
    if (this.answer instanceof Error) throw this.answer
    this.#isConnected = true
    return testMember(PEER)
  }
}

const scenes: Scene[] = []
afterEach(async () => {
  await Promise.all(scenes.splice(0).map(async ({ kept }) => kept.stop()))
})

function newScene(): Scene {
  const scene = new Scene()
  scenes.push(scene)
  return scene
}

describe('a kept connection', () => {
  test('is made once and left alone while it lasts', async () => {
    const scene = newScene()

    scene.kept.keep(ADDRESS)
    scene.kept.keep(ADDRESS)
    await scene.pass(5000)

    expect(scene.triedMs).toEqual([0])
  })

  test('is made again at once when it is lost', async () => {
    const scene = newScene()
    scene.kept.keep(ADDRESS)
    await scene.pass(1000)

    scene.lose()
    await scene.pass(100)

    expect(scene.triedMs).toEqual([0, 1000])
  })

  test('that is lost as soon as it is made is not made again at once', async () => {
    const scene = newScene()
    scene.kept.keep(ADDRESS)
    await nextTurn()

    scene.lose()
    await scene.pass(200)

    expect(scene.triedMs).toEqual([0, 100])
  })

  test('is tried again ever more rarely, up to a limit', async () => {
    const scene = newScene()
    scene.answer = new PeerUnreachableError(PEER, 'connection refused')

    scene.kept.keep(ADDRESS)
    await scene.pass(1900)

    expect(scene.triedMs).toEqual([0, 100, 300, 700, 1100, 1500, 1900])
  })

  test('is left alone for longer each time by a peer that soon lets it go again', async () => {
    const scene = newScene()
    scene.kept.keep(ADDRESS)

    for (let losses = 0; losses < 5; losses++) {
      await scene.pass(1000)
      scene.lose()
      await scene.pass(14_000)
    }

    expect(scene.triedMs).toEqual([0, 1000, 16_000, 34_000, 52_000, 73_000])
  })

  test('is hardly tried again when the peer refused', async () => {
    const scene = newScene()
    scene.answer = new ProtocolRefusedError(PEER, '/blobswarm/hello/1', 'not a member')

    scene.kept.keep(ADDRESS)
    await scene.pass(8900)

    expect(scene.triedMs).toEqual([0])
  })

  test('is not made again after its release', async () => {
    const scene = newScene()
    scene.kept.keep(ADDRESS)
    await scene.pass(100)

    scene.kept.release(ADDRESS)
    scene.lose()
    await scene.pass(1000)

    expect(scene.triedMs).toEqual([0])
  })

  test('must say whom it leads to', () => {
    const scene = newScene()

    expect(() => scene.kept.keep('/ip4/127.0.0.1/tcp/4001')).toThrow('/p2p/')
  })
})
