import { type Database, sqlRows } from '../storage/database.js'
import type { ArchiveTable, Manifest } from './archive-manifest.js'

/**
 * What no copy takes over: who lives, which it does not; access tokens of an hour, so that one that was revoked since does
 * not come back; what the migrator makes itself.
 */
const NOT_COPIED = ['hub_processes', 'oauth_artifacts', 'schema_migrations', 'schema_migrations_lock']

/** Partitions belong to their parents, and what an extension brings is its own. */
const OWN_TABLES = `
  from pg_class c where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')`

/** Names of all tables, empty or not. */
export async function listTables(db: Database): Promise<string[]> {
  const rows = await sqlRows<{ name: string }>(db, `select c.relname::text name ${OWN_TABLES} order by 1`)
  return rows.map(({ name }) => name)
}

/**
 * The tables that are copied, each after those that it refers to.
 * @param among of these; default: all
 */
export async function readTables(db: Database, among?: readonly string[]): Promise<ArchiveTable[]> {
  const found = await sqlRows<{ name: string; columns: string[]; refers_to: string[] }>(
    db,
    `select c.relname::text name,
       array(select attname::text from pg_attribute a
         where a.attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = '' order by attnum) columns,
       array(select distinct r.relname::text from pg_constraint k join pg_class r on r.oid = k.confrelid
         where k.conrelid = c.oid and k.contype = 'f' and k.confrelid <> c.oid order by 1) refers_to
     ${OWN_TABLES} and c.relname <> all(?) order by 1`,
    [NOT_COPIED],
  )
  const rows = found.filter(({ name }) => !among || among.includes(name))
  // Those to others, and to what is not copied, are not for a restore to keep.
  const copied = new Set(rows.map(({ name }) => name))
  const done = new Set<string>()
  const ordered: ArchiveTable[] = []
  while (ordered.length < rows.length) {
    const free = rows.filter(
      ({ name, refers_to }) => !done.has(name) && refers_to.every((to) => done.has(to) || !copied.has(to)),
    )
    if (free.length === 0) throw new Error('tables refer to each other in a ring')
    for (const { name, columns } of free) {
      done.add(name)
      ordered.push({ name, columns })
    }
  }
  return ordered
}

/** Of these tables. Read after the snapshot was taken, so no row of it is past its sequence. */
export async function readSequences(
  db: Database,
  tables: readonly ArchiveTable[],
): Promise<Manifest['sequences'][number][]> {
  const names = await sqlRows<{ name: string }>(
    db,
    `select s.relname::text name from pg_class s
     join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.oid and d.deptype in ('a', 'i')
     join pg_class t on t.oid = d.refobjid
     where s.relkind = 'S' and s.relnamespace = current_schema()::regnamespace and t.relname = any(?) order by 1`,
    [tables.map(({ name }) => name)],
  )
  const sequences: Manifest['sequences'][number][] = []
  for (const { name } of names) {
    const [row] = await sqlRows<{ value: string; called: boolean }>(
      db,
      `select last_value::text as value, is_called as called from ${quoted(name)}`,
    )
    if (row) sequences.push({ name, ...row })
  }
  return sequences
}

/** Days that any table has a partition for. */
export async function readDays(db: Database): Promise<string[]> {
  const rows = await sqlRows<{ day: string }>(
    db,
    `select distinct to_date(right(c.relname, 8), 'YYYYMMDD')::text as day
     from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
     where p.relnamespace = current_schema()::regnamespace and p.relkind = 'p' and c.relname ~ '_[0-9]{8}$' order by 1`,
  )
  return rows.map(({ day }) => day)
}

export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

export const quotedList = (names: readonly string[]): string => names.map(quoted).join(', ')
