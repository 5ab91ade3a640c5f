import { eventIdTimeMs, newId } from '../kernel/ids.js'
import { LANE_NUMBER, LANES } from '../secevent/event.js'
import { type Database, type SqlPlace, sqlRows, type Transaction } from '../storage/database.js'
import type { EventRef } from './fan-out-repository.js'
import { ALL_LANES, type DeliveryResult, seconds } from './queue-repository.js'

const DELIVERY_COLUMNS = `stream_id, event_id, day, receiver_id, lane, type, effect, txn, source_id,
  accepted_at, event_timestamp, expects, queued_at`

/** What a result takes over from a row of the queue. */
export const RESULT_COLUMNS = `${DELIVERY_COLUMNS}, delivered_at, attempts`

/** What stands instead of a receiver's words about a person. */
export const ERASED = 'erased'

/**
 * Only under a lease that is still valid on the database's clock may a result be written. The limit makes it one look
 * into the index per result: as a join it read all results once per lease.
 */
export const UNDER_LEASE = `cross join lateral (
  select from leases l where l.kind = 'delivery' and l.unit = r.shard and l.epoch = r.epoch
    and l.expires_at > clock_timestamp() limit 1) valid`

const RESULT_INPUT = `unnest(?::uuid[], ?::smallint[], ?::uuid[], ?::int[], ?::bigint[], ?::int[], ?::float8[], ?::float8[],
  ?::text[], ?::text[], ?::float8[], ?::text[], ?::uuid[])
  as r(stream_id, queue_lane, event_id, shard, epoch, attempts, delivered_s, received_s, outcome, failure, next_s, code, parked_id)`

