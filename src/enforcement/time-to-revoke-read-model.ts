import { HUB_SOURCE_ID } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import { bucketUpperMs } from './latency-buckets.js'
import { cellsSql, PARTS, PENDING_BUCKET, storedStage } from './latency-cells.js'
import { HOUR_MS, uncoveredRanges } from './latency-hours.js'
import { type SampleScope, samplesSql } from './sample-sql.js'
import { joinSql, literalSql, runSql, type Sql, sql } from './sql-fragment.js'
import type { Stage } from './stages.js'

export type Grouping = 'stream' | 'event_type' | 'source' | 'point'

export interface TimeToRevokeQuery {
  fromMs: number
  toMs: number
  stage: Stage
  groupBy: readonly Grouping[]
  /** Only this receiver's samples. */
  receiverId?: string
}

/** One group. Durations in ms; a quantile is null when it lies in the outstanding part, or when nothing was measured. */
export interface TimeToRevoke {
  streamId?: string
  eventType?: string
  source?: { id: string; name: string | null }
  point?: { id: string; name: string | null }
  count: number
  pending: number
  outstanding: number
  p50Ms: number | null
  p90Ms: number | null
  p99Ms: number | null
  maxMs: number | null
  infinite: boolean
  notApplicable: number
  superseded: number
  paused: number
  deleted: number
  sourceDelayP50Ms: number | null
  hubP50Ms: number | null
}

interface Row {
  stream_id?: string
  type?: string
  source_id?: string
  source_name?: string | null
  receiver_id?: string
  receiver_name?: string | null
  count: number
  pending: number
  outstanding: number
  not_applicable: number
  superseded: number
  paused: number
  deleted: number
  p50: number | null
  p90: number | null
  p99: number | null
  max_ms: number | null
  source_p50: number | null
  hub_p50: number | null
}

const COLUMN: Record<Grouping, string> = {
  stream: 'stream_id',
  event_type: 'type',
  source: 'source_id',
  point: 'receiver_id',
}

/** A window up to this long is answered from raw rows, exactly, unless it holds too many samples; else from histograms. */
const EXACT_WINDOW_MS = 24 * HOUR_MS
/** Raw rows cost about 3 µs each, and a dashboard asks again and again. */
const EXACT_SAMPLES = 20_000
const OUTSTANDING_RANK = 32_767

/** Time to revoke over a window of accept times. Reads `deliveries` and its neighbours; writes nothing. */
export function createTimeToRevokeReadModel(
  db: Database,
  options: { exactWindowMs?: number; exactSamples?: number } = {},
) {
  const { exactWindowMs = EXACT_WINDOW_MS, exactSamples = EXACT_SAMPLES } = options
  return {
    /** @param limit most groups; one more is answered when there are more */
    async query(
      query: TimeToRevokeQuery,
      use: { nowMs: number; deadlineMs: number; limit: number },
    ): Promise<TimeToRevoke[]> {
      const scope: Omit<SampleScope, 'ranges'> = {
        stage: query.stage,
        nowMs: use.nowMs,
        deadlineMs: use.deadlineMs,
        ...(query.receiverId !== undefined && { receiverId: query.receiverId }),
      }
      return db.transaction(async (trx) => {
        // Sorts and hashes of a day's samples then stay in memory.
        await trx.raw("set local work_mem = '32MB'")
        const folded = await foldedHours(trx, query)
        const isShort = query.toMs - query.fromMs <= exactWindowMs
        if (isShort && (await countFolded(trx, query, folded)) <= exactSamples) {
          const exact = sql`with ${samplesSql({ ...scope, ranges: [query] })}, grouped as (${exactSql(query.groupBy)})`
          const rows = await runSql<Row>(trx, namedSql(exact, query.groupBy, use.limit))
          return rows.map((row) => toTimeToRevoke(row, (value) => value))
        }
        const raw = {
          ...scope,
          ranges: uncoveredRanges(
            query,
            folded.map(({ ms }) => ms),
          ),
        }
        const merged = sql`with ${samplesSql(raw)}, ${histogramSql(query, folded)}`
        const rows = await runSql<Row>(trx, namedSql(merged, query.groupBy, use.limit))
        return rows.map((row) => toTimeToRevoke(row, bucketUpperMs))
      })
    },
  }
}

export type TimeToRevokeReadModel = ReturnType<typeof createTimeToRevokeReadModel>

interface FoldedHour {
  readonly ms: number
  /** Its sums without streams are of the same fold. */
  readonly rolled: boolean
}

