import type { TimeCursor } from '../http/page.js'
import { newId } from '../kernel/ids.js'
import { type Database, sqlRows, type Transaction } from '../storage/database.js'
import type { EventRef } from './fan-out-repository.js'

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

export interface SealedEvent extends EventRef {
  readonly content: Buffer
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

/** Sole writer of `erasures` and `erasure_holds`; the other repositories take a person out of their tables. */
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