/** Writer of `deliveries` and, beside `parked-repository`, of parked deliveries, together with what leaves `delivery_queue`. */
export const resultRepository = {
  /**
   * Writes the results of many attempts: final ones move to `deliveries`, rejected ones to `parked`, the rest get their
   * next attempt time.
   * @returns how many were written; fewer than given means that a lease was lost
   */
  async write(db: Database, results: readonly DeliveryResult[]): Promise<number> {
    const written = await writeInLanes(db, results)
    if (written === results.length) return written
    // A row that was put in order since it was taken is in another lane. To look in all lanes at once plans badly: 1,000
    // results over a fresh backlog of 300,000 rows took a second in place of 50 ms.
    const elsewhere = results.flatMap((result) =>
      LANES.filter((lane) => lane !== result.lane).map((lane) => ({ ...result, lane })),
    )
    return written + (await writeInLanes(db, elsewhere))
  },

  /** RFC 8936 acks: moves the caller's rows to `deliveries`. What is not open there is ignored. */
  async acknowledge(
    trx: SqlPlace,
    streamId: string,
    eventIds: readonly string[],
    atMs: number,
  ): Promise<{ type: string; acceptedAtMs: number }[]> {
    const rows = await sqlRows<{ type: string; accepted_ms: number }>(
      trx,
      `with gone as (
         delete from delivery_queue q where q.stream_id = ? and q.${ALL_LANES} and q.event_id = any(?::uuid[])
           and q.delivered_at is not null
         returning q.*
       ),
       done as (
         insert into deliveries (${DELIVERY_COLUMNS}, delivered_at, received_at, outcome, attempts)
         select ${DELIVERY_COLUMNS}, delivered_at, to_timestamp(?::float8), 'received', attempts from gone
         on conflict do nothing
       )
       select type, extract(epoch from accepted_at)::float8 * 1000 as accepted_ms from gone`,
      [streamId, [...eventIds], atMs / 1000],
    )
    return rows.map((row) => ({ type: row.type, acceptedAtMs: row.accepted_ms }))
  },

  /** RFC 8936 setErrs: parks each named SET with what the receiver said. Returns the events parked. */
  async reject(
    trx: SqlPlace,
    streamId: string,
    errors: readonly { eventId: string; err: string; description: string }[],
  ): Promise<string[]> {
    const rows = await sqlRows<{ event_id: string }>(
      trx,
      `with r as (select * from unnest(?::uuid[], ?::text[], ?::text[], ?::uuid[]) as r(event_id, err, description, parked_id)),
       gone as (
         delete from delivery_queue q using r where q.event_id = r.event_id and q.${ALL_LANES} and q.stream_id = ?
         returning q.*, r.err, r.description, r.parked_id
       ),
       put as (
         insert into parked (id, kind, code, reason, lane, stream_id, event_id, type, txn, delivery)
         select parked_id, 'delivery', err, err || ': ' || description, lane, stream_id, event_id, type, txn,
           to_jsonb(gone) - '{err,description,parked_id}'::text[]
         from gone
       )
       select event_id from gone`,
      [
        errors.map((error) => error.eventId),
        errors.map((error) => error.err),
        errors.map((error) => error.description),
        errors.map(() => newId()),
        streamId,
      ],
    )
    return rows.map((row) => row.event_id)
  },

  /** Drops all open work of a stream that was disabled or deleted; the rows stay visible as results. */
  async discardStream(trx: Transaction, streamId: string, outcome: 'deleted' | 'discarded'): Promise<number> {
    const rows = await sqlRows<{ event_id: string }>(
      trx,
      `with gone as (delete from delivery_queue where stream_id = ? returning *),
       done as (
         insert into deliveries (${DELIVERY_COLUMNS}, delivered_at, outcome, attempts, failure)
         select ${DELIVERY_COLUMNS}, delivered_at, ?::text, attempts, last_failure from gone on conflict do nothing
       )
       select event_id from gone`,
      [streamId, outcome],
    )
    return rows.length
  },

  /** Ends what no receiver took for so many days after its event was accepted. Answers how many SETs. */
  async expireOpen(db: Database, days: number): Promise<number> {
    const rows = await sqlRows(
      db,
      `with gone as (
         delete from delivery_queue where accepted_at < now() - make_interval(days => ?) returning *
       ), done as (
         insert into deliveries (${DELIVERY_COLUMNS}, delivered_at, outcome, attempts, failure)
         select ${DELIVERY_COLUMNS}, delivered_at, 'expired', attempts, last_failure from gone on conflict do nothing
       )
       select 1 from gone`,
      [days],
    )
    return rows.length
  },

  /** Ends rows of a poll stream that must not go out any more. */
  async finishUnsent(
    trx: Transaction,
    streamId: string,
    rows: { eventIds: readonly string[]; outcome: 'superseded' | 'discarded'; failure?: string },
  ): Promise<void> {
    if (rows.eventIds.length === 0) return
    await sqlRows(
      trx,
      `with gone as (
         delete from delivery_queue where stream_id = ? and ${ALL_LANES} and event_id = any(?::uuid[]) returning *
       )
       insert into deliveries (${DELIVERY_COLUMNS}, delivered_at, outcome, attempts, failure)
       select ${DELIVERY_COLUMNS}, delivered_at, ?::text, attempts, ?::text from gone on conflict do nothing`,
      [streamId, [...rows.eventIds], rows.outcome, rows.failure ?? null],
    )
  },

  /** Of these events, those that are still owed to a receiver: queued, or parked and not settled. */
  async findOwed(trx: Transaction, eventIds: readonly string[]): Promise<Set<string>> {
    const rows = await sqlRows<{ event_id: string }>(
      trx,
      `select q.event_id from streams s
         join delivery_queue q on q.stream_id = s.stream_id and q.${ALL_LANES} and q.event_id = any(?::uuid[])
       union
       select event_id from parked where kind = 'delivery' and resolved_at is null and event_id = any(?::uuid[])`,
      [eventIds, eventIds],
    )
    return new Set(rows.map((row) => row.event_id))
  },

  /** Ends what is owed of these events, as discarded. Answers the streams that it was owed to, one entry per SET. */
  async discardOwed(trx: Transaction, eventIds: readonly string[]): Promise<string[]> {
    const rows = await sqlRows<{ stream_id: string }>(
      trx,
      `with gone as (
         delete from delivery_queue q using streams s
         where q.stream_id = s.stream_id and q.${ALL_LANES} and q.event_id = any(?::uuid[]) returning q.*
       ), settled as (
         update parked set resolved_at = clock_timestamp(), resolution = 'discarded: ${ERASED}'
         where kind = 'delivery' and resolved_at is null and event_id = any(?::uuid[]) returning delivery
       ), owed as (
         select ${RESULT_COLUMNS} from gone
         union all
         select ${RESULT_COLUMNS} from settled, jsonb_populate_record(null::delivery_queue, settled.delivery)
       ), done as (
         insert into deliveries (${RESULT_COLUMNS}, outcome, failure)
         select ${RESULT_COLUMNS}, 'discarded', '${ERASED}' from owed on conflict do nothing
       )
       select stream_id from owed`,
      [eventIds, eventIds],
    )
    return rows.map((row) => row.stream_id)
  },

  /** Takes what receivers said of these events. */
  async eraseFailures(trx: Transaction, events: readonly EventRef[]): Promise<void> {
    const ids = events.map((event) => event.eventId)
    // An event's id holds its accept time to the millisecond, which the index finds.
    await sqlRows(
      trx,
      `update deliveries set failure = '${ERASED}'
       where day = any(?::date[]) and event_id = any(?::uuid[]) and failure is not null
         and accepted_at between to_timestamp(?::float8 / 1000) and to_timestamp(?::float8 / 1000)`,
      [[...new Set(events.map((event) => event.day))], ids, ...timesOf(ids)],
    )
  },
}

