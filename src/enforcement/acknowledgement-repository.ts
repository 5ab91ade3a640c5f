import { eventIdTimeMs } from '../kernel/ids.js'
import type { Database } from '../storage/database.js'
import { runSql, sql } from './sql-fragment.js'

export type AcknowledgementStatus = 'applied' | 'failed' | 'not_applicable'

interface EventRef {
  readonly eventId: string
  readonly day: string
}

/** One entry of a report, as the hub received it. */
export interface Acknowledgement {
  receiverId: string
  eventId: string
  /** When the event was accepted, which its id says: ms, and the UTC day `YYYY-MM-DD`. */
  acceptedAtMs: number
  day: string
  streamId?: string
  status: AcknowledgementStatus
  replica: string
  reason?: string
  streamsCut?: number
  /** Shared clock, ms. */
  reportedAtMs: number
}

/** One delivery that an entry speaks of. */
export interface AcknowledgedDelivery {
  /** Place of the entry in the batch. */
  index: number
  streamId: string
  eventId: string
  eventType: string
  acceptedAtMs: number
  expects: number
  /** False: this status of this replica was there already. */
  inserted: boolean
}

/** Names of replicas that one delivery keeps reports of. */
const MAX_REPLICAS = 256

interface Row {
  ord: number
  stream_id: string
  event_id: string
  type: string
  accepted_ms: number
  expects: number
  inserted: boolean
}

/**
 * Sole writer of `acknowledgements`; also marks `latency_dirty_hours`. One statement for a whole batch: it looks
 * the deliveries up where they stand now (open, finished or parked), so one that moves meanwhile is seen once.
 *
 * An entry counts for the caller's streams that got the SET: it was received on them, or handed out
 * (`delivered_at` is set). What was superseded, discarded, deleted or parked before that counts for nobody.
 * The first request of a push is written before its row says so, and a report can be faster than the row. Who knows
 * a jti got it from the hub (it cannot be made up), so an open delivery that the table does not call handed out counts when
 * - it is the only one that the caller has of this event, or
 * - its stream is pushed to, and the entry names that stream or no stream of the caller is said to have got it.
 * A poll says so before it answers, so a polled stream beside another one never counts before that.
 */
export function createAcknowledgementRepository(db: Database) {
  return {
    async record(entries: readonly Acknowledgement[]): Promise<AcknowledgedDelivery[]> {
      if (entries.length === 0) return []
      const rows = await runSql<Row>(db, recordStatement(entries))
      return rows.map((row) => ({
        index: row.ord - 1,
        streamId: row.stream_id,
        eventId: row.event_id,
        eventType: row.type,
        acceptedAtMs: row.accepted_ms,
        expects: row.expects,
        inserted: row.inserted,
      }))
    },

    /** Takes away what enforcement points wrote about these events; what they reported, and when, stays. */
    async eraseReasons(events: readonly EventRef[]): Promise<void> {
      await runSql(db, eraseStatement(events))
    },
  }
}

export type AcknowledgementRepository = ReturnType<typeof createAcknowledgementRepository>

function eraseStatement(events: readonly EventRef[]) {
  const ids = events.map((event) => event.eventId)
  const days = [...new Set(events.map((event) => event.day))]
  const times = ids.map(eventIdTimeMs)
  // The id of an event holds its accept time, so the index by accept time finds its deliveries.
  return sql`
    update acknowledgements a set reason = null from deliveries d
    where d.day = any(${days}::date[]) and d.event_id = any(${ids}::uuid[])
      and d.accepted_at between to_timestamp(${Math.min(...times)}::float8 / 1000)
        and to_timestamp(${Math.max(...times) + 1}::float8 / 1000)
      and a.stream_id = d.stream_id and a.event_id = d.event_id and a.day = d.day and a.day = any(${days}::date[])
      and a.reason is not null`
}

