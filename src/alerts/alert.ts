/** Everything that is told. The documents have the same list, with what to do: docs/operating.md. */
export const ALERT_KINDS = [
  'stream_failing',
  'upstream_failing',
  'keys_unavailable',
  'conflicting_repeat',
  'sets_parked',
  'objective_missed',
  'broker_fallback',
  'delivery_lag',
  'clock_skew',
  'certificate_ending',
] as const
export type AlertKind = (typeof ALERT_KINDS)[number]

/** `critical`: revocations do not take effect now. */
export const SEVERITIES = ['critical', 'warning'] as const
export type Severity = (typeof SEVERITIES)[number]

export const SEVERITY: Readonly<Record<AlertKind, Severity>> = {
  stream_failing: 'critical',
  upstream_failing: 'critical',
  keys_unavailable: 'warning',
  conflicting_repeat: 'warning',
  sets_parked: 'warning',
  objective_missed: 'critical',
  broker_fallback: 'warning',
  delivery_lag: 'critical',
  clock_skew: 'warning',
  certificate_ending: 'warning',
}

/** Something that is not as it should be now. One alert at a time is open for a kind and object. */
export interface Condition {
  readonly kind: AlertKind
  /** What it is about: `stream:<id>`, `lane:<name>`, `log:kafka`, `clock:<host>`, `source:<id>`, `issuer:<url>`. */
  readonly object: string
  /** One line for a person. Names of receivers and sources at most, nothing of an event. */
  readonly summary: string
  /** Figures and names, snake_case. */
  readonly detail: Readonly<Record<string, unknown>>
}

export interface Alert extends Condition {
  readonly id: string
  readonly severity: Severity
  readonly openedAt: Date
  readonly lastSeenAt: Date
  readonly resolvedAt: Date | null
  /** How often it was over in the hour before it was opened. */
  readonly reopened: number
}

/** Looks for conditions of some kinds. A look that throws says nothing about them: they neither open nor end. */
export interface Probe {
  readonly kinds: readonly AlertKind[]
  look(): Promise<readonly Condition[]>
  /** Another process looks now: what was seen until here is no longer this one's. */
  forget?(): void
}

export const keyOf = ({ kind, object }: Pick<Condition, 'kind' | 'object'>): string => `${kind} ${object}`

/** Columns of conditions, as `unnest` takes them: kind, object, summary, detail. */
export const columnsOf = (conditions: readonly Condition[]) => [
  conditions.map(({ kind }) => kind),
  conditions.map(({ object }) => object),
  conditions.map(({ summary }) => summary),
  conditions.map(({ detail }) => JSON.stringify(detail)),
]

/** As the API, the webhook and the lines show it. */
export function renderAlert(alert: Alert) {
  return {
    id: alert.id,
    kind: alert.kind,
    object: alert.object,
    severity: alert.severity,
    state: alert.resolvedAt ? 'resolved' : 'open',
    summary: alert.summary,
    detail: alert.detail,
    opened_at: alert.openedAt.toISOString(),
    last_seen_at: alert.lastSeenAt.toISOString(),
    resolved_at: alert.resolvedAt?.toISOString() ?? null,
    reopened: alert.reopened,
  }
}

/** 300 → `5 min`: for a summary. */
export function spell(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  return `${Math.round(seconds / 3_600)} h`
}
