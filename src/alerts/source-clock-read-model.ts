import { type Database, sqlRows } from '../storage/database.js'
import { type Condition, type Probe, spell } from './alert.js'

const WINDOW_MS = 300_000
/** Of the newest events: enough to catch a wrong clock, and the same to read whatever the load. */
const SAMPLED = 1_000

interface Row {
  source_id: string
  source: string | null
  ahead_s: number
}

/** Sources whose events say that they happened after they were accepted. Only reads. */
export function createSourceClockProbe(db: Database, skewMs: number): Probe {
  return {
    kinds: ['clock_skew'],
    async look() {
      const rows = await sqlRows<Row>(
        db,
        `select e.source_id, t.name as source,
           extract(epoch from max(e.event_timestamp - e.accepted_at))::float8 as ahead_s
         from (
           select source_id, event_timestamp, accepted_at from events
           where accepted_at > clock_timestamp() - ?::float8 * interval '1 millisecond'
             and day >= (now() at time zone 'utc')::date - 1
           order by accepted_at desc limit ${SAMPLED}) e
         left join transmitters t on t.id = e.source_id
         where e.event_timestamp > e.accepted_at + ?::float8 * interval '1 millisecond'
         group by e.source_id, t.name`,
        [WINDOW_MS, skewMs],
      )
      return rows.map(
        (row): Condition => ({
          kind: 'clock_skew',
          object: `source:${row.source_id}`,
          summary: `The clock of ${row.source ?? 'a source'} is ${spell(row.ahead_s)} ahead.`,
          detail: { source_id: row.source_id, source: row.source, ahead_ms: Math.round(row.ahead_s * 1000) },
        }),
      )
    },
  }
}