/** Whole folded hours of the window, in order. One that waits to be folded again is read raw. */
function foldedHours(db: Database, window: { fromMs: number; toMs: number }): Promise<FoldedHour[]> {
  return runSql<{ ms: number; rolled: boolean }>(
    db,
    sql`select extract(epoch from hour)::float8 * 1000 as ms, rolled_at is not distinct from folded_at as rolled
      from latency_folded_hours f
      where hour >= to_timestamp(${window.fromMs}::float8 / 1000)
        and hour <= to_timestamp(${window.toMs - HOUR_MS}::float8 / 1000)
        and not exists (select 1 from latency_dirty_hours d where d.hour = f.hour)
      order by hour`,
  )
}

/** Samples of the folded hours. Of a receiver only its own: how it is answered must not tell it of others. */
async function countFolded(
  db: Database,
  { stage, receiverId }: TimeToRevokeQuery,
  folded: readonly FoldedHour[],
): Promise<number> {
  if (folded.length === 0) return 0
  const of = sql`stage = ${storedStage(stage, 'value')}`
  const rolled = receiverId === undefined ? folded.filter((hour) => hour.rolled) : []
  const whole = receiverId === undefined ? folded.filter((hour) => !hour.rolled) : folded
  const [row] = await runSql<{ count: number }>(
    db,
    sql`select coalesce(sum(count), 0)::float8 as count from (
        select count from latency_rollups where ${inHours(rolled)} and ${of}
        union all
        select count from latency_histograms where ${inHours(whole)} and ${of} and ${ofReceiver(receiverId)}
      ) counts`,
  )
  return row?.count ?? 0
}

const ofReceiver = (receiverId: string | undefined): Sql =>
  receiverId === undefined ? literalSql('true') : sql`receiver_id = ${receiverId}::uuid`

const inHours = (hours: readonly FoldedHour[]): Sql =>
  sql`hour in (select to_timestamp(ms / 1000) from unnest(${hours.map(({ ms }) => ms)}::float8[]) ms)`

/** Nearest-rank quantiles; an outstanding sample ranks above every resolved one. */
function exactSql(groupBy: readonly Grouping[]): Sql {
  const columns = columnsSql(groupBy)
  const of = (name: string) => literalSql(`count(*) filter (where class = '${name}') as ${name}`)
  const classes = ['pending', 'outstanding', 'not_applicable', 'superseded', 'paused', 'deleted'].map(of)
  const counted = literalSql(`class in ('resolved', 'pending', 'outstanding')`)
  return sql`
    select g.*, quantiles[1] as p50, quantiles[2] as p90, quantiles[3] as p99 from (
      select ${columns.listed} count(*) filter (where ${counted}) as count, ${joinSql(classes, ', ')},
        percentile_disc(array[0.5, 0.9, 0.99]) within group (
          order by case class when 'resolved' then ms when 'outstanding' then 'Infinity'::float8 end) as quantiles,
        max(ms) as max_ms,
        percentile_disc(0.5) within group (order by source_delay_ms) filter (where ${counted}) as source_p50,
        percentile_disc(0.5) within group (order by hub_ms) filter (where ${counted}) as hub_p50
      from samples ${columns.grouped}
    ) g`
}

