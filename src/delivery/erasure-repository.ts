import type { TimeCursor } from '../http/page.js'
import { eventIdTimeMs, newId } from '../kernel/ids.js'
import { type Database, sqlRows, type Transaction } from '../storage/database.js'
import { ALL_LANES } from './queue-repository.js'

export type ErasureStep = 'log' | 'events' | 'subjects' | 'parked' | 'held' | 'done'

/** How far an erasure is. */
export interface ErasureCounts {
  readonly eventsSeen: number
  readonly eventsErased: number
  readonly deliveriesDiscarded: number
  readonly subjectsErased: number
  readonly recordsErased: number
}

export interface Erasure extends ErasureCounts {
  readonly id: string
  readonly subjectHash: Buffer
  /** Undefined once it is done. */
  readonly sealedIdentifiers: Buffer | undefined
  readonly reason: string
  readonly force: boolean
  readonly step: ErasureStep
  /** Where the step goes on; undefined at its beginning. */
  readonly cursor: unknown
  readonly waits: boolean
  readonly requestedBy: string
  readonly requestedAt: Date
  readonly finishedAt: Date | undefined
  /** Events of the person that are still owed to a receiver. */
  readonly held: number
}

export interface ErasurePage {
  readonly limit: number
  /** Those asked for before this one. */
  readonly after?: TimeCursor | undefined
}

export interface EventRef {
  readonly eventId: string
  readonly day: string
}

export interface SealedEvent extends EventRef {
  readonly content: Buffer
}

export interface SealedRecord {
  readonly id: string
  readonly parkedDay: string
  readonly record: Buffer
}

interface ErasureRow {
  id: string
  subject_hash: Buffer
  identifiers_wrapped: Buffer | null
  reason: string
  force: boolean
  step: ErasureStep
  cursor: unknown
  waits: boolean
  requested_by: string
  requested_at: Date
  finished_at: Date | null
  events_seen: number
  events_erased: number
  deliveries_discarded: number
  subjects_erased: number
  records_erased: number
  held: number
}

const SELECT = `select e.*, (select count(*)::int from erasure_holds h where h.erasure_id = e.id) as held from erasures e`

/** What stands instead of a receiver's words about the person. */
const ERASED = 'erased'

