import type { CounterMetric, HistogramMetric, Metrics } from '../kernel/metrics.js'
import type { Lane } from '../secevent/event.js'
import type { EventLog, LogItem } from './event-log.js'

export type LogName = 'postgres' | 'kafka'

/** What both logs count, under the same names. */
export interface LogMetrics {
  appended(log: LogName, lane: Lane, records: number, seconds: number): void
  appendFailed(log: LogName, lane: Lane): void
  read(log: LogName, lane: Lane, items: readonly LogItem[]): void
  handlerFailed(log: LogName, lane: Lane): void
}

const known = new WeakMap<Metrics, LogMetrics>()

/** The same object for the same registry, since a metric can be registered only once. */
export function logMetricsOf(metrics: Metrics): LogMetrics {
  let own = known.get(metrics)
  if (!own) {
    own = createLogMetrics(metrics)
    known.set(metrics, own)
  }
  return own
}

function createLogMetrics(metrics: Metrics): LogMetrics {
  const labels = ['log', 'lane']
  const counter = (name: string, help: string, extra: string[] = []): CounterMetric =>
    metrics.counter(`firebreak_log_${name}_total`, help, [...labels, ...extra])
  const appended = counter('appended_records', 'Records made durable in the event log.')
  const failed = counter('append_failures', 'Flushes that the event log did not confirm.')
  const read = counter('read_records', 'Records handed to fan-out, repeats included.')
  const rejected = counter('rejected_records', 'Records that were not believed, by reason.', ['reason'])
  const retries = counter('handler_failures', 'Batches that fan-out did not finish and will get again.')
  const seconds: HistogramMetric = metrics.histogram(
    'firebreak_log_append_seconds',
    'How long one flush to the event log took.',
    labels,
  )
  return {
    appended(log, lane, records, duration) {
      appended.add({ log, lane }, records)
      seconds.observe(duration, { log, lane })
    },
    appendFailed: (log, lane) => failed.add({ log, lane }),
    read(log, lane, items) {
      read.add({ log, lane }, items.length)
      for (const { rejected: found } of items) if (found) rejected.add({ log, lane, reason: found.reason })
    },
    handlerFailed: (log, lane) => retries.add({ log, lane }),
  }
}

/** Gauges of what fan-out has not read yet, asked for at each scrape. */
export function exposeLag(metrics: Metrics, log: Pick<EventLog, 'lag'>): void {
  const records = metrics.gauge(
    'firebreak_log_lag_records',
    'Accepted events that fan-out has not settled yet.',
    ['lane'],
  )
  const oldest = metrics.gauge('firebreak_log_lag_oldest_seconds', 'Age of the oldest of these events.', [
    'lane',
  ])
  metrics.beforeScrape(async () => {
    for (const lag of await log.lag()) {
      records.set(lag.records, { lane: lag.lane })
      oldest.set(lag.oldestAgeS, { lane: lag.lane })
    }
  })
}
