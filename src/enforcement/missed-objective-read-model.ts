import { LANES, type Lane } from '../secevent/event.js'
import { type Database, sqlRows } from '../storage/database.js'
import { type SampleScope, samplesSql, type TimeRange } from './sample-sql.js'
import { runSql, sql } from './sql-fragment.js'
import type { Stage } from './stages.js'

/** Revocations of one stream and lane that did not take effect in time. */
export interface MissedObjective {
  readonly streamId: string
  readonly lane: Lane
  /** Null when it is gone. */
  readonly receiver: string | null
  /** What they were measured by. */
  readonly stage: Stage
  readonly count: number
}

interface Row {
  stream_id: string
  lane: number
  receiver: string | null
  count: number
}

/** One statement of a look that takes longer is given up: other alerts wait for it. */
const TIMEOUT_MS = 10_000

/** Only reads. */
export function createMissedObjectiveReadModel(db: Database, options: { timeoutMs?: number } = {}) {
  const { timeoutMs = TIMEOUT_MS } = options

  async function countOf(trx: Database, scope: SampleScope): Promise<MissedObjective[]> {
    const rows = await runSql<Row>(
      trx,
      sql`with ${samplesSql(scope)}
        select s.stream_id, s.lane, r.name as receiver, count(*) as count
        from samples s left join receivers r on r.id = s.receiver_id
        where s.class = 'outstanding' or (s.class = 'resolved' and s.ms > ${scope.deadlineMs}::float8)
        group by s.stream_id, s.lane, r.name`,
      { timeoutMs },
    )
    return rows.map((row) => ({
      streamId: row.stream_id,
      lane: LANES[row.lane] as Lane,
      receiver: row.receiver,
      stage: scope.stage,
      count: row.count,
    }))
  }

  return {
    /**
     * Of revocations that were accepted in some ranges (shared clock, ms) and have had `objectiveMs` since. A point is
     * measured by `applied` when it reports that, else by `received`.
     */
    count(
      { ranges, nowMs }: { ranges: readonly TimeRange[]; nowMs: number },
      objectiveMs: number,
    ): Promise<MissedObjective[]> {
      const shared = { ranges, nowMs, deadlineMs: objectiveMs, tightensOnly: true }
      return db.transaction(async (trx) => {
        // With statistics from when the queue was empty a scan would look cheap.
        await sqlRows(trx, 'set local enable_seqscan = off')
        return [
          ...(await countOf(trx, { ...shared, stage: 'applied' })),
          ...(await countOf(trx, { ...shared, stage: 'received', unlessExpected: 'applied' })),
        ]
      })
    },
  }
}
