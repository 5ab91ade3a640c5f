import type { TimeCursor } from '../http/page.js'
import { newId } from '../kernel/ids.js'
import { LANE_NUMBER, type Lane, type SecurityEvent } from '../secevent/event.js'
import { type Database, sqlRows, type Transaction } from '../storage/database.js'
import type { EventRef } from './fan-out-repository.js'
import { ERASED, RESULT_COLUMNS } from './result-repository.js'

export interface ParkedRecord {
  readonly code: string
  readonly reason: string
  readonly lane: Lane
  readonly eventId?: string
  /** Encrypted. */
  readonly record: Buffer
}

export interface ParkedRow {
  id: string
  kind: 'delivery' | 'event' | 'record'
  parked_at: Date
  code: string
  reason: string
  lane: number | null
  stream_id: string | null
  event_id: string | null
  type: string | null
  txn: string | null
  resolved_at: Date | null
  resolution: string | null
}

export interface SealedRecord {
  readonly id: string
  readonly parkedDay: string
  readonly record: Buffer
}

export interface ParkedFilter {
  readonly streamId?: string | undefined
  readonly txn?: string | undefined
  readonly type?: string | undefined
  readonly state: 'open' | 'resolved' | 'all'
  readonly from?: string | undefined
  readonly to?: string | undefined
  /** Rows older than this (`parked_at`, `id`). */
  readonly after?: TimeCursor | undefined
  readonly limit: number
}

const LIST_COLUMNS = [
  'id',
  'kind',
  'parked_at',
  'code',
  'reason',
  'lane',
  'stream_id',
  'event_id',
  'type',
  'txn',
  'resolved_at',
  'resolution',
] as const

/** What a replayed delivery keeps of its first life; the rest starts afresh. */
const REPLAYED_COLUMNS = `stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id, order_hash,
  accepted_at, event_timestamp, expects, rendering, delivered_at`

