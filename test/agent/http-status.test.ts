import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { controlListener } from '../../src/agent/control-api.ts'
import { HttpStatusServer } from '../../src/agent/http-status.ts'
import { PrometheusMetrics } from '../../src/agent/prometheus.ts'
import { MemoryLogger, noLogger } from '../../src/lib/logger.ts'
import { RecordedOperations } from '../support/recorded-operations.ts'

const TOKEN = 'ab'.repeat(32)

let waitingFor: string[]
let metrics: PrometheusMetrics
let operations: RecordedOperations
let logger: MemoryLogger
let server: HttpStatusServer
beforeEach(async () => {
  waitingFor = []
  metrics = new PrometheusMetrics()
  operations = new RecordedOperations()
  logger = new MemoryLogger()
  server = newServer()
  await server.start()
})
afterEach(async () => server.stop())

function newServer(listen = '127.0.0.1:0'): HttpStatusServer {
  const control = controlListener(operations, noLogger, TOKEN)
  const log = logger.forComponent('test')
  return new HttpStatusServer({ metrics, notReady: () => waitingFor, control, log }, listen)
}

async function get(path: string, headers: Record<string, string> = {}): Promise<[number, string]> {
  const response = await fetch(`http://${server.address}${path}`, { headers })
  return [response.status, await response.text()]
}

describe('status over HTTP', () => {
  test('is well as long as it answers', async () => {
    waitingFor = ['gridftp']

    expect(await get('/healthz')).toEqual([200, 'ok\n'])
  })

  test('is ready when nothing is waited for, and else says for what', async () => {
    waitingFor = ['gridftp', 'http']
    expect(await get('/readyz')).toEqual([503, 'waiting for gridftp, http\n'])

    waitingFor = []
    expect(await get('/readyz?verbose')).toEqual([200, 'ready\n'])
  })

  test('has metrics', async () => {
    metrics.counter('blobswarm_test_total', { help: 'Tests' }).add(3)

    const [status, text] = await get('/metrics')

    expect(status).toBe(200)
    expect(text).toContain('blobswarm_test_total 3')
  })

  test('goes on when a metric cannot be read, and logs which page failed', async () => {
    metrics.gauge('blobswarm_test_broken', {
      help: 'Broken',
      read: () => {
        throw new Error('no reading')
      }
    })

    expect(await get('/metrics')).toEqual([500, 'failed\n'])
    expect(await get('/healthz')).toEqual([200, 'ok\n'])
    expect(logger.lines).toMatchObject([{ level: 'error', values: ['/metrics', {}] }])
  })

  test.each(['/', '/nothing', '/api', '/api/v2/status', '//['])(
    'has nothing at %s',
    async (path) => {
      expect(await get(path)).toEqual([404, 'not found\n'])
    }
  )

  test('is refused where somebody else listens, naming the address', async () => {
    const second = newServer(server.address)

    await expect(second.start()).rejects.toMatchObject({
      code: 'ERR_LISTEN',
      message: expect.stringMatching(
        new RegExp(`^HTTP status cannot listen on ${server.address}: .*EADDRINUSE`)
      )
    })
    await second.stop()
  })
})

describe('the control API over TCP', () => {
  test.each([
    ['no token', {}],
    ['another token', { authorization: `Bearer ${'cd'.repeat(32)}` }],
    ['a shorter token', { authorization: 'Bearer ab' }],
    ['another scheme', { authorization: `Basic ${TOKEN}` }]
  ])('is refused with %s, whatever is asked', async (_name, headers) => {
    for (const path of ['/api/v1/ls?path=/', '/api/v1/cat?ref=/secret', '/api/v1/nothing']) {
      const [status, text] = await get(path, headers)

      expect(status).toBe(401)
      expect(JSON.parse(text)).toMatchObject({ error: { code: 'ERR_UNAUTHORIZED' } })
      expect(text).not.toMatch(/secret|ab{4}/)
    }
    expect(operations.calls).toEqual([])
  })

  test('answers who has the token', async () => {
    const [status, text] = await get('/api/v1/status', { authorization: `Bearer ${TOKEN}` })

    expect(status).toBe(200)
    expect(JSON.parse(text)).toEqual({ peerId: 'me' })
  })
})
