import type { Logger } from '../kernel/logger.js'
import { createPeriodicWorker } from '../kernel/periodic-worker.js'
import type { Worker } from '../kernel/worker.js'
import { type Database, sqlRows, type Transaction } from './database.js'
import type { LeaseSet } from './leases.js'

const DAYS_AHEAD = 7
const PARTITION_LOCK = 0x46427061
const EVERY_MS = 3_600_000
/** A drop takes an exclusive lock; rather later than in the way of the hot path. */
const LOCK_TIMEOUT = '2s'

/** Makes the partitions of yesterday to a week ahead (days in UTC). Safe to call from several processes. */
export async function ensureDayPartitions(db: Database): Promise<void> {
  await db.transaction(async (trx) => {
    await trx.raw('select pg_advisory_xact_lock(?)', [PARTITION_LOCK])
    await trx.raw(
      "select ensure_day_partitions((now() at time zone 'utc')::date - 1, (now() at time zone 'utc')::date + ?::int)",
      [DAYS_AHEAD],
    )
  })
}

/** PostgreSQL's code for a lock that was not to be had within `lock_timeout`. */
const LOCK_NOT_AVAILABLE = '55P03'

/** For a start, which goes on while somebody holds the tables, when today and tomorrow are there: upkeep makes the rest. */
export async function ensureDaysToStart(db: Database): Promise<void> {
  try {
    await ensureDayPartitions(db)
  } catch (error) {
    if ((error as { code?: unknown }).code !== LOCK_NOT_AVAILABLE || !(await hasTodayAndTomorrow(db)))
      throw error
  }
}

async function hasTodayAndTomorrow(db: Database): Promise<boolean> {
  const [row] = await sqlRows<{ all_there: boolean }>(
    db,
    `select bool_and(to_regclass(p.relname || '_' || to_char((now() at time zone 'utc')::date + ahead, 'YYYYMMDD')) is not null) all_there
     from pg_class p, generate_series(0, 1) ahead where p.relkind = 'p' and p.relnamespace = current_schema()::regnamespace`,
  )
  return row?.all_there === true
}

/** Makes the partitions of one day, if they are not there. */
export async function ensureDayPartition(db: Database, day: string): Promise<void> {
  await db.transaction(async (trx) => {
    await trx.raw('select pg_advisory_xact_lock(?)', [PARTITION_LOCK])
    await trx.raw('select ensure_day_partitions(?::date, ?::date)', [day, day])
  })
}

export interface RetentionOptions {
  /** Repeats are recognised for this many days. */
  dedupeWindowDays: number
  /** Events, results and acknowledgements are kept for this many days, and longer while a delivery is open. */
  retentionDays: number
  /** What events say is kept for this many days, and longer while a delivery is open. */
  contentRetentionDays: number
  /** Takes the content of events of the days before this one; runs on its own, however long it takes. */
  eraseContentBefore?(db: Database, day: string): Promise<unknown>
  /** Erases the keys of contents of the days before this one. */
  eraseKeysBefore?(trx: Transaction, day: string): Promise<unknown>
  /** Erases what else belongs to the days before this one, in the transaction that drops the events. */
  eraseDaysBefore?(trx: Transaction, day: string): Promise<unknown>
}

/**
 * Drops the days past retention. A day whose deliveries are not all done stays, and so do the days after it, because
 * their keys go together.
 * @returns names of the dropped partitions
 */
export async function dropOldDays(db: Database, options: RetentionOptions): Promise<string[]> {
  const [bounds] = await sqlRows<{ keys: string; contents: string; events: string }>(
    db,
    `with today as (select (now() at time zone 'utc')::date as day, (select min(day) from delivery_queue) as open)
     select (day - ?::int)::text keys, least(day - ?::int, open)::text contents, least(day - ?::int, open)::text events
     from today`,
    [options.dedupeWindowDays, options.contentRetentionDays, options.retentionDays],
  )
  if (!bounds) return []
  if (bounds.contents > bounds.events) await options.eraseContentBefore?.(db, bounds.contents)
  return await db.transaction(async (trx) => {
    await trx.raw(`set local lock_timeout = '${LOCK_TIMEOUT}'`)
    const dropped = await dropPartitions(trx, ['event_keys'], bounds.keys)
    dropped.push(...(await dropPartitions(trx, ['acknowledgements', 'deliveries', 'events'], bounds.events)))
    await options.eraseKeysBefore?.(trx, bounds.contents)
    await options.eraseDaysBefore?.(trx, bounds.events)
    return dropped
  })
}

async function dropPartitions(trx: Transaction, parents: string[], beforeDay: string): Promise<string[]> {
  const rows = await sqlRows<{ name: string }>(
    trx,
    `select c.relname name from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
     where p.relname = any(?) and p.relnamespace = current_schema()::regnamespace
       and right(c.relname, 8) < to_char(?::date, 'YYYYMMDD') order by 1`,
    [parents, beforeDay],
  )
  for (const { name } of rows) await trx.raw('drop table ??', [name])
  return rows.map((row) => row.name)
}

export interface UpkeepOptions extends RetentionOptions {
  db: Database
  lease: Pick<LeaseSet, 'get' | 'onChange'>
  logger: Logger
  /** Ends what has waited too long: a day with open work is not dropped. */
  expire?(): Promise<unknown>
  /** Drops what is not kept by day. */
  trim?(): Promise<unknown>
}

/**
 * Each hour, by whoever holds the `upkeep` lease: day partitions ahead, what is past its retention ended or dropped. The
 * caller starts and stops the lease.
 */
export function createUpkeep(options: UpkeepOptions): Worker {
  const { db, lease, logger } = options
  const worker = createPeriodicWorker({
    name: 'upkeep',
    everyMs: EVERY_MS,
    async round() {
      if (!lease.get(0)) return
      await ensureDayPartitions(db)
      await options.expire?.()
      const dropped = await dropOldDays(db, options)
      await options.trim?.()
      await db.raw("delete from hub_processes where seen_at < now() - interval '1 day'")
      if (dropped.length > 0) logger.info('upkeep.dropped', { partitions: dropped })
    },
    failed: { event: 'upkeep.failed', says: 'upkeep failed' },
    logger,
  })
  lease.onChange(() => worker.ring())
  return worker
}
