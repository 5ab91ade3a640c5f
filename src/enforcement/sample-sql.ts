import { firstEventIdAt } from '../kernel/ids.js'
import { LANE_NUMBER, type Lane } from '../secevent/event.js'
import { joinSql, literalSql, type Sql, sql } from './sql-fragment.js'
import { STAGE_BIT, type Stage } from './stages.js'

/** Accept times, ms since the epoch, the end excluded. */
export interface TimeRange {
  fromMs: number
  toMs: number
  /** Only of this lane. */
  lane?: Lane
}

export interface SampleScope {
  stage: Stage
  /** Apart from each other; at least one. */
  ranges: readonly TimeRange[]
  /** Only this receiver's. */
  receiverId?: string
  /** Only of events that tighten access. */
  tightensOnly?: boolean
  /** Only where this stage is not expected. */
  unlessExpected?: Stage
  /** What is younger and open is pending; else it is outstanding. */
  deadlineMs: number
  nowMs: number
}

const at = (ms: number): Sql => sql`to_timestamp(${ms}::float8 / 1000)`
const within = ({ accepted, lane }: { accepted: string; lane: string }, range: TimeRange): Sql =>
  sql`(${literalSql(accepted)} >= ${at(range.fromMs)} and ${literalSql(accepted)} < ${at(range.toMs)}
    and ${range.lane === undefined ? literalSql('true') : sql`${literalSql(lane)} = ${LANE_NUMBER[range.lane]}::smallint`})`

/**
 * The one definition of a sample, used by queries and by the folder: common table expressions ending in
 * `samples(stream_id, receiver_id, lane, type, source_id, accepted_at, class, ms, source_delay_ms, hub_ms)`.
 *
 * A sample is a delivery whose point is expected to report the stage. `class` is, in this order of precedence:
 * superseded, deleted, not_applicable, paused (its receiver had held the stream while the SET was on its way),
 * resolved, pending, outstanding. `ms` is set for resolved ones and never negative.
 * A point with replicas is done when the last replica that reported is: one that failed holds it open.
 */
export function samplesSql(scope: SampleScope): Sql {
  return sql`
    base as (${baseSql(scope)}),
    reports as (${reportsSql(scope)}),
    held as (${heldSql(scope)}),
    classed as (
      select b.*, ${resolvedAtSql(scope.stage)} as resolved_at,
        case
          when b.outcome = 'superseded' then 'superseded'
          when b.outcome = 'deleted' then 'deleted'
          when r.not_applicable then 'not_applicable'
          when ${wasHeldSql(scope)} then 'paused'
          when ${resolvedAtSql(scope.stage)} is not null then 'resolved'
          when b.accepted_at > ${at(scope.nowMs - scope.deadlineMs)} then 'pending'
          else 'outstanding'
        end as class
      from base b
        left join reports r on r.stream_id = b.stream_id and r.event_id = b.event_id
        left join held h on h.stream_id = b.stream_id
    ),
    samples as (
      select stream_id, receiver_id, lane, type, source_id, accepted_at, class,
        case when class = 'resolved' then ${msBetween('accepted_at', 'resolved_at')} end as ms,
        ${msBetween('event_timestamp', 'accepted_at')} as source_delay_ms,
        ${msBetween('accepted_at', 'delivered_at')} as hub_ms
      from classed
      -- Keeps Postgres from working out the class again for each of the dozen aggregates above it.
      offset 0
    )`
}

/** Null when either is; 0 when clocks disagree (the metric `firebreak_clock_skew_total` counts those). */
function msBetween(start: string, end: string): Sql {
  return literalSql(
    `case when ${end} is not null and ${start} is not null
      then greatest(date_part('epoch', ${end} - ${start}) * 1000, 0) end`,
  )
}

function resolvedAtSql(stage: Stage): Sql {
  return literalSql(stage === 'received' ? 'b.received_at' : 'r.resolved_at')
}

