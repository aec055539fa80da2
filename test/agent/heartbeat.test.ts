import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { Heartbeat } from '../../src/agent/heartbeat.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { LocalProviderManager } from '../../src/chunks/provider-manager.ts'
import type { ProviderReport } from '../../src/chunks/types.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const INTERVAL_MS = 5000

/** A provider manager that can be deaf, or never answer. */
class Manager extends LocalProviderManager {
  readonly heard: ProviderReport[] = []
  asked = 0
  mood: 'listens' | 'fails' | 'is silent' = 'listens'

  override async report(report: ProviderReport): Promise<void> {
    this.asked++
    if (this.mood === 'fails') throw new Error('deaf')
    if (this.mood === 'is silent') await new Promise(() => {})
    this.heard.push(report)
    await super.report(report)
  }
}

let clock: VirtualClock
let providers: Manager
let logger: MemoryLogger
let heartbeat: Heartbeat
beforeEach(async () => {
  clock = new VirtualClock()
  logger = new MemoryLogger()
  providers = new Manager({ clock, random: seededRandom(1) })
  const store = new MemoryStore()
  await store.start()
  const provider = new LocalProvider('me', { store, freeBytes: async () => 1000 })
  const log = logger.forComponent('test')
  heartbeat = new Heartbeat({ provider, providers, clock, log }, 'rack-1', INTERVAL_MS)
})
afterEach(async () => heartbeat.stop())

const { signal } = new AbortController()

describe('a heartbeat', () => {
  test('has told of the store before the agent is ready', async () => {
    await heartbeat.start({ signal })

    expect(providers.heard).toMatchObject([
      { id: 'me', zone: 'rack-1', freeBytes: 1000, chunkCount: 0 }
    ])
  })

  test('comes again after every interval', async () => {
    await heartbeat.start({ signal })

    await clock.advance(INTERVAL_MS * 3 + 1)

    expect(providers.heard).toHaveLength(4)
  })

  test('goes on when nobody hears it, and logs the change only', async () => {
    providers.mood = 'fails'
    await heartbeat.start({ signal })
    await clock.advance(INTERVAL_MS * 3 + 1)
    providers.mood = 'listens'
    await clock.advance(INTERVAL_MS * 2)

    expect(providers.heard).toHaveLength(2)
    expect(logger.lines.map(({ format }) => format)).toEqual([
      'heartbeat not heard: %e',
      'heartbeat heard again'
    ])
  })

  test('waits for an answer no longer than two intervals', async () => {
    providers.mood = 'is silent'

    await clock.until(heartbeat.start({ signal }), INTERVAL_MS * 2)

    expect(logger.lines).toMatchObject([{ values: [{ message: 'no answer within 10000 ms' }] }])
  })

  test('ends at once while it waits for an answer', async () => {
    await heartbeat.start({ signal })
    providers.mood = 'is silent'
    await clock.advance(INTERVAL_MS)

    await heartbeat.stop()
    await clock.advance(INTERVAL_MS * 10)

    expect(providers.asked).toBe(2)
    expect(logger.lines).toEqual([])
  })

  test('ends at once when the start is given up', async () => {
    providers.mood = 'is silent'
    const abort = new AbortController()
    const starting = heartbeat.start({ signal: abort.signal })

    abort.abort(new Error('SIGTERM received'))

    await expect(starting).rejects.toThrow('SIGTERM received')
    expect(providers.asked).toBe(1)
  })
})
