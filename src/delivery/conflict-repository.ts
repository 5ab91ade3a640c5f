import { LANE_NUMBER, type Lane } from '../secevent/event.js'
import { type Database, type SqlPlace, sqlRows } from '../storage/database.js'

/** Sole writer of `conflicting_repeats`: which sources gave one jti to two contents, for an alert. */
export const conflictRepository = {
  /** @param sourceIds one for each repeat */
  async note(trx: SqlPlace, lane: Lane, sourceIds: readonly string[]): Promise<void> {
    if (sourceIds.length === 0) return
    await sqlRows(
      trx,
      `insert into conflicting_repeats as c (source_id, lane, count)
       select source_id, ?::smallint, count(*) from unnest(?::uuid[]) as s(source_id) group by source_id order by source_id
       on conflict (source_id, lane) do update set last_at = clock_timestamp(),
         count = excluded.count + case when c.last_at > clock_timestamp() - interval '1 hour' then c.count else 0 end`,
      [LANE_NUMBER[lane], sourceIds],
    )
  },

  /** What was quiet for a day: its count begins anew anyhow, and its source may be gone. Waits for no fan-out. */
  async forgetQuiet(db: Database): Promise<void> {
    await sqlRows(
      db,
      `delete from conflicting_repeats where (source_id, lane) in (
         select source_id, lane from conflicting_repeats
         where last_at < clock_timestamp() - interval '1 day' for update skip locked)`,
      [],
    )
  },
}
