import type { Metrics } from '../kernel/metrics.js'
import type { Stage } from './stages.js'

export interface RevocationMetrics {
  acknowledged(status: string, count: number): void
  /** One resolved stage. A negative duration is the mark of skewed clocks: counted, and observed as 0. */
  resolved(stage: Stage, eventType: string, durationMs: number): void
}

/**
 * Registers the room's metrics, once per process. Delivery gets `resolved` as an argument and calls it with
 * `received` for each 202 or ack.
 * @param eventTypes the types that get a label of their own; all others are `other`, so labels stay bounded
 */
export function createRevocationMetrics(metrics: Metrics, eventTypes: readonly string[]): RevocationMetrics {
  const labels = new Map(eventTypes.map((type) => [type, eventTypeLabel(type)]))
  const acknowledgements = metrics.counter(
    'firebreak_acknowledgements_total',
    'Entries that enforcement points reported, by what became of them.',
    ['status'],
  )
  const timeToRevoke = metrics.histogram(
    'firebreak_time_to_revoke_seconds',
    'From accepting an event to the stage at one point, resolved samples only.',
    ['stage', 'event_type'],
  )
  const clockSkew = metrics.counter(
    'firebreak_clock_skew_total',
    'Durations that came out negative and were counted as 0.',
    ['stage'],
  )
  return {
    acknowledged: (status, count) => count > 0 && acknowledgements.add({ status }, count),
    resolved(stage, eventType, durationMs) {
      if (durationMs < 0) clockSkew.add({ stage })
      timeToRevoke.observe(Math.max(0, durationMs) / 1000, {
        stage,
        event_type: labels.get(eventType) ?? 'other',
      })
    },
  }
}

/** `https://schemas.openid.net/secevent/caep/event-type/session-revoked` → `caep/session-revoked`; so with SCIM's. */
function eventTypeLabel(type: string): string {
  const match =
    /\/secevent\/([^/]+)\/event-type\/([^/]+)$/.exec(type) ?? /^urn:ietf:params:(scim):event:(.+)$/.exec(type)
  return match ? `${match[1]}/${match[2]}` : type
}
