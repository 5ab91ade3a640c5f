import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import pg from 'pg'
import { crashpoint } from '../kernel/crashpoint.js'
import { StartupError } from '../kernel/errors.js'
import { type Database, openPool, sqlRows, type Transaction } from './database.js'
import { ensureDayPartitions, ensureDaysToStart } from './partitions.js'

/** Beside `dist` in the package; this file runs as dist/src/storage/migrator.js. */
export const MIGRATIONS_DIR = fileURLToPath(new URL('../../../migrations', import.meta.url))
const TABLE = 'schema_migrations'
const MIGRATE_LOCK = 0x46426d67
const OLDEST_SERVER = 150_000
/** Of a migration that takes something away: the oldest migration that a program must know to live with it. */
const NEEDS = /\.needs-(\d{14})\.js$/

interface Migration {
  up(knex: Database): Promise<void>
  down(knex: Database): Promise<void>
}

/**
 * Brings the schema up to date and makes the day partitions of the coming week. All that is pending is one transaction, so a
 * process killed half-way leaves nothing; hubs that start together do it one after another.
 * @returns names of the migrations applied now
 * @throws StartupError when the server is too old, forgets commits, or its schema is newer than this program
 */
export async function migrate(db: Database, directory = MIGRATIONS_DIR): Promise<{ applied: string[] }> {
  await requireServer(db)
  const url = connectionStringOf(db)
  const lock = new pg.Client({ connectionString: url, application_name: 'firebreak migrate lock' })
  lock.on('error', () => {})
  // Without the pool's statement timeout: building an index on a large table takes its time, and so does waiting for it.
  const pool = openPool(url, { name: 'migrate', max: 1, statementTimeoutMs: 0 })
  try {
    await lock.connect()
    await lock.query('select pg_advisory_lock($1)', [MIGRATE_LOCK])
    const pending = await pendingNames(pool, directory)
    // Knex marks its own lock in a row that a killed process leaves marked; the session lock above is what counts.
    if (await pool.schema.hasTable(`${TABLE}_lock`))
      await pool.migrate.forceFreeMigrationsLock({ tableName: TABLE })
    if (pending.length > 0) await apply(pool, directory, await knownMigrations(directory))
    await ensureDaysToStart(pool)
    return { applied: pending }
  } finally {
    await pool.destroy()
    await lock.end()
  }
}

function connectionStringOf(db: Database): string {
  const client = db.client as { config: { connection: { connectionString: string } } }
  return client.config.connection.connectionString
}

/** @throws StartupError when the server is older than 15 or answers a commit before it is on disk */
export async function requireServer(db: Database): Promise<void> {
  const [server] = await sqlRows<{ number: number; version: string; commit: string }>(
    db,
    `select current_setting('server_version_num')::int number, current_setting('server_version') version,
       current_setting('synchronous_commit') commit`,
  )
  if (!server) throw new StartupError('the database gave no answer about its version')
  if (server.number < OLDEST_SERVER) {
    throw new StartupError(`DATABASE_URL leads to PostgreSQL ${server.version}; firebreak needs 15 or later`)
  }
  if (server.commit === 'off') {
    throw new StartupError(
      'synchronous_commit is off in PostgreSQL, so a crash would lose events that were acknowledged: set it to on for this database and user',
    )
  }
}

/** For a transaction in which the schema is made: hubs that start meanwhile wait for its end. */
export async function lockMigrations(trx: Transaction): Promise<void> {
  await trx.raw('select pg_advisory_xact_lock(?)', [MIGRATE_LOCK])
}

/**
 * Migrates inside the caller's transaction, which called `lockMigrations`, so that it ends with the rest or not at all.
 * @param names which, of those that this program knows; default: all, and the partitions of the coming week
 * @returns names of the migrations applied now
 */
export async function migrateInside(
  trx: Transaction,
  { names, directory = MIGRATIONS_DIR }: { names?: readonly string[]; directory?: string } = {},
): Promise<string[]> {
  const applied = await apply(trx, directory, names ?? (await knownMigrations(directory)))
  if (!names) await ensureDayPartitions(trx)
  return applied
}

/** Names of the migrations that the database has, in their order. */
export async function appliedMigrations(db: Database): Promise<string[]> {
  if (!(await db.schema.hasTable(TABLE))) return []
  return (await sqlRows<{ name: string }>(db, `select name from ${TABLE} order by name`)).map(
    ({ name }) => name,
  )
}

async function apply(db: Database, directory: string, names: readonly string[]): Promise<string[]> {
  const [, applied] = (await db.migrate.latest({
    tableName: TABLE,
    // What a newer release added and an older one can live with.
    disableMigrationsListValidation: true,
    migrationSource: {
      getMigrations: async () => [...names],
      getMigrationName: (name: string) => name,
      getMigration: async (name: string) => {
        const migration = (await import(pathToFileURL(path.join(directory, name)).href)) as Migration
        return {
          ...migration,
          async up(knex: Database) {
            await migration.up(knex)
            crashpoint('migration.applied')
          },
        }
      },
    },
  })) as [number, string[]]
  return applied
}

/** Names of the migrations that this program has, in their order. */
export async function knownMigrations(directory = MIGRATIONS_DIR): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.js')).sort()
}

/** Names of the tables that these migrations make or made; what else a database holds is somebody else's. */
export async function tablesOfMigrations(directory = MIGRATIONS_DIR): Promise<Set<string>> {
  const tables = new Set([TABLE, `${TABLE}_lock`])
  for (const name of await knownMigrations(directory)) {
    const text = await readFile(path.join(directory, name), 'utf8')
    for (const [, table] of text.matchAll(/\bcreate table (?:if not exists )?(\w+)/gi))
      tables.add(table as string)
  }
  return tables
}

/**
 * What is still to be applied. A database that a newer release migrated is as good as up to date, as long as that release
 * only added to it: so a process of the older one may start again while the processes are upgraded one by one.
 * @throws StartupError when the newer schema needs a newer program
 */
async function pendingNames(db: Database, directory: string): Promise<string[]> {
  const known = await knownMigrations(directory)
  const applied = await appliedMigrations(db)
  const pending = known.filter((name) => !applied.includes(name))
  const newer = applied.filter((name) => !known.includes(name))
  const tooNew = newer.filter((name) => {
    const needs = NEEDS.exec(name)?.[1]
    return pending.length > 0 || (needs !== undefined && !known.some((each) => each.startsWith(needs)))
  })
  if (tooNew.length === 0) return pending
  throw new StartupError(
    `the database was migrated by a newer firebreak (${tooNew.join(', ')}), and this one cannot work on it: start that release, or restore a backup from before it`,
  )
}
