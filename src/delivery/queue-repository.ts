import { LANE_NUMBER, type Lane } from '../secevent/event.js'
import { SSF } from '../secevent/event-types.js'
import { type Database, type SqlPlace, sqlRows } from '../storage/database.js'
import { causeOf } from './cause.js'
import { laneOf, type OpenDelivery } from './open-delivery.js'

/** A match of one event with one stream, ready to be queued. */
export interface NewDelivery extends Omit<OpenDelivery, 'attempts' | 'queuedAtMs'> {
  readonly day: string
  readonly eventTimestampMs: number | null
  readonly expects: number
}

export interface DeliveryResult {
  readonly streamId: string
  readonly lane: Lane
  readonly eventId: string
  readonly shard: number
  /** The lease under which the attempt was made; a result under an ended lease is not written. */
  readonly epoch: number
  readonly outcome: 'received' | 'superseded' | 'discarded' | 'retry' | 'park'
  readonly attempts: number
  readonly deliveredAtMs: number | null
  readonly receivedAtMs: number | null
  readonly nextAttemptAtMs: number | undefined
  /** For `park`: the code a person filters by. */
  readonly code: string | undefined
  readonly failure: string | undefined
}

interface QueueRow {
  stream_id: string
  lane: number
  event_id: string
  receiver_id: string
  shard: number
  type: string
  effect: OpenDelivery['effect']
  source_id: string
  txn: string
  order_key: string
  accepted_ms: number
  queued_ms: number
  rendering: number
  attempts: number
}

/** A row as claimed: with its event's sealed content, and whether a newer tightening event overtook it. */
export interface ClaimedDelivery {
  readonly delivery: OpenDelivery
  readonly day: string
  readonly sealedContent: Buffer | null
  readonly superseded: boolean
  /** False: the receiver's grants no longer cover it. */
  readonly granted: boolean
  /** It was handed out before, or answered by an endpoint; one that was tried and never answered was not. */
  readonly delivered: boolean
  /** Of the stream, as this statement saw it. */
  readonly version: number
}

export interface ClaimedRow extends QueueRow {
  day: string
  content: Buffer | null
  superseded: boolean
  granted: boolean
  delivered: boolean
  version: number
}

const QUEUE_COLUMNS = `q.stream_id, q.lane, q.event_id, q.receiver_id, q.shard, q.type, q.effect, q.source_id, q.txn,
  coalesce(encode(q.order_hash, 'base64'), '') as order_key, q.rendering, q.attempts,
  extract(epoch from q.accepted_at)::float8 * 1000 as accepted_ms,
  extract(epoch from q.queued_at)::float8 * 1000 as queued_ms`

/**
 * The whole safe-order check (docs/adr/0004): a loosening event is stale once a newer tightening one of its
 * subject is known, whatever lane or log either came by.
 */
const SUPERSEDED = `(q.effect = 'loosens' and coalesce(o.newest_tightening > q.event_id, false))`

/** Grants are asked again when a row goes out; what the hub says of the stream itself (`expects` 0) needs none. */
const GRANTED = `(q.expects = 0 or ((r.grant_event_types is null or q.type = any (r.grant_event_types))
  and (r.grant_sources is null or q.source_id = any (r.grant_sources))))`

/** As a subquery, which is hashed: an array would be read for each row. */
const NOT_IN_HAND = 'not in (select unnest(?::uuid[]))'

/** Only while enabled, except for the notice that the hub stopped the stream (SSF 1.0 §8.1.5). */
export const MAY_SEND = `(s.status = 'enabled' or (s.status_by <> 'receiver' and q.type = '${SSF.streamUpdated}'))`

/** A query of open rows `q` with all that a claim looks at; its conditions follow. */
export const claimOf = (method: 'push' | 'poll') => `
       select ${QUEUE_COLUMNS}, q.day, e.content, ${SUPERSEDED} as superseded, ${GRANTED} as granted,
         q.delivered_at is not null as delivered, s.version
       from delivery_queue q
       join streams s on s.stream_id = q.stream_id and s.delivery_method = '${method}'
       join receivers r on r.id = q.receiver_id and r.enabled
       join events e on e.event_id = q.event_id and e.day = q.day
       left join subject_orders o on o.order_hash = q.order_hash`

/**
 * Of a stopped stream, said so that the index of notices serves: behind 100,000 rows a claim and its next time took 110 ms,
 * and take 5.
 */
const NOTICES_ONLY = `and q.type = '${SSF.streamUpdated}'`

