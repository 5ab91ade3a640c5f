import { type Database, sqlRows } from '../storage/database.js'
import { type Condition, columnsOf } from './alert.js'

/** Sole writer of `alert_reports`: what processes say of themselves. */
export const reportRepository = {
  /** Replaces what this process said before. */
  async replace(db: Database, processId: string, conditions: readonly Condition[]): Promise<void> {
    await db.transaction(async (trx) => {
      await sqlRows(trx, 'delete from alert_reports where process_id = ?', [processId])
      if (conditions.length === 0) return
      await sqlRows(
        trx,
        `insert into alert_reports (process_id, kind, object, summary, detail)
         select ?::uuid, * from unnest(?::text[], ?::text[], ?::text[], ?::jsonb[])`,
        [processId, ...columnsOf(conditions)],
      )
    })
  },

  /** What living processes say, once for each kind and object, with how many say it. */
  async current(db: Database, youngerThanMs: number): Promise<Condition[]> {
    const rows = await sqlRows<Condition & { processes: number }>(
      db,
      `select distinct on (kind, object) kind, object, summary, detail,
         count(*) over (partition by kind, object) as processes
       from alert_reports where reported_at > clock_timestamp() - ?::float8 * interval '1 millisecond'
       order by kind, object, reported_at desc`,
      [youngerThanMs],
    )
    return rows.map(({ processes, detail, ...row }) => ({ ...row, detail: { ...detail, processes } }))
  },

  /** Of processes that are gone. */
  async forget(db: Database, olderThanMs: number): Promise<void> {
    await sqlRows(
      db,
      `delete from alert_reports where reported_at < clock_timestamp() - ?::float8 * interval '1 millisecond'`,
      [olderThanMs],
    )
  },
}
