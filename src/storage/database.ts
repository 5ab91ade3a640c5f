import knex, { type Knex } from 'knex'
import pg from 'pg'

/** A pool of connections, or a transaction on one of them. Repositories receive it and never open their own. */
export type Database = Knex
export type Transaction = Knex.Transaction

// timestamptz as epoch milliseconds with fraction would lose nothing, but knex users expect Date; int8 counts fit a double.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)
pg.types.setTypeParser(pg.types.builtins.DATE, (text) => text)

export interface PoolOptions {
  /** Shown in pg_stat_activity. */
  name: string
  max: number
  /** Gives up on a statement after this long, ms. */
  statementTimeoutMs?: number
}

/** Opens one pool; connects lazily. */
export function openPool(databaseUrl: string, options: PoolOptions): Database {
  return knex({
    client: 'pg',
    connection: {
      connectionString: databaseUrl,
      application_name: `firebreak ${options.name}`,
      statement_timeout: options.statementTimeoutMs ?? 30_000,
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
    },
    pool: { min: 0, max: options.max, acquireTimeoutMillis: 5_000, idleTimeoutMillis: 60_000 },
    acquireConnectionTimeout: 5_000,
    // Whatever knex would print it also throws, and there the caller logs it as one line.
    log: { debug() {}, warn() {}, error() {}, deprecate() {} },
  })
}

/**
 * Raw SQL with `?` bindings: the hot paths, where one statement carries hundreds of rows in arrays. Each text is
 * prepared once per connection: planning over day partitions cost more than running (0.5 ms against 0.07 ms).
 */
export async function sqlRows<T>(db: Database, sql: string, bindings: readonly unknown[] = []): Promise<T[]> {
  const query = db.raw<{ rows: T[] }>(sql, bindings as Knex.RawBinding[])
  const name = statementName(sql)
  const result = await (name ? query.options({ name }) : query)
  return result.rows
}

/** A server keeps prepared statements for the life of a connection, so texts built at run time must not pile up. */
const MAX_PREPARED = 200
const statementNames = new Map<string, string>()

function statementName(sql: string): string | undefined {
  // Identifiers (`??`) are written into the text only later: one name would stand for several statements.
  if (sql.includes('??')) return undefined
  const known = statementNames.get(sql)
  if (known || statementNames.size >= MAX_PREPARED) return known
  const name = `fb${statementNames.size}`
  statementNames.set(sql, name)
  return name
}