/** What a sender asks of one lane of its stream. */
export interface LanePage {
  readonly lane: Lane
  /** Events of this stream that the sender has already; they are left out. */
  readonly inHand: readonly string[]
  /** The stream is stopped, as the sender knows it. */
  readonly noticesOnly: boolean
}

/** The primary key has the lane in the middle: naming all three makes the rest of it usable. */
export const ALL_LANES = `lane = any('{0,1,2}'::smallint[])`

function toDelivery(row: QueueRow): OpenDelivery {
  return {
    streamId: row.stream_id,
    eventId: row.event_id,
    receiverId: row.receiver_id,
    shard: row.shard,
    lane: laneOf(row.lane),
    type: row.type,
    effect: row.effect,
    sourceId: row.source_id,
    txn: row.txn,
    orderKey: row.order_key,
    acceptedAtMs: row.accepted_ms,
    queuedAtMs: row.queued_ms,
    rendering: row.rendering,
    attempts: row.attempts,
  }
}

export const toClaimed = (row: ClaimedRow): ClaimedDelivery => ({
  delivery: toDelivery(row),
  day: row.day,
  sealedContent: row.content,
  superseded: row.superseded,
  granted: row.granted,
  delivered: row.delivered,
  version: row.version,
})

/** Milliseconds as SQL wants them. */
export const seconds = (ms: number | null | undefined) => (ms === null || ms === undefined ? null : ms / 1000)