/** The same from buckets: stored hours, and the rest of the window's raw rows counted into the same buckets. */
function histogramSql(query: TimeToRevokeQuery, folded: readonly FoldedHour[]): Sql {
  const columns = columnsSql(query.groupBy)
  const [value, source, hub] = PARTS.map((part) => storedStage(query.stage, part))
  const total = (bucket: number) =>
    literalSql(`coalesce(sum(n) filter (where stage = '${value}' and bucket = ${bucket}), 0)::float8`)
  const quantile = (stage: string | undefined, share: number) =>
    literalSql(
      `min(rank) filter (where stage = '${stage}' and bucket >= -1 and reached >= ceil(${share} * total))`,
    )
  const stages = sql`stage = any(${[value, source, hub]}::text[])`
  const needsStreams =
    query.receiverId !== undefined || query.groupBy.includes('stream') || query.groupBy.includes('point')
  const rolled = needsStreams ? [] : folded.filter((hour) => hour.rolled)
  const whole = needsStreams ? folded : folded.filter((hour) => !hour.rolled)
  return sql`
    cells as (
      select stage, stream_id, receiver_id, type, source_id, bucket, n, max_ms from (${cellsSql(query.stage)}) raw
      union all
      select stage, stream_id, receiver_id, type, source_id, bucket, count, max_ms from latency_histograms
        where ${inHours(whole)} and ${stages} and ${ofReceiver(query.receiverId)}
      union all
      select stage, null, null, type, source_id, bucket, count, max_ms from latency_rollups
        where ${inHours(rolled)} and ${stages}
    ),
    summed as (
      select ${columns.listed} stage, bucket, case when bucket = -1 then ${literalSql(String(OUTSTANDING_RANK))} else bucket end as rank,
        sum(n) as n, max(max_ms) as max_ms
      from cells group by ${columns.listed} stage, bucket
    ),
    ranked as (
      select *, sum(n) filter (where bucket >= -1) over (partition by ${columns.listed} stage order by rank) as reached,
        sum(n) filter (where bucket >= -1) over (partition by ${columns.listed} stage) as total
      from summed
    ),
    grouped as (
      select ${columns.listed}
        coalesce(sum(n) filter (where stage = ${literalSql(`'${value}'`)} and bucket in (-1, ${literalSql(String(PENDING_BUCKET))})), 0)::float8
          + coalesce(sum(n) filter (where stage = ${literalSql(`'${value}'`)} and bucket >= 0), 0)::float8 as count,
        ${total(PENDING_BUCKET)} as pending, ${total(-1)} as outstanding, ${total(-2)} as not_applicable,
        ${total(-3)} as superseded, ${total(-4)} as paused, ${total(-5)} as deleted,
        ${quantile(value, 0.5)} as p50, ${quantile(value, 0.9)} as p90, ${quantile(value, 0.99)} as p99,
        max(max_ms) filter (where stage = ${literalSql(`'${value}'`)}) as max_ms,
        ${quantile(source, 0.5)} as source_p50, ${quantile(hub, 0.5)} as hub_p50
      from ranked ${columns.grouped}
    )`
}

function columnsSql(groupBy: readonly Grouping[]): { listed: Sql; grouped: Sql } {
  const names = groupBy.map((grouping) => COLUMN[grouping])
  return {
    listed: literalSql(names.map((name) => `${name}, `).join('')),
    grouped: literalSql(`group by ${names.length === 0 ? '()' : names.join(', ')}`),
  }
}

/** Adds names and an order to `grouped`. */
function namedSql(withSql: Sql, groupBy: readonly Grouping[], limit: number): Sql {
  const extra: string[] = []
  const joins: string[] = []
  if (groupBy.includes('source')) {
    extra.push(`, case when g.source_id = '${HUB_SOURCE_ID}' then 'hub' else t.name end as source_name`)
    joins.push('left join transmitters t on t.id = g.source_id')
  }
  if (groupBy.includes('point')) {
    extra.push(', r.name as receiver_name')
    joins.push('left join receivers r on r.id = g.receiver_id')
  }
  const order =
    groupBy.length === 0 ? '' : `order by ${groupBy.map((each) => `g.${COLUMN[each]}`).join(', ')}`
  return sql`${withSql} select g.*${literalSql(extra.join(''))} from grouped g ${literalSql(joins.join(' '))}
    ${literalSql(order)} limit ${limit + 1}::int`
}

/** @param toMs a quantile as stored (ms, or a bucket) to ms */
function toTimeToRevoke(row: Row, toMs: (stored: number) => number): TimeToRevoke {
  const ms = (stored: number | null, atMost = Number.POSITIVE_INFINITY): number | null => {
    if (stored === null || stored === OUTSTANDING_RANK || !Number.isFinite(stored)) return null
    return Math.min(toMs(stored), atMost)
  }
  const most = row.max_ms ?? Number.POSITIVE_INFINITY
  return {
    ...(row.stream_id !== undefined && { streamId: row.stream_id }),
    ...(row.type !== undefined && { eventType: row.type }),
    ...(row.source_id !== undefined && { source: { id: row.source_id, name: row.source_name ?? null } }),
    ...(row.receiver_id !== undefined && { point: { id: row.receiver_id, name: row.receiver_name ?? null } }),
    count: row.count,
    pending: row.pending,
    outstanding: row.outstanding,
    p50Ms: ms(row.p50, most),
    p90Ms: ms(row.p90, most),
    p99Ms: ms(row.p99, most),
    maxMs: row.max_ms,
    infinite: row.outstanding > 0,
    notApplicable: row.not_applicable,
    superseded: row.superseded,
    paused: row.paused,
    deleted: row.deleted,
    sourceDelayP50Ms: ms(row.source_p50),
    hubP50Ms: ms(row.hub_p50),
  }
}