/** Writer of `parked` for records and events, and of what a person decides about a parked item. */
export const parkedRepository = {
  async parkRecords(trx: Transaction, records: readonly ParkedRecord[]): Promise<void> {
    if (records.length === 0) return
    await trx('parked').insert(
      records.map((record) => ({
        id: newId(),
        kind: 'record',
        code: record.code,
        reason: record.reason,
        lane: LANE_NUMBER[record.lane],
        event_id: record.eventId ?? null,
        record: record.record,
      })),
    )
  },

  async parkEvents(trx: Transaction, events: readonly SecurityEvent[]): Promise<void> {
    if (events.length === 0) return
    await trx('parked').insert(
      events.map((event) => ({
        id: newId(),
        kind: 'event',
        code: event.quarantine ?? 'quarantined',
        reason: 'Accepted from its issuer but not sent on: the event is unknown or not well-formed.',
        lane: LANE_NUMBER[event.lane],
        event_id: event.eventId,
        type: event.type,
        txn: event.txn,
      })),
    )
  },

  async list(db: Database, filter: ParkedFilter): Promise<ParkedRow[]> {
    const query = db<ParkedRow, ParkedRow[]>('parked').select(...LIST_COLUMNS)
    if (filter.state === 'open') query.whereNull('resolved_at')
    if (filter.state === 'resolved') query.whereNotNull('resolved_at')
    if (filter.streamId) query.where('stream_id', filter.streamId)
    if (filter.txn) query.where('txn', filter.txn)
    if (filter.type) query.where('type', filter.type)
    if (filter.from) query.where('parked_at', '>=', filter.from)
    if (filter.to) query.where('parked_at', '<', filter.to)
    if (filter.after) {
      query.whereRaw("(date_trunc('milliseconds', parked_at), id) < (?::timestamptz, ?::uuid)", [
        filter.after.at,
        filter.after.id,
      ])
    }
    return query.orderByRaw("date_trunc('milliseconds', parked_at) desc, id desc").limit(filter.limit)
  },

  async find(db: Database, id: string): Promise<ParkedRow | undefined> {
    return db<ParkedRow>('parked')
      .where({ id })
      .first(...LIST_COLUMNS)
  },

  /**
   * Queues a parked delivery again, due now, with its attempts forgotten; the safe-order check at claim time
   * still decides whether it may go out. Columns are named, so that one that comes later keeps its default.
   * @returns its stream and shard, or undefined when it is resolved already, its stream is gone or its event too old
   */
  async replay(trx: Transaction, id: string): Promise<{ streamId: string; shard: number } | undefined> {
    const [row] = await sqlRows<{ stream_id: string; shard: number }>(
      trx,
      `with p as (
         update parked set resolved_at = clock_timestamp(), resolution = 'replayed'
         where id = ? and kind = 'delivery' and resolved_at is null
           and exists (select 1 from streams s where s.stream_id = parked.stream_id and s.status <> 'disabled')
           and exists (select 1 from events e
             where e.event_id = parked.event_id and e.day = (parked.delivery ->> 'day')::date and e.content is not null)
         returning delivery
       )
       insert into delivery_queue (${REPLAYED_COLUMNS}, queued_at)
       select ${REPLAYED_COLUMNS}, coalesce(q.queued_at, clock_timestamp())
       from p, jsonb_populate_record(null::delivery_queue, p.delivery) q
       on conflict do nothing
       returning stream_id, shard`,
      [id],
    )
    return row && { streamId: row.stream_id, shard: row.shard }
  },

  /** Ends a parked item for good. A delivery becomes a `discarded` result. */
  async discard(trx: Transaction, id: string, reason: string): Promise<boolean> {
    const rows = await sqlRows(
      trx,
      `with p as (
         update parked set resolved_at = clock_timestamp(), resolution = 'discarded: ' || ?::text
         where id = ? and resolved_at is null returning kind, delivery
       ),
       d as (
         insert into deliveries (${RESULT_COLUMNS}, outcome, failure)
         select ${RESULT_COLUMNS}, 'discarded', ?::text
         from p, jsonb_populate_record(null::delivery_queue, p.delivery) where p.kind = 'delivery'
         on conflict do nothing
       )
       select kind from p`,
      [reason, id, reason],
    )
    return rows.length > 0
  },

  /**
   * Ends what nobody settled for so many days. A delivery becomes an `expired` result while its day is there to hold
   * one. Answers how many deliveries.
   */
  async expireOpen(db: Database, days: number): Promise<number> {
    const rows = await sqlRows(
      db,
      `with p as (
         update parked set resolved_at = clock_timestamp(), resolution = 'expired', record = null
         where resolved_at is null and parked_at < now() - make_interval(days => ?) returning kind, delivery
       ), d as (
         insert into deliveries (${RESULT_COLUMNS}, outcome, failure)
         select ${RESULT_COLUMNS}, 'expired', 'parked' from p, jsonb_populate_record(null::delivery_queue, p.delivery)
         where p.kind = 'delivery' and to_regclass('deliveries_' || to_char(day, 'YYYYMMDD')) is not null
         on conflict do nothing
       )
       select 1 from p where kind = 'delivery'`,
      [days],
    )
    return rows.length
  },

  async nextRecords(db: Database, after: string | undefined, limit: number): Promise<SealedRecord[]> {
    const rows = await sqlRows<{ id: string; parked_day: string; record: Buffer }>(
      db,
      `select id, (parked_at at time zone 'utc')::date as parked_day, record from parked
       where record is not null and (?::uuid is null or id > ?::uuid) order by id limit ?`,
      [after ?? null, after ?? null, limit],
    )
    return rows.map((row) => ({ id: row.id, parkedDay: row.parked_day, record: row.record }))
  },

  async eraseRecords(trx: Transaction, ids: readonly string[]): Promise<void> {
    await sqlRows(trx, 'update parked set record = null where id = any(?::uuid[])', [ids])
  },

  /** Takes what receivers and people said of these events. */
  async eraseWords(trx: Transaction, events: readonly EventRef[]): Promise<void> {
    await sqlRows(
      trx,
      `update parked set reason = '${ERASED}', delivery = delivery || '{"last_failure": null}',
         resolution = case when resolution like 'discarded: %' then 'discarded: ${ERASED}' else resolution end
       where kind = 'delivery' and event_id = any(?::uuid[])`,
      [events.map((event) => event.eventId)],
    )
  },

  /** Drops what was settled (replayed or discarded) before this day; what is open stays. */
  async forgetSettled(trx: Transaction, beforeDay: string): Promise<void> {
    await sqlRows(trx, 'delete from parked where resolved_at < ?::date', [beforeDay])
  },
}
