import type { CounterMetric, Metrics } from '../kernel/metrics.js'

/** What became of one batch. */
export interface FanOutTally {
  stored: number
  repeats: number
  quarantined: number
  rejected: number
  queued: number
  /** Deliveries not queued, because the stream has the same fact already. */
  heldBack: number
}

export interface FanOutCounters {
  readonly conflicts: CounterMetric
  add(lane: string, tally: FanOutTally): void
}

/** One set for all lanes. */
export function fanOutCounters(metrics: Metrics): FanOutCounters {
  const events = metrics.counter(
    'firebreak_events_total',
    'Log records that fan-out settled, by what became of them.',
    ['lane', 'result'],
  )
  const queued = metrics.counter('firebreak_deliveries_queued_total', 'Deliveries queued by fan-out.', [
    'lane',
  ])
  const heldBack = metrics.counter(
    'firebreak_copies_held_back_total',
    'Deliveries not queued, because the stream has the same fact already.',
    ['lane'],
  )
  const conflicts = metrics.counter(
    'firebreak_conflicting_repeats_total',
    'SETs that reused a jti with other content.',
  )
  return {
    conflicts,
    add(lane, tally) {
      for (const result of ['stored', 'repeats', 'quarantined', 'rejected'] as const) {
        if (tally[result] > 0) events.add({ lane, result }, tally[result])
      }
      if (tally.queued > 0) queued.add({ lane }, tally.queued)
      if (tally.heldBack > 0) heldBack.add({ lane }, tally.heldBack)
    },
  }
}
