import type { TimeCursor } from '../http/page.js'
import { newId } from '../kernel/ids.js'
import { LANE_NUMBER, type Lane, type SecurityEvent } from '../secevent/event.js'
import { type Database, type SqlPlace, sqlRows, type Transaction } from '../storage/database.js'
import type { EventRef } from './fan-out-repository.js'
import { ALL_LANES } from './queue-repository.js'
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

/** Which parked items; what is absent does not narrow. */
export interface ParkedMatch {
  readonly id?: string | undefined
  readonly streamId?: string | undefined
  readonly txn?: string | undefined
  readonly type?: string | undefined
  readonly code?: string | undefined
  /** Parked then or later. */
  readonly from?: string | undefined
  /** Parked before. */
  readonly to?: string | undefined
}

export interface ParkedFilter extends ParkedMatch {
  readonly state: 'open' | 'resolved' | 'all'
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

/** To the ms, as a cursor holds it, and as the index of the list is. */
const LISTED_BY = "date_trunc('milliseconds', parked_at at time zone 'UTC')"

/** What a replayed delivery keeps of its first life; the rest starts afresh. */
const REPLAYED_COLUMNS = `stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id, order_hash,
  accepted_at, event_timestamp, expects, rendering, delivered_at`

/** Of a delivery: its result has a partition to stand in. */
const DAY_IS_KEPT = "to_regclass('deliveries_' || to_char(day, 'YYYYMMDD')) is not null"

export interface Replayed {
  readonly rows: readonly ReplayedDelivery[]
  /** Of those looked at: more than `rows` when one was queued again meanwhile. */
  readonly picked: number
}

export interface ReplayedDelivery {
  readonly id: string
  readonly streamId: string
}

interface Discard {
  readonly reason: string
  readonly limit: number
}

function termsOf(match: ParkedMatch): [term: string, value: string][] {
  const terms: [string, string | undefined][] = [
    ['id = ?::uuid', match.id],
    ['stream_id = ?::uuid', match.streamId],
    ['txn = ?', match.txn],
    ['type = ?', match.type],
    ['code = ?', match.code],
    ['parked_at >= ?::timestamptz', match.from],
    ['parked_at < ?::timestamptz', match.to],
  ]
  return terms.flatMap(([term, value]) => (value === undefined ? [] : [[term, value]]))
}

/** Of open items only. */
function openWhere(match: ParkedMatch): { sql: string; bindings: string[] } {
  const terms = termsOf(match)
  return {
    sql: ['resolved_at is null', ...terms.map(([term]) => term)].join(' and '),
    bindings: terms.map(([, value]) => value),
  }
}

/** Writer of `parked` for records and events, and of what a person decides about a parked item. */
export const parkedRepository = {
  async parkRecords(trx: SqlPlace, records: readonly ParkedRecord[]): Promise<void> {
    if (records.length === 0) return
    await sqlRows(
      trx,
      `insert into parked (id, kind, code, reason, lane, event_id, record)
       select id, 'record', code, reason, lane, event_id, record
       from unnest(?::uuid[], ?::text[], ?::text[], ?::smallint[], ?::uuid[], ?::bytea[])
         as p (id, code, reason, lane, event_id, record)`,
      [
        records.map(() => newId()),
        records.map(({ code }) => code),
        records.map(({ reason }) => reason),
        records.map(({ lane }) => LANE_NUMBER[lane]),
        records.map(({ eventId }) => eventId ?? null),
        records.map(({ record }) => record),
      ],
    )
  },

  async parkEvents(trx: SqlPlace, events: readonly SecurityEvent[]): Promise<void> {
    if (events.length === 0) return
    await sqlRows(
      trx,
      `insert into parked (id, kind, code, reason, lane, event_id, type, txn)
       select id, 'event', code, 'Accepted from its issuer but not sent on: the event is unknown or not well-formed.',
         lane, event_id, type, txn
       from unnest(?::uuid[], ?::text[], ?::smallint[], ?::uuid[], ?::text[], ?::text[])
         as p (id, code, lane, event_id, type, txn)`,
      [
        events.map(() => newId()),
        events.map(({ quarantine }) => quarantine ?? 'quarantined'),
        events.map(({ lane }) => LANE_NUMBER[lane]),
        events.map(({ eventId }) => eventId),
        events.map(({ type }) => type),
        events.map(({ txn }) => txn),
      ],
    )
  },

  async list(db: Database, filter: ParkedFilter): Promise<ParkedRow[]> {
    const query = db<ParkedRow, ParkedRow[]>('parked').select(...LIST_COLUMNS)
    if (filter.state === 'open') query.whereNull('resolved_at')
    if (filter.state === 'resolved') query.whereNotNull('resolved_at')
    for (const [term, value] of termsOf(filter)) query.whereRaw(term, [value])
    if (filter.after) {
      query.whereRaw(`(${LISTED_BY}, id) < (?::timestamptz at time zone 'UTC', ?::uuid)`, [
        filter.after.at,
        filter.after.id,
      ])
    }
    return query.orderByRaw(`${LISTED_BY} desc, id desc`).limit(filter.limit)
  },

  async find(db: Database, id: string): Promise<ParkedRow | undefined> {
    return db<ParkedRow>('parked')
      .where({ id })
      .first(...LIST_COLUMNS)
  },

  /** The database's time, or `to` when that is earlier: what is parked while a filter is worked off is not part of it. */
  async cutOff(db: Database, to: string | undefined): Promise<string> {
    const [row] = await sqlRows<{ at: Date }>(db, 'select least(?::timestamptz, clock_timestamp()) as at', [
      to ?? null,
    ])
    return (row as { at: Date }).at.toISOString()
  },

  /** How many matching items are open; counted up to `limit`. */
  async countOpen(db: Database, match: ParkedMatch, limit: number): Promise<number> {
    const { sql, bindings } = openWhere(match)
    const [row] = await sqlRows<{ count: number }>(
      db,
      `select count(*)::int as count from (select 1 from parked where ${sql} limit ?) open`,
      [...bindings, limit],
    )
    return row?.count ?? 0
  },

  /**
   * Queues parked deliveries again, oldest first, due now, with their attempts and their waiting forgotten: how long access
   * stayed open is told from `accepted_at`, which stays. The safe-order check at claim time still decides whether each may go out. Columns are named, so that one that comes later keeps its default. Left out
   * are those whose stream is disabled or gone, whose event is too old, that are queued again already, or that another
   * transaction holds.
   */
  async replay(trx: Transaction, match: ParkedMatch, limit: number): Promise<Replayed> {
    const { sql, bindings } = openWhere(match)
    const [found] = await sqlRows<{ picked: number; rows: { id: string; stream_id: string }[] }>(
      trx,
      `with picked as materialized (
         select id, delivery from parked where ${sql} and kind = 'delivery'
           and exists (select 1 from streams s where s.stream_id = parked.stream_id and s.status <> 'disabled')
           and exists (select 1 from events e
             where e.event_id = parked.event_id and e.day = (parked.delivery ->> 'day')::date and e.content is not null)
           and not exists (select 1 from delivery_queue o
             where o.stream_id = parked.stream_id and o.${ALL_LANES} and o.event_id = parked.event_id)
         order by parked_at, id limit ? for update skip locked
       ), queued as (
         insert into delivery_queue (${REPLAYED_COLUMNS}, cause, queued_at)
         select ${REPLAYED_COLUMNS}, coalesce(cause, 0), clock_timestamp()
         from picked p, jsonb_populate_record(null::delivery_queue, p.delivery) q
         on conflict do nothing
         returning stream_id, event_id
       ), done as (
         update parked set resolved_at = clock_timestamp(), resolution = 'replayed'
         from picked, queued
         where parked.id = picked.id and queued.stream_id = parked.stream_id and queued.event_id = parked.event_id
         returning parked.id, parked.stream_id
       )
       select (select count(*)::int from picked) as picked,
         coalesce((select jsonb_agg(jsonb_build_object('id', id, 'stream_id', stream_id)) from done), '[]') as rows`,
      [...bindings, limit],
    )
    const { picked = 0, rows = [] } = found ?? {}
    return { picked, rows: rows.map((row) => ({ id: row.id, streamId: row.stream_id })) }
  },

  /** Ends parked items for good, oldest first; a delivery becomes a `discarded` result. Answers which. */
  async discard(trx: Transaction, match: ParkedMatch, { reason, limit }: Discard): Promise<string[]> {
    const { sql, bindings } = openWhere(match)
    const rows = await sqlRows<{ id: string }>(
      trx,
      `with picked as materialized (
         select id from parked where ${sql} order by parked_at, id limit ? for update skip locked
       ), p as (
         update parked set resolved_at = clock_timestamp(), resolution = 'discarded: ' || ?::text
         from picked where parked.id = picked.id returning parked.id, kind, delivery
       ), d as (
         insert into deliveries (${RESULT_COLUMNS}, outcome, failure)
         select ${RESULT_COLUMNS}, 'discarded', ?::text
         from p, jsonb_populate_record(null::delivery_queue, p.delivery)
         where p.kind = 'delivery' and ${DAY_IS_KEPT}
         on conflict do nothing
       )
       select id from p`,
      [...bindings, limit, reason, reason],
    )
    return rows.map(({ id }) => id)
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
         where p.kind = 'delivery' and ${DAY_IS_KEPT}
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
