import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { StartupError } from '../kernel/errors.js'
import { type Database, openPool, sqlRows } from './database.js'
import { ensureDayPartitions } from './partitions.js'

/** Beside `dist` in the package; this file runs as dist/src/storage/migrator.js. */
export const MIGRATIONS_DIR = fileURLToPath(new URL('../../../migrations', import.meta.url))
const TABLE = 'schema_migrations'
const MIGRATE_LOCK = 0x46426d67
const OLDEST_SERVER = 150_000

/**
 * Brings the schema up to date and makes the day partitions of the coming week. Each migration is a transaction, so a
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
    await refuseNewerSchema(pool, directory)
    const config = { directory, tableName: TABLE, loadExtensions: ['.js'] }
    // Knex marks its own lock in a row that a killed process leaves marked; the session lock above is what counts.
    if (await pool.schema.hasTable(`${TABLE}_lock`)) await pool.migrate.forceFreeMigrationsLock(config)
    const [, applied] = (await pool.migrate.latest(config)) as [number, string[]]
    await ensureDayPartitions(pool)
    return { applied }
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
async function requireServer(db: Database): Promise<void> {
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

async function refuseNewerSchema(db: Database, directory: string): Promise<void> {
  if (!(await db.schema.hasTable(TABLE))) return
  const known = new Set(await readdir(directory))
  const rows = await sqlRows<{ name: string }>(db, `select name from ${TABLE} order by name`)
  const unknown = rows.map((row) => row.name).filter((name) => !known.has(name))
  if (unknown.length === 0) return
  throw new StartupError(
    `the database was migrated by a newer firebreak (${unknown.join(', ')}): start that release, or restore a backup from before it`,
  )
}