/** First and last accept time of these events, ms since the epoch. */
function timesOf(eventIds: readonly string[]): [number, number] {
  const times = eventIds.map(eventIdTimeMs)
  return [Math.min(...times), Math.max(...times) + 1]
}

/** In one statement, of the rows that are in the lane which their result names. */
async function writeInLanes(db: Database, results: readonly DeliveryResult[]): Promise<number> {
  const [row] = await sqlRows<{ written: number }>(
    db,
    `with r as materialized (select r.* from ${RESULT_INPUT} ${UNDER_LEASE}),
     gone as (
       delete from delivery_queue q using r
       where q.stream_id = r.stream_id and q.lane = r.queue_lane and q.event_id = r.event_id
         and r.outcome <> 'retry'
       returning q.*, r.outcome, r.attempts as tries, r.failure, r.delivered_s, r.received_s, r.code, r.parked_id
     ),
     done as (
       insert into deliveries (${DELIVERY_COLUMNS}, delivered_at, received_at, outcome, attempts, failure)
       select ${DELIVERY_COLUMNS}, coalesce(delivered_at, to_timestamp(delivered_s)), to_timestamp(received_s),
         outcome, tries, failure
       from gone where outcome <> 'park'
       on conflict do nothing
     ),
     put as (
       insert into parked (id, kind, code, reason, lane, stream_id, event_id, type, txn, delivery)
       select parked_id, 'delivery', code, failure, lane, stream_id, event_id, type, txn,
         to_jsonb(gone) - '{outcome,tries,failure,delivered_s,received_s,code,parked_id}'::text[]
           || jsonb_build_object('attempts', tries,
             'delivered_at', coalesce(delivered_at, to_timestamp(delivered_s)))
       from gone where outcome = 'park'
     ),
     later as (
       update delivery_queue q set attempts = r.attempts, next_attempt_at = to_timestamp(r.next_s),
         last_failure = r.failure, delivered_at = coalesce(q.delivered_at, to_timestamp(r.delivered_s))
       from r where q.stream_id = r.stream_id and q.lane = r.queue_lane and q.event_id = r.event_id
         and r.outcome = 'retry'
       returning 1
     )
     select (select count(*) from gone) + (select count(*) from later) as written`,
    [
      results.map((result) => result.streamId),
      results.map((result) => LANE_NUMBER[result.lane]),
      results.map((result) => result.eventId),
      results.map((result) => result.shard),
      results.map((result) => result.epoch),
      results.map((result) => result.attempts),
      results.map((result) => seconds(result.deliveredAtMs)),
      results.map((result) => seconds(result.receivedAtMs)),
      results.map((result) => result.outcome),
      results.map((result) => result.failure ?? null),
      results.map((result) => seconds(result.nextAttemptAtMs)),
      results.map((result) => result.code ?? null),
      results.map(() => newId()),
    ],
  )
  return row?.written ?? 0
}
