import { beforeEach, expect, test } from '@jest/globals'
import { PrometheusMetrics } from '../../src/agent/prometheus.ts'

let metrics: PrometheusMetrics
beforeEach(() => {
  metrics = new PrometheusMetrics()
})

test('counts by label', async () => {
  const counter = metrics.counter('blobswarm_test_total', { help: 'Tests', labels: ['kind'] })

  counter.add(2, { kind: 'a' })
  counter.add(3, { kind: 'a' })
  counter.add(1, { kind: 'b' })

  const { text, contentType } = await metrics.page()
  expect(text).toContain('# HELP blobswarm_test_total Tests')
  expect(text).toContain('blobswarm_test_total{kind="a"} 5')
  expect(text).toContain('blobswarm_test_total{kind="b"} 1')
  expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/)
})

test('shows what a gauge was set to, or reads now', async () => {
  const now = { value: 1 }
  metrics.gauge('blobswarm_test_set', { help: 'Set' }).set(7)
  metrics.gauge('blobswarm_test_read', { help: 'Read', read: () => now.value })

  now.value = 2

  const { text } = await metrics.page()
  expect(text).toContain('blobswarm_test_set 7')
  expect(text).toContain('blobswarm_test_read 2')
})

test('sorts observations into buckets', async () => {
  const options = { help: 'Time', buckets: [0.1, 1] }
  const histogram = metrics.histogram('blobswarm_test_seconds', options)

  histogram.observe(0.05)
  histogram.observe(0.5)

  const { text } = await metrics.page()
  expect(text).toContain('blobswarm_test_seconds_bucket{le="0.1"} 1')
  expect(text).toContain('blobswarm_test_seconds_bucket{le="1"} 2')
  expect(text).toContain('blobswarm_test_seconds_count 2')
})

test('has the prefix of this program on every line', async () => {
  const { text } = await metrics.page()

  const names = Array.from(text.matchAll(/^(?:# HELP )?([a-z]\w+)/gm), ([, name = '']) => name)
  expect(names.length).toBeGreaterThan(20)
  expect(names.filter((name) => !name.startsWith('blobswarm_'))).toEqual([])
})

test('two agents in one process do not share metrics', async () => {
  metrics.counter('blobswarm_test_total', { help: 'Tests' }).add(1)

  expect((await new PrometheusMetrics().page()).text).not.toContain('blobswarm_test_total')
})