/** A delivery stands in one of three places; a move between them is one transaction, so it is counted once. */
function baseSql(scope: SampleScope): Sql {
  const bit = STAGE_BIT[scope.stage]
  const ranges = (columns: { accepted: string; lane: string }) =>
    sql`(${joinSql(
      scope.ranges.map((range) => within(columns, range)),
      ' or ',
    )})`
  const own = (column: string) =>
    scope.receiverId === undefined
      ? literalSql('true')
      : sql`${literalSql(column)} = ${scope.receiverId}::uuid`
  const rest = sql`${scope.tightensOnly ? literalSql("and effect = 'tightens'") : literalSql('')}
    ${scope.unlessExpected ? sql`and expects & ${STAGE_BIT[scope.unlessExpected]}::int = 0` : literalSql('')}`
  const isNarrow = lengthOf(scope) <= NARROW_MS
  return sql`
    select stream_id, event_id, day, receiver_id, lane, type, source_id, accepted_at, event_timestamp,
        delivered_at, received_at, finished_at, outcome
      from deliveries
      where ${daysSql('day', scope.ranges)} and ${ranges({ accepted: 'accepted_at', lane: 'lane' })}
        and expects & ${bit}::int <> 0 and ${own('receiver_id')} ${rest}
    union all
    select stream_id, event_id, day, receiver_id, lane, type, source_id, accepted_at, event_timestamp,
        delivered_at, null, null, 'open'
      from ${isNarrow ? queuedSql(scope.ranges) : literalSql('delivery_queue')} queued
      where ${ranges({ accepted: 'accepted_at', lane: 'lane' })} and expects & ${bit}::int <> 0
        and ${own('receiver_id')} ${rest}
    union all
    select q.stream_id, q.event_id, q.day, q.receiver_id, p.lane, q.type, q.source_id, q.accepted_at, q.event_timestamp,
        q.delivered_at, null, null, 'open'
      from ${isNarrow ? parkedSql(scope.ranges) : literalSql('parked')} p cross join lateral (
        select * from jsonb_to_record(p.delivery) as parked_row(stream_id uuid, event_id uuid, day date,
          receiver_id uuid, type text, source_id uuid, accepted_at timestamptz, event_timestamp timestamptz,
          delivered_at timestamptz, expects smallint, effect text)
      ) q
      where p.kind = 'delivery' and p.resolved_at is null and ${ranges({ accepted: 'q.accepted_at', lane: 'p.lane' })}
        and q.expects & ${bit}::int <> 0 and ${own('q.receiver_id')} ${rest}`
}

/** Event ids begin with their accept time, and both keys below end with them. */
function idRangesSql(ranges: readonly TimeRange[]): Sql {
  const rows = ranges.map(
    ({ fromMs, toMs, lane }) =>
      sql`(${firstEventIdAt(fromMs)}::uuid, ${firstEventIdAt(Math.ceil(toMs))}::uuid,
        ${lane === undefined ? null : LANE_NUMBER[lane]}::smallint)`,
  )
  return sql`(values ${joinSql(rows, ', ')}) as ids(low, high, lane)`
}

/**
 * What a range has of the queue, along its primary key: from stream to stream and lane to lane, and in each to the ids of
 * the range. So it costs by what is in the range and by streams that are owed something, and not by all that they are owed.
 */
function queuedSql(ranges: readonly TimeRange[]): Sql {
  return sql`(
    with recursive owed as (
      (select stream_id, lane from delivery_queue order by stream_id, lane limit 1)
      union all
      select next.stream_id, next.lane from owed cross join lateral (
        select q.stream_id, q.lane from delivery_queue q where (q.stream_id, q.lane) > (owed.stream_id, owed.lane)
        order by q.stream_id, q.lane limit 1) next
    )
    select found.* from owed join ${idRangesSql(ranges)} on ids.lane is null or ids.lane = owed.lane
      cross join lateral (
        select * from delivery_queue q where q.stream_id = owed.stream_id and q.lane = owed.lane
          and q.event_id >= ids.low and q.event_id < ids.high offset 0) found)`
}

