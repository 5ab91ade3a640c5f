import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

type Labels = Record<string, string>

export interface CounterMetric {
  add(labels?: Labels, value?: number): void
}

export interface HistogramMetric {
  /** Base units: seconds, bytes. */
  observe(value: number, labels?: Labels): void
}

export interface GaugeMetric {
  set(value: number, labels?: Labels): void
}

/** The one registry. Names start with `firebreak_`, use base units, `_total` only on counters. */
export interface Metrics {
  counter(name: string, help: string, labelNames?: string[]): CounterMetric
  gauge(name: string, help: string, labelNames?: string[]): GaugeMetric
  histogram(name: string, help: string, labelNames?: string[], buckets?: number[]): HistogramMetric
  /** Runs before each scrape, to set gauges that cost a query. */
  beforeScrape(collect: () => Promise<void>): void
  render(): Promise<string>
}

const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
/** Gauges of prom-client that end like counters, which promtool refuses; each is the sum of one that stays. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
]

export function createMetrics(options: { processMetrics?: boolean } = {}): Metrics {
  const registry = new Registry()
  if (options.processMetrics) {
    collectDefaultMetrics({ register: registry })
    for (const name of MISNAMED) registry.removeSingleMetric(name)
  }
  const collectors: (() => Promise<void>)[] = []
  const registers = [registry]
  return {
    counter(name, help, labelNames = []) {
      const metric = new Counter({ name, help, labelNames, registers })
      return { add: (labels = {}, value = 1) => metric.inc(labels, value) }
    },
    gauge(name, help, labelNames = []) {
      const metric = new Gauge({ name, help, labelNames, registers })
      return { set: (value, labels = {}) => metric.set(labels, value) }
    },
    histogram(name, help, labelNames = [], buckets = LATENCY_BUCKETS) {
      const metric = new Histogram({ name, help, labelNames, buckets, registers })
      return { observe: (value, labels = {}) => metric.observe(labels, value) }
    },
    beforeScrape: (collect) => void collectors.push(collect),
    async render() {
      await Promise.allSettled(collectors.map((collect) => collect()))
      return registry.metrics()
    },
  }
}
