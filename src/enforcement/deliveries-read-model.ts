import { type Page, toPage } from '../http/page.js'
import { toTimestamp } from '../kernel/clock.js'
import type { JtiCodec } from '../secevent/delivery-jti.js'
import { LANES } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import { cursorMicros, cursorUuid, type HistoryFilter, sharedConditions, whereSql } from './history-filter.js'
import { joinSql, literalSql, runSql, type Sql, sql } from './sql-fragment.js'

/** `delivered`: sent or handed out, and not answered for yet. */
export const DELIVERY_STATES = [
  'queued',
  'delivered',
  'received',
  'parked',
  'superseded',
  'discarded',
  'deleted',
  'expired',
] as const
export type DeliveryState = (typeof DELIVERY_STATES)[number]

/** Sort keys of a cursor: accept time in µs, event id, stream id. */
export const DELIVERY_CURSOR_KEYS = 3

/** Reports shown of one delivery, the newest. */
const MAX_REPORTS = 50

interface Row {
  stream_id: string
  event_id: string
  day: string
  receiver_id: string
  receiver_name: string | null
  type: string
  lane: number
  txn: string
  state: DeliveryState
  attempts: number
  failure: string | null
  parked_id: string | null
  accepted_us: string
  event_ms: number | null
  queued_ms: number | null
  delivered_ms: number | null
  received_ms: number | null
  finished_ms: number | null
  next_attempt_ms: number | null
}

interface ReportRow {
  stream_id: string
  event_id: string
  stage: string
  status: string
  replica: string
  reason: string | null
  streams_cut: number | null
  reported_ms: number
}

/** Deliveries wherever they stand: open, finished or parked; newest accept time first. */
export function createDeliveriesReadModel(db: Database, jtis: JtiCodec) {
  return {
    async list(filter: HistoryFilter<DeliveryState>): Promise<Page<object>> {
      const rows = await runSql<Row>(db, listSql(filter))
      const reports = await reportsOf(db, rows.slice(0, filter.limit))
      return toPage(rows, filter.limit, {
        keysOf: (row) => [row.accepted_us, row.event_id, row.stream_id],
        render: (row) => toBody(row, jtis.mint(row.event_id, row.receiver_id), reports.get(keyOf(row)) ?? []),
      })
    },
  }
}

export type DeliveriesReadModel = ReturnType<typeof createDeliveriesReadModel>

const COLUMNS =
  'stream_id, event_id, day, receiver_id, type, lane, txn, accepted_at, event_timestamp, queued_at'

function listSql(filter: HistoryFilter<DeliveryState>): Sql {
  const wants = (...states: DeliveryState[]) => filter.state === undefined || states.includes(filter.state)
  const branches: Sql[] = []
  if (wants('received', 'superseded', 'discarded', 'deleted', 'expired')) branches.push(finishedSql(filter))
  if (wants('queued', 'delivered')) branches.push(queuedSql(filter))
  if (wants('parked')) branches.push(parkedSql(filter))
  return sql`
    select u.*, r.name as receiver_name,
      (extract(epoch from u.accepted_at) * 1000000)::bigint::text as accepted_us, ${epochMs('event_timestamp', 'event_ms')},
      ${epochMs('queued_at', 'queued_ms')}, ${epochMs('delivered_at', 'delivered_ms')},
      ${epochMs('received_at', 'received_ms')}, ${epochMs('finished_at', 'finished_ms')},
      ${epochMs('next_attempt_at', 'next_attempt_ms')}
    from (${joinSql(branches, ' union all ')}) u left join receivers r on r.id = u.receiver_id
    ${newestFirst(filter, 'u.')}`
}

const epochMs = (column: string, name: string): Sql =>
  literalSql(`extract(epoch from u.${column})::float8 * 1000 as ${name}`)

const newestFirst = (filter: HistoryFilter<DeliveryState>, prefix = ''): Sql =>
  sql`order by ${literalSql(['accepted_at', 'event_id', 'stream_id'].map((name) => `${prefix}${name} desc`).join(', '))}
    limit ${filter.limit + 1}::int`

function finishedSql(filter: HistoryFilter<DeliveryState>): Sql {
  const conditions = conditionsOf(filter, (name) => name)
  if (filter.state !== undefined) conditions.push(sql`outcome = ${filter.state}::text`)
  return sql`(select ${literalSql(COLUMNS)}, delivered_at, received_at, finished_at, null::timestamptz as next_attempt_at,
      outcome as state, attempts, failure, null::uuid as parked_id
    from deliveries ${whereSql(conditions)} ${newestFirst(filter)})`
}

