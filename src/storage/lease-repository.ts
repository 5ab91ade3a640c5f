import { type Database, sqlRows, type Transaction } from './database.js'

interface LeaseRow {
  unit: number
  epoch: number
}

/** Whether a living process holds the unit. */
export async function hasOwner(db: Database, kind: string, unit: number): Promise<boolean> {
  const rows = await sqlRows(
    db,
    'select 1 from leases where kind = ? and unit = ? and expires_at > clock_timestamp()',
    [kind, unit],
  )
  return rows.length > 0
}

/**
 * Takes every unit from its owner, under an epoch that no process can have been given before: a process that still lives on
 * what this database is a copy of finds its own epochs nowhere here, however often units changed hands since.
 */
export async function fenceAllLeases(trx: Transaction): Promise<void> {
  await trx.raw(
    `update leases set owner = null, expires_at = '-infinity',
       epoch = greatest(epoch + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint)`,
  )
}

export interface LeaseRepository {
  /** Says that this process lives and competes for the kind. @returns how many units are its fair share */
  beatAndShare(): Promise<number>
  /** @param except units that are on their way to others */
  renew(except: readonly number[]): Promise<LeaseRow[]>
  take(count: number): Promise<LeaseRow[]>
  release(leases: readonly LeaseRow[]): Promise<void>
  /** Gives back those leases and stops competing. */
  leave(leases: readonly LeaseRow[]): Promise<void>
}

/** Sole writer of `leases` and `hub_processes`. All times are the database's. */
export function createLeaseRepository(options: {
  db: Database
  kind: string
  units: number
  processId: string
  leaseMs: number
}): LeaseRepository {
  const { db, kind, units, processId } = options
  const term = `${options.leaseMs} milliseconds`
  let rowsExist = false

  async function ensureRows(): Promise<void> {
    await db.raw(
      'insert into leases (kind, unit) select ?, generate_series(0, ?::int - 1) on conflict do nothing',
      [kind, units],
    )
    rowsExist = true
  }

  async function release(leases: readonly LeaseRow[]): Promise<void> {
    if (leases.length === 0) return
    await db.raw(
      `update leases l set owner = null, expires_at = '-infinity'
       from unnest(?::int[], ?::bigint[]) as mine(unit, epoch)
       where l.kind = ? and l.unit = mine.unit and l.epoch = mine.epoch and l.owner = ?`,
      [leases.map((lease) => lease.unit), leases.map((lease) => lease.epoch), kind, processId],
    )
  }

  return {
    async beatAndShare() {
      if (!rowsExist) await ensureRows()
      const rows = await sqlRows<{ process_id: string }>(
        db,
        `with beat as (
           insert into hub_processes (process_id, roles) values (?, array[?])
           on conflict (process_id) do update set seen_at = clock_timestamp(),
             roles = array(select distinct unnest(hub_processes.roles || excluded.roles) order by 1))
         select process_id from hub_processes
         where ? = any(roles) and seen_at > clock_timestamp() - ?::interval and process_id <> ?`,
        [processId, kind, kind, term, processId],
      )
      const living = [...rows.map((row) => row.process_id), processId].sort()
      const extra = living.indexOf(processId) < units % living.length ? 1 : 0
      return Math.floor(units / living.length) + extra
    },

    renew: (except) =>
      sqlRows<LeaseRow>(
        db,
        `update leases set expires_at = clock_timestamp() + ?::interval
         where kind = ? and owner = ? and expires_at > clock_timestamp()
           and unit <> all(?::int[]) returning unit, epoch`,
        [term, kind, processId, [...except]],
      ),

    // Two processes that take at once skip each other's rows instead of waiting for them.
    take: (count) =>
      sqlRows<LeaseRow>(
        db,
        `update leases l set owner = ?, epoch = l.epoch + 1, expires_at = clock_timestamp() + ?::interval
         from (select unit from leases where kind = ? and unit < ? and expires_at <= clock_timestamp()
           order by unit limit ? for update skip locked) free
         where l.kind = ? and l.unit = free.unit returning l.unit, l.epoch`,
        [processId, term, kind, units, count, kind],
      ),

    release,
    async leave(leases) {
      await release(leases)
      await db.raw('update hub_processes set roles = array_remove(roles, ?) where process_id = ?', [
        kind,
        processId,
      ])
      await db.raw("delete from hub_processes where process_id = ? and roles = '{}'", [processId])
    },
  }
}
