import type { CounterMetric, Metrics } from '../kernel/metrics.js'
import type { Database } from '../storage/database.js'
import { ALERT_KINDS } from './alert.js'
import { alertRepository, type Channel } from './alert-repository.js'

const CHANNELS: readonly Channel[] = ['webhook', 'log']

export function countTold(metrics: Metrics): CounterMetric {
  return metrics.counter('firebreak_alert_notices_total', 'Attempts to tell an alert, by way and outcome.', [
    'channel',
    'outcome',
  ])
}

/** Gauges, asked for at each scrape. */
export function exposeAlerts(metrics: Metrics, db: Database): void {
  const open = metrics.gauge('firebreak_alerts_open', 'Alerts that are open.', ['kind'])
  const waiting = metrics.gauge('firebreak_alert_notices_waiting', 'Notices that nobody has taken yet.', [
    'channel',
  ])
  metrics.beforeScrape(async () => {
    const [alerts, notices] = await Promise.all([
      alertRepository.countOpen(db),
      alertRepository.countNotices(db),
    ])
    for (const kind of ALERT_KINDS) open.set(alerts.get(kind) ?? 0, { kind })
    for (const channel of CHANNELS) waiting.set(notices.get(channel) ?? 0, { channel })
  })
}
