import type { Clock } from '../kernel/clock.js'
import { type Database, sqlRows } from '../storage/database.js'
import { type Condition, type Probe, spell } from './alert.js'

/** How long an event from the future counts. */
const WINDOW_MS = 300_000
/** Of accept time in one statement. */
const SLICE_MS = 60_000
/** An event that was read may be a moment on its way into the table. */
const SETTLING_MS = 2_000
const TIMEOUT_MS = 10_000

export interface SourceClockOptions {
  readonly skewMs: number
  /** Age of the oldest accepted event of each lane that is not stored yet. */
  lag(): Promise<readonly { oldestAgeS: number }[]>
  /** The shared clock. */
  readonly clock: Pick<Clock, 'now'>
}

interface Ahead {
  readonly source_id: string
  readonly source: string | null
  readonly ahead_s: number
}

/**
 * Sources whose events say that they happened after they were accepted. Each event is looked at once, whoever sent it
 * and however few: what that costs grows with what was accepted since the last look. Only reads.
 */
export function createSourceClockProbe(db: Database, { skewMs, lag, clock }: SourceClockOptions): Probe {
  let lookedToMs: number | undefined
  let found: (Ahead & { atMs: number })[] = []

  async function catchUp(nowMs: number): Promise<void> {
    const unreadMs = Math.max(0, ...(await lag()).map(({ oldestAgeS }) => oldestAgeS * 1000))
    // What has waited for about as long as an event counts is waited for no more.
    const untilMs = nowMs - Math.min(SETTLING_MS + unreadMs, WINDOW_MS - SLICE_MS)
    let fromMs = Math.max(lookedToMs ?? 0, nowMs - WINDOW_MS)
    while (fromMs < untilMs) {
      const toMs = Math.min(untilMs, fromMs + SLICE_MS)
      const rows = await readAhead(db, { fromMs, toMs, skewMs })
      found.push(...rows.map((row) => ({ ...row, atMs: nowMs })))
      lookedToMs = toMs
      fromMs = toMs
    }
  }

  return {
    kinds: ['clock_skew'],
    async look() {
      const nowMs = clock.now()
      await catchUp(nowMs)
      found = found.filter(({ atMs }) => atMs > nowMs - WINDOW_MS)
      // The last one of each source.
      return [...new Map(found.map((row) => [row.source_id, row])).values()].map(toCondition)
    },
    forget() {
      lookedToMs = undefined
      found = []
    },
  }
}

function readAhead(
  db: Database,
  { fromMs, toMs, skewMs }: { fromMs: number; toMs: number; skewMs: number },
): Promise<Ahead[]> {
  return sqlRows<Ahead>(
    db,
    `select e.source_id, t.name as source,
       extract(epoch from max(e.event_timestamp - e.accepted_at))::float8 as ahead_s
     from events e left join transmitters t on t.id = e.source_id
     where e.accepted_at >= to_timestamp(?::float8 / 1000) and e.accepted_at < to_timestamp(?::float8 / 1000)
       and e.day between (to_timestamp(?::float8 / 1000) at time zone 'utc')::date
         and (to_timestamp(?::float8 / 1000) at time zone 'utc')::date
       and e.event_timestamp > e.accepted_at + ?::float8 * interval '1 millisecond'
     group by e.source_id, t.name`,
    [fromMs, toMs, fromMs, toMs, skewMs],
    { timeoutMs: TIMEOUT_MS },
  )
}

const toCondition = (row: Ahead): Condition => ({
  kind: 'clock_skew',
  object: `source:${row.source_id}`,
  summary: `The clock of ${row.source ?? 'a source'} is ${spell(row.ahead_s)} ahead.`,
  detail: { source_id: row.source_id, source: row.source, ahead_ms: Math.round(row.ahead_s * 1000) },
})
