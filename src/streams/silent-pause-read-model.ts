import { SSF } from '../secevent/event-types.js'
import { type Database, sqlRows } from '../storage/database.js'

/** Joins `streams`, `receivers` and `delivery_queue`; only reads. */
export function createSilentPauseReadModel(db: Database) {
  return {
    /**
     * Streams that the hub paused for failing and whose endpoint nobody asks any more: they are not pushed to, or no notice
     * is owed to them. At most 100, those that are silent for longest.
     * @param streamId of this one alone
     */
    async find(settleS: number, streamId?: string): Promise<string[]> {
      const rows = await sqlRows<{ stream_id: string }>(
        db,
        `select s.stream_id from streams s join receivers r on r.id = s.receiver_id and r.enabled
         where s.status = 'paused' and s.status_by = 'hub' and s.status_cause = 'failing'
           and s.stream_id = coalesce(?::uuid, s.stream_id)
           and s.updated_at < now() - make_interval(secs => ?::int)
           and (s.delivery_method <> 'push' or not exists (
             select 1 from delivery_queue q where q.stream_id = s.stream_id and q.type = '${SSF.streamUpdated}'))
         order by s.updated_at, s.stream_id limit 100`,
        [streamId ?? null, settleS],
      )
      return rows.map((row) => row.stream_id)
    },
  }
}
