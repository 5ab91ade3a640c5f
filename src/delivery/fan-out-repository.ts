import { LANE_NUMBER, type Lane, type SecurityEvent } from '../secevent/event.js'
import { type Database, type SqlPlace, sqlInOrder, sqlRows, type Transaction } from '../storage/database.js'

export interface EventRef {
  readonly eventId: string
  readonly day: string
}

/** An event prepared for storage: hashes made, content sealed. */
export interface PreparedEvent {
  readonly event: SecurityEvent
  readonly day: string
  readonly keyHash: Buffer
  readonly contentHash: Buffer
  /** Undefined when the event has no subject. */
  readonly orderHash: Buffer | undefined
  readonly eventTimestampMs: number | null
  readonly sealedContent: Buffer
  /** What it says, whoever says it; undefined for what is not passed on. */
  readonly fact?: { readonly hash: Buffer; readonly dated: boolean }
}

export interface KnownKey {
  readonly keyHash: string
  readonly contentHash: string
  readonly eventId: string
}

const CONTENT_PAGE = 5_000

/** An event that said the same as another one. */
export interface KnownFact {
  /** base64 */
  readonly factHash: string
  readonly sourceId: string
  readonly eventId: string
  readonly day: string
}

/** What was said before. */
export interface Seen {
  readonly keys: readonly KnownKey[]
  readonly facts: readonly KnownFact[]
}

/** Newest events of one fact that are looked at: far more than there are, unless a source floods. */
const MAX_KNOWN_FACTS = 20

interface KnownRow {
  hash: Buffer
  event_id: string
  content_hash: Buffer | null
  source_id: string
  day: string
}

/** Of the rows `e` for which this holds. */
const raiseOrders = (condition: string) => `
         insert into subject_orders as so (order_hash, newest_tightening, day)
         select distinct on (order_hash) order_hash, event_id, day from e
         where effect = 'tightens' and order_hash is not null and ${condition}
         order by order_hash, event_id desc
         on conflict (order_hash) do update set
           newest_tightening = greatest(so.newest_tightening, excluded.newest_tightening),
           day = greatest(so.day, excluded.day)`

