import { beforeEach, describe, expect, test } from '@jest/globals'
import { Agent, type AgentService } from '../../src/agent/agent.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'

let calls: string[]
let logger: MemoryLogger
beforeEach(() => {
  calls = []
  logger = new MemoryLogger()
})

function service(name: string, faults: Partial<AgentService> = {}): AgentService {
  return {
    name,
    start: async (options) => {
      calls.push(`start ${name}`)
      await faults.start?.(options)
    },
    stop: async () => {
      calls.push(`stop ${name}`)
      await faults.stop?.()
    }
  }
}

function agentOf(...services: AgentService[]): Agent {
  const ready = { peerId: 'p', addresses: [], socket: '/s', pid: 1 }
  return new Agent(services, () => ready, logger.forComponent('test'))
}

const { signal } = new AbortController()
const fail = async (): Promise<never> => {
  throw new Error('broken')
}

describe('an agent', () => {
  test('starts its services in order and stops them in reverse', async () => {
    const agent = agentOf(service('a'), service('b'))

    await agent.start({ signal })
    await agent.stop()

    expect(calls).toEqual(['start a', 'start b', 'stop b', 'stop a'])
  })

  test('starts also what a service adds while it starts', async () => {
    const agent: Agent = agentOf(
      service('a', { start: async () => agent.add([service('c')]) }),
      service('b')
    )

    await agent.start({ signal })

    expect(calls).toEqual(['start a', 'start b', 'start c'])
  })

  test('names what does not run yet', async () => {
    const waiting: string[][] = []
    const note = { start: async () => void waiting.push(agent.notReady) }
    const agent: Agent = agentOf(service('a', note), service('b', note))

    await agent.start({ signal })

    expect(waiting).toEqual([['a', 'b'], ['b']])
    expect(agent.notReady).toEqual([])
  })

  test('stops once, however often it is asked', async () => {
    const agent = agentOf(service('a'))
    await agent.start({ signal })

    await Promise.all([agent.stop(), agent.stop()])
    await agent.stop()

    expect(calls).toEqual(['start a', 'stop a'])
  })

  test('can be stopped before it was started, and starts no more', async () => {
    const agent = agentOf(service('a'))

    await agent.stop()

    await expect(agent.start({ signal })).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
    expect(calls).toEqual([])
  })
})

describe('an agent that fails half-way', () => {
  test('stops what was started, what failed too, and says why', async () => {
    const agent = agentOf(service('a'), service('b', { start: fail }), service('c'))

    await expect(agent.start({ signal })).rejects.toThrow('broken')

    expect(calls).toEqual(['start a', 'start b', 'stop b', 'stop a'])
    expect(agent.notReady).toEqual(['b', 'c'])
  })

  test('starts nothing more once it is told to stop', async () => {
    const abort = new AbortController()
    const stop = async (): Promise<void> => abort.abort(new Error('SIGTERM received'))
    const agent = agentOf(service('a', { start: stop }), service('b'))

    await expect(agent.start({ signal: abort.signal })).rejects.toThrow('SIGTERM received')

    expect(calls).toEqual(['start a', 'stop a'])
  })

  test('stops the others when one does not stop, and logs which', async () => {
    const agent = agentOf(service('a'), service('b', { stop: fail }))
    await agent.start({ signal })

    await agent.stop()

    expect(calls.slice(2)).toEqual(['stop b', 'stop a'])
    expect(logger.lines.filter(({ level }) => level === 'error')).toMatchObject([
      { format: '%s did not stop: %e', values: ['b', new Error('broken')] }
    ])
  })
})
