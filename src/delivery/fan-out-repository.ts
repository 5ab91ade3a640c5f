import { LANE_NUMBER, type Lane, type SecurityEvent } from '../secevent/event.js'
import { type Database, sqlInOrder, sqlRows, type Transaction } from '../storage/database.js'

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
}

export interface KnownKey {
  readonly keyHash: string
  readonly contentHash: string
  readonly eventId: string
}

const CONTENT_PAGE = 5_000

/** Sole writer of `event_keys`, `events` and `subject_orders`. */
export const fanOutRepository = {
  /**
   * Takes the slots of this batch for the rest of the transaction, then looks these keys up in all days of the window:
   * a partitioned table cannot hold a unique key across days. Two statements, in this order: what the second sees is all
   * that an earlier holder of the slots committed.
   */
  async lockAndFindKnown(
    trx: Transaction,
    batch: { lane: Lane; slots: readonly number[]; keyHashes: readonly Buffer[]; oldestDay: string },
  ): Promise<KnownKey[]> {
    const [, rows] = await sqlInOrder<[object, { key_hash: Buffer; content_hash: Buffer; event_id: string }]>(
      trx,
      [
        [
          'select 1 from partition_fences where lane = ? and slot = any(?::smallint[]) order by slot for update',
          [LANE_NUMBER[batch.lane], batch.slots],
        ],
        [
          `select key_hash, content_hash, event_id from event_keys where key_hash = any(?::bytea[]) and day >= ?::date`,
          [batch.keyHashes, batch.oldestDay],
        ],
      ],
    )
    return rows.map((row) => ({
      keyHash: row.key_hash.toString('base64'),
      contentHash: row.content_hash.toString('base64'),
      eventId: row.event_id,
    }))
  },

  /** Stores events with their keys and raises their subjects' newest tightening event: one statement. */
  async insertEvents(trx: Transaction, events: readonly PreparedEvent[]): Promise<void> {
    await sqlRows(
      trx,
      `with e as materialized (
         select * from unnest(?::uuid[], ?::date[], ?::float8[], ?::smallint[], ?::text[], ?::text[], ?::text[],
           ?::uuid[], ?::text[], ?::text[], ?::float8[], ?::bytea[], ?::bytea[], ?::text[], ?::bytea[], ?::bytea[])
         as e(event_id, day, accepted_s, lane, effect, type, txn, source_id, source_issuer, source_jti, event_s,
           order_hash, content, quarantine, key_hash, content_hash)
       ),
       k as (
         insert into event_keys (key_hash, day, content_hash, event_id)
         select key_hash, day, content_hash, event_id from e
       ),
       o as (
         insert into subject_orders as so (order_hash, newest_tightening, day)
         select distinct on (order_hash) order_hash, event_id, day from e
         where effect = 'tightens' and order_hash is not null and quarantine is null
         order by order_hash, event_id desc
         on conflict (order_hash) do update set
           newest_tightening = greatest(so.newest_tightening, excluded.newest_tightening),
           day = greatest(so.day, excluded.day)
       )
       insert into events (event_id, day, accepted_at, lane, effect, type, txn, source_id, source_issuer, source_jti,
         event_timestamp, order_hash, content, quarantine)
       select event_id, day, to_timestamp(accepted_s), lane, effect, type, txn, source_id, source_issuer, source_jti,
         to_timestamp(event_s), order_hash, content, quarantine from e`,
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

  /** Drops the order of subjects last tightened before this day: no event that old is believed any more. */
  async forgetOrders(trx: Transaction, beforeDay: string): Promise<void> {
    await sqlRows(trx, 'delete from subject_orders where day < ?::date', [beforeDay])
  },
}