/** The same of what is parked. */
function parkedSql(ranges: readonly TimeRange[]): Sql {
  return sql`(
    with recursive held as (
      (select stream_id from parked where resolved_at is null and kind = 'delivery' and stream_id is not null
       order by stream_id limit 1)
      union all
      select next.stream_id from held cross join lateral (
        select p.stream_id from parked p
        where p.resolved_at is null and p.kind = 'delivery' and p.stream_id > held.stream_id
        order by p.stream_id limit 1) next
    )
    select found.* from held cross join ${idRangesSql(ranges)}
      cross join lateral (
        select * from parked p where p.stream_id = held.stream_id
          and p.event_id >= ids.low and p.event_id < ids.high and (ids.lane is null or p.lane = ids.lane)
          and p.resolved_at is null and p.kind = 'delivery' offset 0) found)`
}

/** Total length up to which reports are joined before they are grouped, and open rows looked up by their ids. */
const NARROW_MS = 3 * 3_600_000
const lengthOf = ({ ranges }: SampleScope): number =>
  ranges.reduce((sum, range) => sum + range.toMs - range.fromMs, 0)

/**
 * A few hours join first, to pay for their own reports and not for their day's. A day groups first: reading `base`
 * twice would make Postgres write it to disk and give up parallel scans (measured: 1.7 s against 0.7 s for 200,000, on a busy machine).
 */
function reportsSql(scope: SampleScope): Sql {
  if (scope.stage === 'received') {
    // What was received was received, whether or not the point could make use of it.
    return sql`select null::uuid as stream_id, null::uuid as event_id, false as not_applicable,
      null::timestamptz as resolved_at where false`
  }
  const resolved = literalSql(`'${scope.stage}'`)
  const narrow = lengthOf(scope) <= NARROW_MS
  return sql`
    select stream_id, event_id,
      bool_and(status = 'not_applicable') as not_applicable,
      case when coalesce(
        array_agg(replica) filter (where status = 'failed')
          <@ coalesce(array_agg(replica) filter (where status = ${resolved}), '{}'), true)
        then max(reported_at) filter (where status = ${resolved}) end as resolved_at
    from acknowledgements a ${literalSql(narrow ? 'join base b using (stream_id, event_id, day)' : '')}
    where ${daysSql('a.day', scope.ranges)}
      and (a.stage = ${resolved} or a.status = 'not_applicable')
    group by stream_id, event_id`
}

/** One row per stream that its receiver held, so that the join never doubles a sample. */
function heldSql(scope: SampleScope): Sql {
  const firstMs = Math.min(...scope.ranges.map((range) => range.fromMs))
  return sql`
    select stream_id, range_agg(tstzrange(held_from, held_until)) as held from stream_holds
    where held_until is null or held_until > ${at(firstMs)}
    group by stream_id`
}

/**
 * A hold excuses a sample only when it began before the sample's deadline: pausing later cannot make an outage
 * look like the receiver's own will. So what an hour's samples are is settled once its deadlines have passed.
 */
function wasHeldSql(scope: SampleScope): Sql {
  return sql`h.held && tstzrange(b.accepted_at, greatest(b.accepted_at, least(
    coalesce(b.received_at, b.finished_at, ${at(scope.nowMs)}),
    b.accepted_at + ${scope.deadlineMs}::float8 * interval '1 millisecond')))`
}

/** Accept days, for pruning partitions. */
function daysSql(column: string, ranges: readonly TimeRange[]): Sql {
  return sql`(${joinSql(
    ranges.map(
      (range) =>
        sql`${literalSql(column)} between ${dayText(range.fromMs)}::date and ${dayText(range.toMs)}::date`,
    ),
    ' or ',
  )})`
}

const dayText = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