/** Sole writer of `erasures` and `erasure_holds`; takes content and words out of the tables of this room. */
export const erasureRepository = {
  /** The one that is under way for this subject, else a new one. Force, once given, stays. */
  async request(
    trx: Transaction,
    wish: {
      subjectHash: Buffer
      sealedIdentifiers: (id: string) => Buffer
      reason: string
      force: boolean
      by: string
    },
  ): Promise<{ id: string; isNew: boolean }> {
    const id = newId()
    const [row] = await sqlRows<{ id: string }>(
      trx,
      `insert into erasures (id, subject_hash, identifiers_wrapped, reason, force, requested_by) values (?, ?, ?, ?, ?, ?)
       on conflict (subject_hash) where step <> 'done' do update set force = erasures.force or excluded.force
       returning id`,
      [id, wish.subjectHash, wish.sealedIdentifiers(id), wish.reason, wish.force, wish.by],
    )
    const found = (row as { id: string }).id
    return { id: found, isNew: found === id }
  },

  async find(db: Database, id: string, options: { lock?: boolean } = {}): Promise<Erasure | undefined> {
    const [row] = await sqlRows<ErasureRow>(
      db,
      `${SELECT} where e.id = ?${options.lock ? ' for update of e' : ''}`,
      [id],
    )
    return row && toErasure(row)
  },

  /** Newest first, older than `after`. */
  async list(db: Database, { limit, after }: ErasurePage): Promise<Erasure[]> {
    // Dates of JavaScript end at the millisecond, so the cursor does too.
    const at = "date_trunc('milliseconds', e.requested_at)"
    const rows = await sqlRows<ErasureRow>(
      db,
      `${SELECT} where ?::uuid is null or (${at}, e.id) < (?::timestamptz, ?::uuid) order by ${at} desc, e.id desc limit ?`,
      [after?.id ?? null, after?.at ?? null, after?.id ?? null, limit],
    )
    return rows.map(toErasure)
  },

  /** What is not done, oldest first. */
  async open(db: Database): Promise<string[]> {
    const rows = await sqlRows<{ id: string }>(
      db,
      "select id from erasures where step <> 'done' order by requested_at, id",
    )
    return rows.map((row) => row.id)
  },

  /** Notes progress. `step` undefined: the same one. */
  async save(
    trx: Transaction,
    id: string,
    change: { step?: ErasureStep; cursor?: unknown; waits?: boolean; counts?: Partial<ErasureCounts> },
  ): Promise<void> {
    const { counts = {} } = change
    await sqlRows(
      trx,
      `update erasures set step = coalesce(?::text, step), cursor = ?::jsonb, waits = ?,
         identifiers_wrapped = case when ?::text = 'done' then null else identifiers_wrapped end,
         finished_at = case when ?::text = 'done' then clock_timestamp() end,
         events_seen = events_seen + ?, events_erased = events_erased + ?,
         deliveries_discarded = deliveries_discarded + ?, subjects_erased = subjects_erased + ?,
         records_erased = records_erased + ?
       where id = ?`,
      [
        change.step ?? null,
        change.cursor === undefined ? null : JSON.stringify(change.cursor),
        change.waits ?? false,
        change.step ?? null,
        change.step ?? null,
        counts.eventsSeen ?? 0,
        counts.eventsErased ?? 0,
        counts.deliveriesDiscarded ?? 0,
        counts.subjectsErased ?? 0,
        counts.recordsErased ?? 0,
        id,
      ],
    )
  },

  /** The next events with content, accepted no later than the request, in hub order. */
  async nextEvents(
    db: Database,
    { upTo, after }: { upTo: Date; after: EventRef | undefined },
    limit: number,
  ): Promise<SealedEvent[]> {
    const rows = await sqlRows<{ event_id: string; day: string; content: Buffer }>(
      db,
      `select event_id, day, content from events
       where event_id > ?::uuid and day >= ?::date and day <= (?::timestamptz at time zone 'utc')::date
         and accepted_at <= ?::timestamptz and content is not null
       order by event_id limit ?`,
      [
        after?.eventId ?? '00000000-0000-0000-0000-000000000000',
        after?.day ?? '-infinity',
        upTo,
        upTo,
        limit,
      ],
    )
    return rows.map((row) => ({ eventId: row.event_id, day: row.day, content: row.content }))
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
    const columns = `stream_id, event_id, day, receiver_id, lane, type, effect, txn, source_id, accepted_at,
      event_timestamp, expects, queued_at, delivered_at, attempts`
    const rows = await sqlRows<{ stream_id: string }>(
      trx,
      `with gone as (
         delete from delivery_queue q using streams s
         where q.stream_id = s.stream_id and q.${ALL_LANES} and q.event_id = any(?::uuid[]) returning q.*
       ), settled as (
         update parked set resolved_at = clock_timestamp(), resolution = 'discarded: ${ERASED}'
         where kind = 'delivery' and resolved_at is null and event_id = any(?::uuid[]) returning delivery
       ), owed as (
         select ${columns} from gone
         union all
         select ${columns} from settled, jsonb_populate_record(null::delivery_queue, settled.delivery)
       ), done as (
         insert into deliveries (${columns}, outcome, failure)
         select ${columns}, 'discarded', '${ERASED}' from owed on conflict do nothing
       )
       select stream_id from owed`,
      [eventIds, eventIds],
    )
    return rows.map((row) => row.stream_id)
  },

  /** Takes the content of these events, and what receivers said of them, for good. The frame of each stays. */
  async eraseContent(trx: Transaction, events: readonly EventRef[]): Promise<void> {
    const ids = events.map((event) => event.eventId)
    const days = [...new Set(events.map((event) => event.day))]
    await sqlRows(
      trx,
      'update events set content = null where day = any(?::date[]) and event_id = any(?::uuid[])',
      [days, ids],
    )
    // An event's id holds its accept time to the millisecond, which the index finds.
    await sqlRows(
      trx,
      `update deliveries set failure = '${ERASED}'
       where day = any(?::date[]) and event_id = any(?::uuid[]) and failure is not null
         and accepted_at between to_timestamp(?::float8 / 1000) and to_timestamp(?::float8 / 1000)`,
      [days, ids, ...timesOf(ids)],
    )
    await sqlRows(
      trx,
      `update parked set reason = '${ERASED}', delivery = delivery || '{"last_failure": null}',
         resolution = case when resolution like 'discarded: %' then 'discarded: ${ERASED}' else resolution end
       where kind = 'delivery' and event_id = any(?::uuid[])`,
      [ids],
    )
  },

  async hold(trx: Transaction, id: string, events: readonly EventRef[]): Promise<void> {
    await sqlRows(
      trx,
      `insert into erasure_holds (erasure_id, event_id, day)
       select ?::uuid, event_id, day from unnest(?::uuid[], ?::date[]) as e (event_id, day) on conflict do nothing`,
      [id, events.map((event) => event.eventId), events.map((event) => event.day)],
    )
  },

  async held(db: Database, id: string, after: string | undefined, limit: number): Promise<EventRef[]> {
    const rows = await sqlRows<{ event_id: string; day: string }>(
      db,
      `select event_id, day from erasure_holds where erasure_id = ? and (?::uuid is null or event_id > ?::uuid)
       order by event_id limit ?`,
      [id, after ?? null, after ?? null, limit],
    )
    return rows.map((row) => ({ eventId: row.event_id, day: row.day }))
  },

  async release(trx: Transaction, id: string, events: readonly EventRef[]): Promise<void> {
    await sqlRows(trx, 'delete from erasure_holds where erasure_id = ? and event_id = any(?::uuid[])', [
      id,
      events.map((event) => event.eventId),
    ])
  },

  /** Drops what was done before this day. */
  async forgetDone(trx: Transaction, beforeDay: string): Promise<void> {
    await sqlRows(trx, 'delete from erasures where finished_at < ?::date', [beforeDay])
  },
}

/** First and last accept time of these events, ms since the epoch. */
function timesOf(eventIds: readonly string[]): [number, number] {
  const times = eventIds.map(eventIdTimeMs)
  return [Math.min(...times), Math.max(...times) + 1]
}

function toErasure(row: ErasureRow): Erasure {
  return {
    id: row.id,
    subjectHash: row.subject_hash,
    sealedIdentifiers: row.identifiers_wrapped ?? undefined,
    reason: row.reason,
    force: row.force,
    step: row.step,
    cursor: row.cursor ?? undefined,
    waits: row.waits,
    requestedBy: row.requested_by,
    requestedAt: row.requested_at,
    finishedAt: row.finished_at ?? undefined,
    eventsSeen: row.events_seen,
    eventsErased: row.events_erased,
    deliveriesDiscarded: row.deliveries_discarded,
    subjectsErased: row.subjects_erased,
    recordsErased: row.records_erased,
    held: row.held,
  }
}
