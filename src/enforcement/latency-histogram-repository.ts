import type { Database, Transaction } from '../storage/database.js'
import { cellsSql } from './latency-cells.js'
import { closedUntil, HOUR_MS } from './latency-hours.js'
import { samplesSql } from './sample-sql.js'
import { runSql, type Sql, sql } from './sql-fragment.js'
import { STAGES, type StageDeadlines } from './stages.js'

const at = (ms: number): Sql => sql`to_timestamp(${ms}::float8 / 1000)`

/** Sole writer of `latency_histograms`, `latency_rollups` and `latency_folded_hours`; settles `latency_dirty_hours`. */
export function createLatencyHistogramRepository(db: Database, deadlines: StageDeadlines) {
  return {
    closedUntil: (nowMs: number): number => closedUntil(nowMs, deadlines),

    /**
     * Computes one closed hour again from raw rows and replaces it.
     * @returns false when its raw rows are past retention: then what was folded stays
     */
    foldHour: (hourMs: number, nowMs: number): Promise<boolean> =>
      db.transaction((trx) => foldHour(trx, { hourMs, nowMs, deadlines })),

    /** Where folding should go on: the hour after the last folded one, else the first with a delivery. */
    async nextHour(): Promise<number | undefined> {
      const [row] = await runSql<{ ms: number | null }>(
        db,
        sql`select extract(epoch from coalesce(
            (select max(hour) + interval '1 hour' from latency_folded_hours),
            date_trunc('hour', least(
              (select min(accepted_at) from deliveries),
              (select min(accepted_at) from delivery_queue),
              (select min((delivery ->> 'accepted_at')::timestamptz) from parked
                where kind = 'delivery' and resolved_at is null)), 'UTC')))::float8 * 1000 as ms`,
      )
      return row?.ms ?? undefined
    },

    /**
     * Sums folded hours without streams that are not yet, or were folded again by an older release, the newest first.
     * @returns how many
     */
    async rollUpLeft(limit: number): Promise<number> {
      const hours = await runSql<{ ms: number }>(
        db,
        sql`select extract(epoch from hour)::float8 * 1000 as ms from latency_folded_hours
          where rolled_at is distinct from folded_at order by hour desc limit ${limit}`,
      )
      for (const { ms } of hours) {
        await db.transaction(async (trx) => {
          await lockHour(trx, ms)
          await rollUp(trx, at(ms))
          await runSql(trx, sql`update latency_folded_hours set rolled_at = folded_at where hour = ${at(ms)}`)
        })
      }
      return hours.length
    },

    async dirtyHours(beforeMs: number): Promise<number[]> {
      const rows = await runSql<{ ms: number }>(
        db,
        sql`select extract(epoch from hour)::float8 * 1000 as ms from latency_dirty_hours
          where hour < ${at(beforeMs)} order by hour`,
      )
      return rows.map((row) => row.ms)
    },

    async lastFoldedAt(): Promise<number | undefined> {
      const [row] = await runSql<{ ms: number | null }>(
        db,
        sql`select extract(epoch from max(folded_at))::float8 * 1000 as ms from latency_folded_hours`,
      )
      return row?.ms ?? undefined
    },

    /**
     * Marks closed hours that a result, or a fan-out, reached late. The writers of deliveries need not think of it.
     * @returns how many were marked
     */
    async markLateHours(sinceMs: number, closedMs: number): Promise<number> {
      const rows = await runSql(
        db,
        sql`insert into latency_dirty_hours (hour)
          select distinct date_trunc('hour', accepted_at, 'UTC') from (
            select accepted_at from deliveries where finished_at >= ${at(sinceMs)} and accepted_at < ${at(closedMs)}
            union all
            select accepted_at from delivery_queue where queued_at >= ${at(sinceMs)} and accepted_at < ${at(closedMs)}
            union all
            select (delivery ->> 'accepted_at')::timestamptz from parked
              where kind = 'delivery' and resolved_at is null and parked_at >= ${at(sinceMs)}
                and (delivery ->> 'accepted_at')::timestamptz < ${at(closedMs)}
          ) late
          order by 1
          on conflict (hour) do update set marked_at = clock_timestamp()
          returning hour`,
      )
      return rows.length
    },
  }
}

