/** Values of a metric's labels; each label takes few values, never a peer or chunk id. */
export type Labels = Readonly<Record<string, string>>

export interface Counter {
  add(amount: number, labels?: Labels): void
}

export interface Gauge {
  set(value: number, labels?: Labels): void
}

export interface Histogram {
  observe(value: number, labels?: Labels): void
}

export interface MetricOptions {
  /** What is counted, for people. */
  readonly help: string
  /** Names of the labels that will be passed. @default [] */
  readonly labels?: readonly string[]
}

/**
 * Where metrics are registered, each name once. Names are `blobswarm_<folder>_<what>_<unit>`. A gauge
 * can be read on demand instead of being set.
 */
export interface Metrics {
  counter(name: string, options: MetricOptions): Counter
  gauge(name: string, options: MetricOptions & { readonly read?: () => number }): Gauge
  histogram(
    name: string,
    options: MetricOptions & { readonly buckets: readonly number[] }
  ): Histogram
}

/** Counts in memory, for tests; the key is the name and its labels in order of their names. */
export class MemoryMetrics implements Metrics {
  readonly values = new Map<string, number>()

  counter(name: string): Counter {
    return {
      add: (amount, labels) => {
        const key = keyOf(name, labels)
        this.values.set(key, (this.values.get(key) ?? 0) + amount)
      }
    }
  }

  gauge(name: string): Gauge {
    return { set: (value, labels) => void this.values.set(keyOf(name, labels), value) }
  }

  histogram(name: string): Histogram {
    return {
      observe: (_value, labels) => {
        const key = `${keyOf(name, labels)}_count`
        this.values.set(key, (this.values.get(key) ?? 0) + 1)
      }
    }
  }
}

function keyOf(name: string, labels: Labels = {}): string {
  const pairs = Object.entries(labels).toSorted(([a], [b]) => a.localeCompare(b))
  return pairs.length === 0 ? name : `${name}{${pairs.map(([k, v]) => `${k}=${v}`).join(',')}}`
}
