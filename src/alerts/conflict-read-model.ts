import { type Database, sqlRows } from '../storage/database.js'
import type { Condition, Probe } from './alert.js'

const QUIET_MS = 15 * 60_000

interface Row {
  source_id: string
  source: string | null
  count: number
  last_at: Date
}

/** Sources that gave one jti to two contents: a fault of theirs, or somebody holds their key. Only reads. */
export function createConflictProbe(db: Database): Probe {
  return {
    kinds: ['conflicting_repeat'],
    async look() {
      const rows = await sqlRows<Row>(
        db,
        `select c.source_id, t.name as source, sum(c.count)::bigint as count, max(c.last_at) as last_at
         from conflicting_repeats c left join transmitters t on t.id = c.source_id
         where c.last_at > clock_timestamp() - ?::float8 * interval '1 millisecond'
         group by c.source_id, t.name`,
        [QUIET_MS],
      )
      return rows.map(
        ({ source_id, source, count, last_at }): Condition => ({
          kind: 'conflicting_repeat',
          object: `source:${source_id}`,
          summary: `${source ?? 'A source'} used the jti of an earlier SET for another content.`,
          detail: { source_id, source, count, last_at: last_at.toISOString() },
        }),
      )
    },
  }
}
