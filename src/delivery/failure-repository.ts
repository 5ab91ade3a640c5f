import { type Database, sqlRows } from '../storage/database.js'
import type { Failing } from './endpoint-health.js'
import { UNDER_LEASE } from './result-repository.js'

export interface FailureRecord extends Failing {
  readonly streamId: string
  /** Of the stream when it failed so. */
  readonly version: number
  /** The lease under which it was seen. */
  readonly shard: number
  readonly epoch: number
}

/** Sole writer of `stream_failures`: only the process that sends for a stream knows of its endpoint. */
export const failureRepository = {
  /** Streams that are gone, and those of a lease that is over, are left out. */
  async save(db: Database, records: readonly FailureRecord[]): Promise<void> {
    if (records.length === 0) return
    await sqlRows(
      db,
      `insert into stream_failures (stream_id, class, reason, failing_since, class_since, failures, last_failed_at,
         next_probe_at, version)
       select r.stream_id, r.class, r.reason, to_timestamp(r.since_s), to_timestamp(r.class_s), r.failures,
         to_timestamp(r.last_s), to_timestamp(r.next_s), r.version
       from unnest(?::uuid[], ?::int[], ?::bigint[], ?::text[], ?::text[], ?::float8[], ?::float8[], ?::int[],
         ?::float8[], ?::float8[], ?::bigint[])
         as r(stream_id, shard, epoch, class, reason, since_s, class_s, failures, last_s, next_s, version)
         join streams s using (stream_id) ${UNDER_LEASE}
       order by r.stream_id
       on conflict (stream_id) do update set class = excluded.class, reason = excluded.reason,
         failing_since = excluded.failing_since, class_since = excluded.class_since, failures = excluded.failures,
         last_failed_at = excluded.last_failed_at, next_probe_at = excluded.next_probe_at, version = excluded.version`,
      [
        records.map((record) => record.streamId),
        records.map((record) => record.shard),
        records.map((record) => record.epoch),
        records.map((record) => record.failure),
        records.map((record) => record.reason),
        records.map((record) => record.sinceMs / 1000),
        records.map((record) => record.failureSinceMs / 1000),
        records.map((record) => record.failures),
        records.map((record) => record.lastFailedAtMs / 1000),
        records.map((record) => record.nextProbeAtMs / 1000),
        records.map((record) => record.version),
      ],
    )
  },

  /** Their endpoints have answered, or are not asked any more. */
  async clear(
    db: Database,
    streams: readonly { streamId: string; shard: number; epoch: number }[],
  ): Promise<void> {
    if (streams.length === 0) return
    await sqlRows(
      db,
      `with r as materialized (
         select r.stream_id from unnest(?::uuid[], ?::int[], ?::bigint[]) as r(stream_id, shard, epoch) ${UNDER_LEASE}
       )
       delete from stream_failures f using r where f.stream_id = r.stream_id`,
      [
        streams.map(({ streamId }) => streamId),
        streams.map(({ shard }) => shard),
        streams.map(({ epoch }) => epoch),
      ],
    )
  },
}