function queuedSql(filter: HistoryFilter<DeliveryState>): Sql {
  const conditions = conditionsOf(filter, (name) => name)
  if (filter.state === 'queued') conditions.push(sql`delivered_at is null`)
  if (filter.state === 'delivered') conditions.push(sql`delivered_at is not null`)
  return sql`(select ${literalSql(COLUMNS)}, delivered_at, null::timestamptz as received_at,
      null::timestamptz as finished_at, next_attempt_at,
      case when delivered_at is null then 'queued' else 'delivered' end as state, attempts, last_failure as failure,
      null::uuid as parked_id
    from delivery_queue ${whereSql(conditions)} ${newestFirst(filter)})`
}

function parkedSql(filter: HistoryFilter<DeliveryState>): Sql {
  const columns = COLUMNS.split(', ')
  const conditions = conditionsOf(filter, (name) => `q.${name}`)
  conditions.push(sql`p.kind = 'delivery' and p.resolved_at is null`)
  return sql`(select ${literalSql(columns.map((name) => `q.${name}`).join(', '))}, q.delivered_at,
      null::timestamptz as received_at, p.parked_at as finished_at, null::timestamptz as next_attempt_at,
      'parked' as state, q.attempts, p.reason as failure, p.id as parked_id
    from parked p cross join lateral jsonb_populate_record(null::delivery_queue, p.delivery) q
    ${whereSql(conditions)} ${newestFirst(filter, 'q.')})`
}

function conditionsOf(filter: HistoryFilter<DeliveryState>, column: (name: string) => string): Sql[] {
  const named = (name: string) => literalSql(column(name))
  const conditions = sharedConditions(filter, column)
  if (filter.txn !== undefined) {
    // One index entry per event instead of one per delivery: found by accept time, of which there is an index.
    conditions.push(sql`(${named('accepted_at')}, ${named('event_id')}) in (
      select accepted_at, event_id from events where txn = ${filter.txn}::text)`)
  }
  if (filter.streamId !== undefined) conditions.push(sql`${named('stream_id')} = ${filter.streamId}::uuid`)
  if (filter.after) {
    const [micros, eventId, streamId] = filter.after
    conditions.push(sql`(${named('accepted_at')}, ${named('event_id')}, ${named('stream_id')}) < (
      timestamptz 'epoch' + ${cursorMicros(micros)}::bigint * interval '1 microsecond',
      ${cursorUuid(eventId)}::uuid, ${cursorUuid(streamId)}::uuid)`)
  }
  return conditions
}

/** What the points said last about these deliveries. */
async function reportsOf(db: Database, rows: readonly Row[]): Promise<Map<string, ReportRow[]>> {
  const reports = new Map<string, ReportRow[]>()
  if (rows.length === 0) return reports
  const found = await runSql<ReportRow>(
    db,
    sql`select a.stream_id, a.event_id, a.stage, a.status, a.replica, a.reason, a.streams_cut,
        extract(epoch from a.reported_at)::float8 * 1000 as reported_ms
      from unnest(${rows.map((row) => row.stream_id)}::uuid[],
        ${rows.map((row) => row.event_id)}::uuid[], ${rows.map((row) => row.day)}::date[]) as k(stream_id, event_id, day)
      cross join lateral (
        select * from acknowledgements
        where stream_id = k.stream_id and event_id = k.event_id and day = k.day
          and day = any(${[...new Set(rows.map((row) => row.day))]}::date[])
        order by reported_at desc limit ${MAX_REPORTS}::int
      ) a
      order by a.reported_at`,
  )
  for (const report of found) {
    const known = reports.get(keyOf(report))
    if (known) known.push(report)
    else reports.set(keyOf(report), [report])
  }
  return reports
}

const keyOf = (row: { stream_id: string; event_id: string }): string => `${row.stream_id} ${row.event_id}`
const time = (ms: number | null): string | null => (ms === null ? null : toTimestamp(ms))

function toBody(row: Row, jti: string, reports: readonly ReportRow[]): object {
  return {
    jti,
    stream_id: row.stream_id,
    event_id: row.event_id,
    txn: row.txn,
    receiver: { id: row.receiver_id, name: row.receiver_name },
    type: row.type,
    lane: LANES[row.lane],
    state: row.state,
    attempts: row.attempts,
    failure: row.failure,
    ...(row.parked_id !== null && { parked_id: row.parked_id }),
    event_timestamp: row.event_ms === null ? null : Math.floor(row.event_ms / 1000),
    accepted_at: toTimestamp(Number(row.accepted_us) / 1000),
    queued_at: time(row.queued_ms),
    delivered_at: time(row.delivered_ms),
    received_at: time(row.received_ms),
    finished_at: time(row.finished_ms),
    next_attempt_at: time(row.next_attempt_ms),
    acknowledgements: reports.map((report) => ({
      stage: report.stage,
      status: report.status,
      replica: report.replica === '' ? null : report.replica,
      reason: report.reason,
      streams_cut: report.streams_cut,
      reported_at: toTimestamp(report.reported_ms),
    })),
  }
}