/** Queues deliveries and reads them; `result-repository` and `parked-repository` take them out and put them back. */
export const queueRepository = {
  /** Queues matches; a match that is there already (a replayed batch) is left alone. */
  async insert(trx: SqlPlace, rows: readonly NewDelivery[]): Promise<void> {
    if (rows.length === 0) return
    await sqlRows(
      trx,
      `insert into delivery_queue (stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn,
         source_id, cause, order_hash, accepted_at, event_timestamp, expects, rendering)
       select stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id, cause,
         nullif(decode(order_key, 'base64'), ''::bytea), to_timestamp(accepted_s), to_timestamp(event_s), expects, rendering
       from unnest(?::uuid[], ?::smallint[], ?::uuid[], ?::date[], ?::uuid[], ?::smallint[], ?::text[],
         ?::text[], ?::text[], ?::uuid[], ?::int[], ?::text[], ?::float8[], ?::float8[], ?::smallint[], ?::smallint[])
         as t(stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id, cause, order_key,
           accepted_s, event_s, expects, rendering)
       on conflict do nothing`,
      [
        rows.map((row) => row.streamId),
        rows.map((row) => LANE_NUMBER[row.lane]),
        rows.map((row) => row.eventId),
        rows.map((row) => row.day),
        rows.map((row) => row.receiverId),
        rows.map((row) => row.shard),
        rows.map((row) => row.type),
        rows.map((row) => row.effect),
        rows.map((row) => row.txn),
        rows.map((row) => row.sourceId),
        rows.map((row) => causeOf(row.sourceId, row.txn)),
        rows.map((row) => row.orderKey),
        rows.map((row) => row.acceptedAtMs / 1000),
        rows.map((row) => seconds(row.eventTimestampMs)),
        rows.map((row) => row.expects),
        rows.map((row) => row.rendering),
      ],
    )
  },

  /** Which of these were delivered, or are about to be: what was given up or parked counts as not. */
  async findDelivered(
    trx: SqlPlace,
    pairs: readonly { streamId: string; eventId: string; day: string }[],
  ): Promise<{ streamId: string; eventId: string }[]> {
    if (pairs.length === 0) return []
    const rows = await sqlRows<{ stream_id: string; event_id: string }>(
      trx,
      `select p.stream_id, p.event_id
       from unnest(?::uuid[], ?::uuid[], ?::date[]) as p (stream_id, event_id, day)
       cross join lateral (
         select 1 from delivery_queue q where q.stream_id = p.stream_id and q.${ALL_LANES} and q.event_id = p.event_id
         union all
         select 1 from deliveries d where d.stream_id = p.stream_id and d.event_id = p.event_id and d.day = p.day
           and d.outcome in ('received', 'superseded')
         limit 1
       ) found`,
      [
        pairs.map(({ streamId }) => streamId),
        pairs.map(({ eventId }) => eventId),
        pairs.map(({ day }) => day),
      ],
    )
    return rows.map((row) => ({ streamId: row.stream_id, eventId: row.event_id }))
  },

  /** The next due rows of one lane of a push stream, in hub order. */
  async claimForPush(
    db: Database,
    streamId: string,
    { lane, limit, inHand, noticesOnly }: LanePage & { readonly limit: number },
  ): Promise<ClaimedDelivery[]> {
    const rows = await sqlRows<ClaimedRow>(
      db,
      `${claimOf('push')}
       where q.stream_id = ? and q.lane = ? and q.next_attempt_at <= clock_timestamp() and ${MAY_SEND}
         and q.event_id ${NOT_IN_HAND} ${noticesOnly ? NOTICES_ONLY : ''}
       order by q.event_id
       limit ?`,
      [streamId, LANE_NUMBER[lane], [...inHand], limit],
    )
    return rows.map(toClaimed)
  },

  /** The next rows of a poll stream. Rows stay until acknowledged, so nothing is marked as taken. */
  async selectForPoll(db: Database, streamId: string, limit: number): Promise<ClaimedDelivery[]> {
    const rows = await sqlRows<ClaimedRow>(
      db,
      `${claimOf('poll')}
       where q.stream_id = ? and ${MAY_SEND}
       order by q.lane, q.event_id
       limit ?`,
      [streamId, limit],
    )
    return rows.map(toClaimed)
  },

  /** Notes the first time that rows were handed out. */
  async markDelivered(
    db: Database,
    streamId: string,
    eventIds: readonly string[],
    atMs: number,
  ): Promise<void> {
    if (eventIds.length === 0) return
    await sqlRows(
      db,
      `update delivery_queue set delivered_at = to_timestamp(?::float8), attempts = attempts + 1
       where stream_id = ? and ${ALL_LANES} and event_id = any(?::uuid[]) and delivered_at is null`,
      [atMs / 1000, streamId, [...eventIds]],
    )
  },

  /**
   * Push streams of these shards with open work; also those whose endpoint is on record as failing, unless `dueWithinS` is given:
   * who takes over sees to the record of those that are owed nothing.
   * @param dueWithinS only work that fell due in the last so many seconds, which an index range finds however long
   *   the backlog is
   */
  async streamsWithWork(
    db: Database,
    shards: readonly number[],
    dueWithinS?: number,
  ): Promise<{ streamId: string; shard: number }[]> {
    const rows = await sqlRows<{ stream_id: string; shard: number }>(
      db,
      dueWithinS === undefined
        ? `select s.stream_id, s.shard from streams s
           where s.delivery_method = 'push' and s.shard = any(?::smallint[]) and (
             exists (select from delivery_queue q where q.stream_id = s.stream_id and q.${ALL_LANES})
             or exists (select from stream_failures f where f.stream_id = s.stream_id))`
        : `select distinct q.stream_id, q.shard
           from delivery_queue q join streams s on s.stream_id = q.stream_id and s.delivery_method = 'push'
           where q.shard = any(?::smallint[])
             and q.next_attempt_at between clock_timestamp() - make_interval(secs => ?::float8) and clock_timestamp()`,
      dueWithinS === undefined ? [[...shards]] : [[...shards], dueWithinS],
    )
    return rows.map((row) => ({ streamId: row.stream_id, shard: row.shard }))
  },

  /**
   * When the lane's earliest row that waits for another try is due, in ms since the epoch; undefined when it has none.
   * Rows that were never tried are due from the start: they are in hand, or their coming is announced.
   */
  async nextTryMs(
    db: Database,
    streamId: string,
    { lane, inHand, noticesOnly }: LanePage,
  ): Promise<number | undefined> {
    const [row] = await sqlRows<{ due_ms: number | null }>(
      db,
      `select extract(epoch from min(q.next_attempt_at))::float8 * 1000 as due_ms
       from delivery_queue q
       join streams s on s.stream_id = q.stream_id and s.delivery_method = 'push'
       join receivers r on r.id = q.receiver_id and r.enabled
       where q.stream_id = ? and q.lane = ? and q.attempts > 0 and ${MAY_SEND} and q.event_id ${NOT_IN_HAND}
         ${noticesOnly ? NOTICES_ONLY : ''}`,
      [streamId, LANE_NUMBER[lane], [...inHand]],
    )
    return row?.due_ms ?? undefined
  },

  async countOpen(db: Database): Promise<{ lane: number; count: number; oldestAgeS: number }[]> {
    const rows = await sqlRows<{ lane: number; count: number; age_s: number }>(
      db,
      `select lane, count(*) as count, extract(epoch from clock_timestamp() - min(queued_at))::float8 as age_s
       from delivery_queue group by lane`,
    )
    return rows.map((row) => ({ lane: row.lane, count: row.count, oldestAgeS: row.age_s }))
  },
}