/** Drops figures, and what they were made by, that are older than so many days. */
export async function forgetFigures(db: Database, days: number): Promise<void> {
  const before = sql`now() - make_interval(days => ${days}::int)`
  await runSql(db, sql`delete from latency_histograms where hour < ${before}`)
  await runSql(db, sql`delete from latency_rollups where hour < ${before}`)
  await runSql(db, sql`delete from latency_folded_hours where hour < ${before}`)
  await runSql(db, sql`delete from latency_dirty_hours where hour < ${before}`)
  await runSql(db, sql`delete from stream_holds where held_until < ${before}`)
}

export type LatencyHistogramRepository = ReturnType<typeof createLatencyHistogramRepository>

async function foldHour(
  trx: Transaction,
  fold: { hourMs: number; nowMs: number; deadlines: StageDeadlines },
): Promise<boolean> {
  const { hourMs, nowMs, deadlines } = fold
  const hour = at(hourMs)
  await lockHour(trx, hourMs)
  // Read before the raw rows: a mark set after this moment stays, and the hour is folded once more.
  const [mark] = await runSql<{ marked_at: string }>(
    trx,
    sql`select marked_at::text from latency_dirty_hours where hour = ${hour}`,
  )
  const present = await holdRawRows(trx, hourMs)
  if (present) {
    await runSql(trx, sql`delete from latency_histograms where hour = ${hour}`)
    for (const stage of STAGES) {
      const scope = {
        stage,
        ranges: [{ fromMs: hourMs, toMs: hourMs + HOUR_MS }],
        deadlineMs: deadlines[stage],
        nowMs,
      }
      await runSql(
        trx,
        sql`with ${samplesSql(scope)}
          insert into latency_histograms (hour, stage, stream_id, receiver_id, type, source_id, bucket, count, max_ms)
          select ${hour}, stage, stream_id, receiver_id, type, source_id, bucket, n, max_ms
            from (${cellsSql(stage)}) cells`,
      )
    }
  }
  await rollUp(trx, hour)
  await runSql(
    trx,
    sql`insert into latency_folded_hours (hour, folded_at, rolled_at) values (${hour}, ${at(nowMs)}, ${at(nowMs)})
      on conflict (hour) do update set folded_at = excluded.folded_at, rolled_at = excluded.rolled_at`,
  )
  if (mark) {
    await runSql(
      trx,
      sql`delete from latency_dirty_hours where hour = ${hour} and marked_at = ${mark.marked_at}::timestamptz`,
    )
  }
  return present
}

/** A rebuild by hand and the folder may meet on one hour. */
async function lockHour(trx: Transaction, hourMs: number): Promise<void> {
  await runSql(
    trx,
    sql`select pg_advisory_xact_lock(hashtext('firebreak latency fold'), ${Math.round(hourMs / HOUR_MS)}::int)`,
  )
}

/** The hour without its streams, from its histograms as they stand now. */
async function rollUp(trx: Transaction, hour: Sql): Promise<void> {
  await runSql(trx, sql`delete from latency_rollups where hour = ${hour}`)
  await runSql(
    trx,
    sql`insert into latency_rollups (hour, stage, type, source_id, bucket, count, max_ms)
      select hour, stage, type, source_id, bucket, sum(count), max(max_ms) from latency_histograms
      where hour = ${hour} group by 1, 2, 3, 4, 5`,
  )
}

/** Keeps the day's partition from being dropped while it is read; false when it is gone. */
async function holdRawRows(trx: Transaction, hourMs: number): Promise<boolean> {
  const partition = `deliveries_${new Date(hourMs).toISOString().slice(0, 10).replaceAll('-', '')}`
  const [row] = await runSql<{ present: boolean }>(
    trx,
    sql`select to_regclass(${partition}::text) is not null as present`,
  )
  if (!row?.present) return false
  await trx.raw('lock table ?? in access share mode', [partition])
  return true
}
