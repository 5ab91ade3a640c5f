import type { Database } from '../storage/database.js'
import { type SampleScope, samplesSql } from './sample-sql.js'
import { runSql, sql } from './sql-fragment.js'
import type { Stage } from './stages.js'

/** Revocations of one stream that did not take effect in time. */
export interface MissedObjective {
  readonly streamId: string
  /** Null when it is gone. */
  readonly receiver: string | null
  /** What they were measured by. */
  readonly stage: Stage
  readonly count: number
}

interface Row {
  stream_id: string
  receiver: string | null
  count: number
}

/** Only reads. */
export function createMissedObjectiveReadModel(db: Database) {
  async function countOf(
    scope: SampleScope & { stage: Stage },
    objectiveMs: number,
  ): Promise<MissedObjective[]> {
    const rows = await runSql<Row>(
      db,
      sql`with ${samplesSql(scope)}
        select s.stream_id, r.name as receiver, count(*) as count
        from samples s left join receivers r on r.id = s.receiver_id
        where s.class = 'outstanding' or (s.class = 'resolved' and s.ms > ${objectiveMs}::float8)
        group by s.stream_id, r.name`,
    )
    return rows.map((row) => ({
      streamId: row.stream_id,
      receiver: row.receiver,
      stage: scope.stage,
      count: row.count,
    }))
  }

  return {
    /**
     * Of revocations that were accepted in a range (shared clock, ms) and have had `objectiveMs` since. A point is
     * measured by `applied` when it reports that, else by `received`.
     */
    async count(
      range: { fromMs: number; toMs: number; nowMs: number },
      objectiveMs: number,
    ): Promise<MissedObjective[]> {
      const shared = {
        ranges: [{ fromMs: range.fromMs, toMs: range.toMs }],
        nowMs: range.nowMs,
        deadlineMs: objectiveMs,
        tightensOnly: true,
      }
      return [
        ...(await countOf({ ...shared, stage: 'applied' }, objectiveMs)),
        ...(await countOf({ ...shared, stage: 'received', unlessExpected: 'applied' }, objectiveMs)),
      ]
    },
  }
}