function recordStatement(entries: readonly Acknowledgement[]) {
  const column = (read: (entry: Acknowledgement) => unknown) => entries.map(read)
  const days = [...new Set(column((entry) => entry.day))]
  // Literal days prune the partitions when planning; a day without a partition can hold no delivery.
  return sql`
    with days as materialized (
      select day from unnest(${days}::date[]) day
      where to_regclass('acknowledgements_' || to_char(day, 'YYYYMMDD')) is not null
    ), asked as materialized (
      select a.* from unnest(
        ${column((e) => e.eventId)}::uuid[], ${column((e) => e.receiverId)}::uuid[],
        ${column((e) => e.day)}::date[], ${column((e) => e.acceptedAtMs / 1000)}::float8[],
        ${column((e) => e.streamId ?? null)}::uuid[], ${column((e) => e.status)}::text[],
        ${column((e) => e.replica)}::text[], ${column((e) => e.reason ?? null)}::text[],
        ${column((e) => e.streamsCut ?? null)}::int[], ${column((e) => e.reportedAtMs)}::float8[]
      ) with ordinality a(event_id, receiver_id, day, accepted_s, wanted_stream_id, status, replica, reason, streams_cut, reported_ms, ord)
      join days using (day)
    ), held as materialized (
      -- All streams of the caller that have the event; those of no wanted stream too, because they decide what counts.
      select a.*, d.stream_id, d.type, d.accepted_at, d.expects, d.handed from asked a cross join lateral (
        -- The id of an event holds its accept time, so the index by accept time finds it.
        select stream_id, receiver_id, type, accepted_at, expects, true as handed from deliveries
          where accepted_at = to_timestamp(a.accepted_s) and event_id = a.event_id
            and day = a.day and day = any(${days}::date[])
            and (outcome = 'received' or delivered_at is not null)
        union all
        select q.stream_id, q.receiver_id, q.type, q.accepted_at, q.expects, q.delivered_at is not null
          from streams s join delivery_queue q on q.stream_id = s.stream_id and q.event_id = a.event_id
            and q.lane = any('{0,1,2}'::smallint[])
          where s.receiver_id = a.receiver_id
        union all
        select stream_id, (delivery ->> 'receiver_id')::uuid, type, (delivery ->> 'accepted_at')::timestamptz,
            (delivery ->> 'expects')::smallint, true
          from parked where kind = 'delivery' and resolved_at is null and event_id = a.event_id
            and delivery ->> 'delivered_at' is not null
      ) d
      where d.receiver_id = a.receiver_id
    ), matched as materialized (
      select * from (
        select *, bool_or(handed) over per_entry as any_handed, count(*) over per_entry as streams
        from held window per_entry as (partition by ord)
      ) h
      where (wanted_stream_id is null or wanted_stream_id = stream_id)
        and (handed
          or streams = 1
          or ((wanted_stream_id is not null or not any_handed) and exists (
            select from streams s where s.stream_id = h.stream_id and s.delivery_method = 'push')))
    ), found as materialized (
      -- A replica's name is free text: without a bound one receiver fills the table with reports of one delivery.
      select m.* from matched m join (
        select d.*, h.replicas + row_number() over (
          partition by d.stream_id, d.event_id, d.known order by d.replica) as place
        from (
          select distinct stream_id, event_id, replica, exists (
            select from acknowledgements k where k.day = any(${days}::date[]) and k.day = m.day
              and k.stream_id = m.stream_id and k.event_id = m.event_id and k.replica = m.replica) as known
          from matched m
        ) d join (
          select o.stream_id, o.event_id, count(distinct k.replica) as replicas
          from (select distinct stream_id, event_id, day from matched) o left join acknowledgements k
            on k.day = any(${days}::date[]) and k.day = o.day and k.stream_id = o.stream_id and k.event_id = o.event_id
          group by o.stream_id, o.event_id
        ) h using (stream_id, event_id)
      ) r using (stream_id, event_id, replica)
      where r.known or r.place <= ${MAX_REPLICAS}::int
    ), fresh as (
      -- In key order: two processes that record the same entries must not wait for each other in a ring.
      insert into acknowledgements
        (stream_id, event_id, day, receiver_id, stage, status, replica, reason, streams_cut, reported_at)
      select distinct on (stream_id, event_id, status, replica)
        stream_id, event_id, day, receiver_id, 'applied', status, replica, reason, streams_cut,
        to_timestamp(reported_ms / 1000)
      from found order by stream_id, event_id, status, replica, ord
      on conflict do nothing
      returning stream_id, event_id, status, replica
    ), dirty as (
      -- The update takes the row's lock: a fold under way cannot remove a mark that it has not counted.
      insert into latency_dirty_hours (hour)
      select distinct date_trunc('hour', f.accepted_at, 'UTC') from found f join fresh using (stream_id, event_id, status, replica)
        where f.accepted_at < date_trunc('hour', clock_timestamp(), 'UTC')
        order by 1
      on conflict (hour) do update set marked_at = clock_timestamp()
    )
    select f.ord, f.stream_id, f.event_id, f.type, f.expects,
      extract(epoch from f.accepted_at)::float8 * 1000 as accepted_ms,
      -- Of two entries of this batch that say the same, only the first is new.
      n.stream_id is not null and f.ord = min(f.ord) over (
        partition by f.stream_id, f.event_id, f.status, f.replica) as inserted
    from found f left join fresh n using (stream_id, event_id, status, replica)
    order by f.ord`
}
