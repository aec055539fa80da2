import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { Heartbeat } from '../../src/agent/heartbeat.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { LocalProviderManager } from '../../src/chunks/provider-manager.ts'
import type { ProviderReport, ReportAnswer } from '../../src/chunks/provider-manager-types.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const INTERVAL_MS = 5000
const OPTIONS = { zone: 'rack-1', intervalMs: INTERVAL_MS, version: '9.8.7' }

/** A provider manager that can be deaf, or never answer. */
class Manager extends LocalProviderManager {
  readonly heard: ProviderReport[] = []
  asked = 0
  mood: 'listens' | 'fails' | 'is silent' = 'listens'

  override async report(report: ProviderReport): Promise<ReportAnswer> {
    this.asked++
    if (this.mood === 'fails') throw new Error('deaf')
    if (this.mood === 'is silent') await new Promise(() => {})
    this.heard.push(report)
    return await super.report(report)
  }
}

let clock: VirtualClock
let providers: Manager
let logger: MemoryLogger
let heartbeat: Heartbeat
let start: () => Heartbeat
let texts: Map<string, string>
const memory = {
  readText: async (name: string): Promise<string | undefined> => texts.get(name),
  writeText: async (name: string, text: string): Promise<void> => void texts.set(name, text)
}
beforeEach(async () => {
  texts = new Map()
  clock = new VirtualClock()
  logger = new MemoryLogger()
  providers = new Manager({ clock, random: seededRandom(1) })
  const store = new MemoryStore()
  await store.start()
  const provider = new LocalProvider('me', { store, freeBytes: async () => 1000 })
  const log = logger.forComponent('test')
  start = () => new Heartbeat({ provider, providers, clock, log, memory }, OPTIONS)
  heartbeat = start()
})
afterEach(async () => heartbeat.stop())

const { signal } = new AbortController()

describe('a heartbeat', () => {
  test('has told of the store before the agent is ready', async () => {
    await heartbeat.start({ signal })

    expect(providers.heard).toMatchObject([
      { id: 'me', zone: 'rack-1', freeBytes: 1000, chunkCount: 0, version: '9.8.7' }
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
    await clock.settle()

    abort.abort(new Error('SIGTERM received'))

    await expect(starting).rejects.toThrow('SIGTERM received')
    expect(providers.asked).toBe(1)
  })
})

const isDrained = async (): Promise<unknown> => (await providers.list())[0]?.isDraining
const said = (): boolean[] => providers.heard.map(({ isDraining }) => isDraining)

describe('draining', () => {
  test('is told with the next heartbeat, and reported from then on', async () => {
    await heartbeat.start({ signal })

    await providers.setDraining('me', true)
    await clock.advance(INTERVAL_MS * 2 + 1)
    await providers.setDraining('me', false)
    await clock.advance(INTERVAL_MS * 2)

    expect(said()).toEqual([false, false, true, true, false])
    expect(texts.get('draining')).toBe('no\n')
  })

  test('outlives a restart of the provider', async () => {
    await heartbeat.start({ signal })
    await providers.setDraining('me', true)
    await clock.advance(INTERVAL_MS)
    await heartbeat.stop()

    heartbeat = start()
    await heartbeat.start({ signal })

    expect(said()).toEqual([false, false, true])
    expect(texts.get('draining')).toBe('yes\n')
  })

  test('is known again to a manager that has forgotten everything', async () => {
    await heartbeat.start({ signal })
    await providers.setDraining('me', true)
    await clock.advance(INTERVAL_MS * 2)

    const fresh = new LocalProviderManager({ clock, random: seededRandom(1) })
    const answer = await fresh.report(providers.heard.at(-1) as ProviderReport)

    expect(answer).toEqual({ isDraining: true })
    expect(await fresh.list()).toMatchObject([{ id: 'me', isDraining: true, condition: 'live' }])
  })

  test('is not reported before it is remembered', async () => {
    await heartbeat.start({ signal })
    const { writeText } = memory
    memory.writeText = async () => {
      throw new Error('EROFS')
    }
    await providers.setDraining('me', true)
    await clock.advance(INTERVAL_MS * 2 + 1)
    memory.writeText = writeText

    expect(said()).toEqual([false, false, false])
    expect(await isDrained()).toBe(true)
    await clock.advance(INTERVAL_MS * 2)
    expect(said().at(-1)).toBe(true)
  })
})
