import {
  collectDefaultMetrics,
  Counter as PromCounter,
  Gauge as PromGauge,
  Histogram as PromHistogram,
  Registry
} from 'prom-client'
import type { Counter, Gauge, Histogram, MetricOptions, Metrics } from '../lib/metrics.ts'

/** Metrics in Prometheus' text form (prom-client: the library that everybody's dashboards expect). */
export class PrometheusMetrics implements Metrics {
  readonly #registry = new Registry()

  constructor() {
    collectDefaultMetrics({ register: this.#registry, prefix: 'blobswarm_process_' })
  }

  counter(name: string, options: MetricOptions): Counter {
    const counter = new PromCounter({ name, ...this.#common(options) })
    return { add: (amount, labels) => counter.inc(labels ?? {}, amount) }
  }

  gauge(name: string, options: MetricOptions & { readonly read?: () => number }): Gauge {
    const { read } = options
    const gauge = new PromGauge({
      name,
      ...this.#common(options),
      ...(read === undefined
        ? {}
        : {
            collect(this: PromGauge) {
              this.set(read())
            }
          })
    })
    return { set: (value, labels) => gauge.set(labels ?? {}, value) }
  }

  histogram(
    name: string,
    options: MetricOptions & { readonly buckets: readonly number[] }
  ): Histogram {
    const histogram = new PromHistogram({
      name,
      ...this.#common(options),
      buckets: [...options.buckets]
    })
    return { observe: (value, labels) => histogram.observe(labels ?? {}, value) }
  }

  /** The page for `/metrics` and its content type. */
  async page(): Promise<{ readonly text: string; readonly contentType: string }> {
    return { text: await this.#registry.metrics(), contentType: this.#registry.contentType }
  }

  #common(options: MetricOptions) {
    return {
      help: options.help,
      labelNames: [...(options.labels ?? [])],
      registers: [this.#registry]
    }
  }
}