/** Sole writer of `event_keys`, `events` and `subject_orders`. */
export const fanOutRepository = {
  /**
   * Takes the slots of this batch for the rest of the transaction, then looks these keys and facts up in all days of
   * the window: a partitioned table cannot hold a unique key across days. Two statements, in this order: what the second
   * sees is all that an earlier holder of the slots committed. Its bindings stand in subqueries, or the planner,
   * which likes to know them, would plan it anew each time: that took six times as long as to run it.
   */
  async lockAndFindKnown(
    trx: SqlPlace,
    batch: {
      lane: Lane
      slots: readonly number[]
      keyHashes: readonly Buffer[]
      factHashes: readonly Buffer[]
      oldestDay: string
    },
  ): Promise<Seen> {
    const [, rows] = await sqlInOrder<[object, KnownRow]>(trx, [
      [
        'select 1 from partition_fences where lane = ? and slot = any(?::smallint[]) order by slot for update',
        [LANE_NUMBER[batch.lane], batch.slots],
      ],
      [
        `select key_hash as hash, event_id, content_hash, null::uuid as source_id, null::date as day
         from event_keys where key_hash = any((select ?::bytea[])::bytea[]) and day >= (select ?::date)
         union all
         select f.hash, e.event_id, null, e.source_id, e.day
         from unnest((select ?::bytea[])) as f (hash) cross join lateral (
           select event_id, source_id, day from events
           where fact_hash = f.hash and day >= (select ?::date) order by event_id desc limit ${MAX_KNOWN_FACTS}
         ) e`,
        [batch.keyHashes, batch.oldestDay, batch.factHashes, batch.oldestDay],
      ],
    ])
    return {
      keys: rows.flatMap(({ hash, event_id: eventId, content_hash: content }) =>
        content
          ? [{ keyHash: hash.toString('base64'), contentHash: content.toString('base64'), eventId }]
          : [],
      ),
      facts: rows.flatMap(({ hash, event_id: eventId, content_hash: content, source_id: sourceId, day }) =>
        content ? [] : [{ factHash: hash.toString('base64'), sourceId, eventId, day }],
      ),
    }
  },

  /**
   * Stores events with their keys, names their facts and raises their subjects' newest tightening event: one statement.
   * @param saidBefore ids of events of which it is not yet known whether they are held back, see `nameSaidAgain`
   */
  async insertEvents(
    trx: SqlPlace,
    events: readonly PreparedEvent[],
    saidBefore: ReadonlySet<string>,
  ): Promise<void> {
    if (events.length === 0) return
    await sqlRows(
      trx,
      `with e as materialized (
         select * from unnest(?::uuid[], ?::date[], ?::float8[], ?::smallint[], ?::text[], ?::text[], ?::text[],
           ?::uuid[], ?::text[], ?::text[], ?::float8[], ?::bytea[], ?::bytea[], ?::text[], ?::bytea[], ?::bytea[],
           ?::bytea[], ?::boolean[])
         as e(event_id, day, accepted_s, lane, effect, type, txn, source_id, source_issuer, source_jti, event_s,
           order_hash, content, quarantine, key_hash, content_hash, fact_hash, raises)
       ),
       k as (
         insert into event_keys (key_hash, day, content_hash, event_id)
         select key_hash, day, content_hash, event_id from e
       ),
       o as (${raiseOrders('quarantine is null and raises')})
       insert into events (event_id, day, accepted_at, lane, effect, type, txn, source_id, source_issuer, source_jti,
         event_timestamp, order_hash, content, quarantine, fact_hash)
       select event_id, day, to_timestamp(accepted_s), lane, effect, type, txn, source_id, source_issuer, source_jti,
         to_timestamp(event_s), order_hash, content, quarantine, fact_hash from e`,
      [
        events.map(({ event }) => event.eventId),
        events.map(({ day }) => day),
        events.map(({ event }) => event.acceptedAtMs / 1000),
        events.map(({ event }) => LANE_NUMBER[event.lane]),
        events.map(({ event }) => event.effect),
        events.map(({ event }) => event.type),
        events.map(({ event }) => event.txn),
        events.map(({ event }) => event.sourceId),
        events.map(({ event }) => event.sourceIssuer),
        events.map(({ event }) => event.sourceJti),
        events.map(({ eventTimestampMs }) => (eventTimestampMs === null ? null : eventTimestampMs / 1000)),
        events.map(({ orderHash }) => orderHash ?? null),
        events.map(({ sealedContent }) => sealedContent),
        events.map(({ event }) => event.quarantine ?? null),
        events.map(({ keyHash }) => keyHash),
        events.map(({ contentHash }) => contentHash),
        events.map(({ event, fact }) => (saidBefore.has(event.eventId) ? null : (fact?.hash ?? null))),
        events.map(({ event }) => !saidBefore.has(event.eventId)),
      ],
    )
  },

  /** Does for what was said again and not held back what storing it left undone: names the facts, raises the orders. */
  async nameSaidAgain(trx: SqlPlace, copies: readonly PreparedEvent[]): Promise<void> {
    if (copies.length === 0) return
    await sqlRows(
      trx,
      `with e as materialized (
         select * from unnest(?::uuid[], ?::date[], ?::text[], ?::bytea[], ?::bytea[])
         as e(event_id, day, effect, order_hash, fact_hash)
       ),
       o as (${raiseOrders('true')})
       update events set fact_hash = e.fact_hash from e where events.event_id = e.event_id and events.day = e.day`,
      [
        copies.map(({ event }) => event.eventId),
        copies.map(({ day }) => day),
        copies.map(({ event }) => event.effect),
        copies.map(({ orderHash }) => orderHash ?? null),
        copies.map(({ fact }) => fact?.hash ?? null),
      ],
    )
  },

  /** Takes the content of events of the days before this one, a page at a time; their frame stays. */
  async forgetContent(db: Database, beforeDay: string): Promise<void> {
    for (;;) {
      const rows = await sqlRows(
        db,
        `with page as (select event_id, day from events where day < ?::date and content is not null limit ?)
         update events e set content = null from page
         where e.event_id = page.event_id and e.day = page.day returning 1`,
        [beforeDay, CONTENT_PAGE],
      )
      if (rows.length < CONTENT_PAGE) return
    }
  },

  /** Takes the content of these events for good; the frame of each stays. */
  async eraseContent(trx: Transaction, events: readonly EventRef[]): Promise<void> {
    await sqlRows(
      trx,
      'update events set content = null where day = any(?::date[]) and event_id = any(?::uuid[])',
      [[...new Set(events.map((event) => event.day))], events.map((event) => event.eventId)],
    )
  },

  /** Drops the order of subjects last tightened before this day: no event that old is believed any more. */
  async forgetOrders(trx: Transaction, beforeDay: string): Promise<void> {
    await sqlRows(trx, 'delete from subject_orders where day < ?::date', [beforeDay])
  },
}
