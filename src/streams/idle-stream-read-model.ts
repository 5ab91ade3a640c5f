import { type Database, sqlRows } from '../storage/database.js'

export interface IdleStream {
  readonly streamId: string
  /** The `inactivity_timeout` that has passed, seconds. */
  readonly timeoutS: number
}

/** The poll endpoint notes activity of a stream no more than once in this time, so a stream may look that much older. */
const NOTED_EVERY_S = 60

/** Joins `streams` and `receivers`; only reads. */
export function createIdleStreamReadModel(db: Database) {
  return {
    /**
     * Enabled streams whose receiver was silent for its time, oldest first, at most 100.
     * @param timeoutS of receivers without a time of their own, seconds; 0: never
     */
    async find(timeoutS: number): Promise<IdleStream[]> {
      const rows = await sqlRows<{ stream_id: string; timeout_s: number }>(
        db,
        `select s.stream_id, coalesce(r.inactivity_timeout_s, ?::int) as timeout_s
         from streams s join receivers r on r.id = s.receiver_id
         where s.status = 'enabled' and coalesce(r.inactivity_timeout_s, ?::int) > 0
           and s.active_at < now() - make_interval(secs => coalesce(r.inactivity_timeout_s, ?::int) + ?::int)
         order by s.active_at limit 100`,
        [timeoutS, timeoutS, timeoutS, NOTED_EVERY_S],
      )
      return rows.map((row) => ({ streamId: row.stream_id, timeoutS: row.timeout_s }))
    },
  }
}
