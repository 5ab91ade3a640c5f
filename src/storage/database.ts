import type { Writable } from 'node:stream'
import knex, { type Knex } from 'knex'
import pg from 'pg'

/** A pool of connections, or a transaction on one of them. Repositories receive it and never open their own. */
export type Database = Knex
export type Transaction = Knex.Transaction

/** Where raw SQL runs: a pool, or a transaction on one of its connections. */
export interface SqlPlace {
  readonly client: unknown
  isCompleted?(): boolean
  /** A statement failed, perhaps before it was sent. */
  spoil?(): void
}

/** A transaction for raw SQL alone, made by `inTransaction`. */
export interface SqlTransaction extends SqlPlace {
  isCompleted(): boolean
  /** Commits once what was sent before has run: it goes out together with that. Nothing can be sent after it. */
  commit(): void
}

// timestamptz as epoch milliseconds with fraction would lose nothing, but knex users expect Date; int8 counts fit a double.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)
pg.types.setTypeParser(pg.types.builtins.DATE, (text) => text)

export interface PoolOptions {
  /** Shown in pg_stat_activity. */
  name: string
  max: number
  /** Gives up on a statement after this long, ms. */
  statementTimeoutMs?: number
  /**
   * For statements that look up rows by key in tables that grow and shrink by the second: a plan made while a queue
   * was empty would read all of it, dead rows included, for ever after. Nor is an index read whole and then sorted: of a
   * backlog that came within the last minute the planner knows nothing yet.
   */
  lookupsOnly?: boolean
  /** For COPY, which needs a connection on which nothing else is under way. */
  copies?: boolean
}

/** Opens one pool; connects lazily. */
export function openPool(databaseUrl: string, options: PoolOptions): Database {
  const connection: Knex.PgConnectionConfig & { pipeline: boolean } = {
    connectionString: databaseUrl,
    application_name: `firebreak ${options.name}`,
    statement_timeout: options.statementTimeoutMs ?? 30_000,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    // Statements of one transaction that do not need each other's answers go out together.
    pipeline: options.copies !== true,
  }
  return knex({
    client: 'pg',
    connection,
    pool: {
      ...(options.lookupsOnly ? { afterCreate: avoidScans } : {}),
      min: 0,
      max: options.max,
      acquireTimeoutMillis: 5_000,
      idleTimeoutMillis: 60_000,
    },
    acquireConnectionTimeout: 5_000,
    // Whatever knex would print it also throws, and there the caller logs it as one line.
    log: { debug() {}, warn() {}, error() {}, deprecate() {} },
  })
}

/** Without JIT too: before PostgreSQL 18 a scan that is avoided counts as a plan so dear that it must be compiled. */
function avoidScans(connection: pg.Client, done: (error: Error | null, connection: pg.Client) => void): void {
  connection.query('set enable_seqscan = off; set enable_bitmapscan = off; set jit = off', (error) =>
    done(error ?? null, connection),
  )
}

/** As much of a connection as statements need; knex keeps it in its pool and drops it once it is marked. */
interface Connection {
  query(config: object): Promise<{ rows: unknown[]; command: string }>
  /** Of the `pg` client: what carries its statements. */
  readonly connection?: { readonly stream: Pick<Writable, 'cork' | 'uncork'> }
  __knex__disposed?: unknown
}

interface Connections {
  acquireConnection(): Promise<Connection>
  releaseConnection(connection: Connection): Promise<void>
}

/**
 * Raw SQL with `?` bindings: the hot paths, where one statement carries hundreds of rows in arrays. It goes past knex's
 * builder to a connection of its pool, or of the transaction: building cost as much as sending. Each text is prepared
 * once per connection: planning over day partitions cost more than running (0.5 ms against 0.07 ms).
 * @param options.timeoutMs gives up on a connection that does not answer, instead of waiting for it
 */
export async function sqlRows<T>(
  db: SqlPlace,
  sql: string,
  bindings: readonly unknown[] = [],
  options: { timeoutMs?: number } = {},
): Promise<T[]> {
  const [rows] = await sqlInOrder<[T]>(db, [[sql, bindings]], options)
  return rows
}

/** Several statements in one turn on one connection: they go out together, and run one after the other. */
export async function sqlInOrder<Rows extends readonly unknown[]>(
  db: SqlPlace,
  statements: readonly (readonly [sql: string, bindings: readonly unknown[]])[],
  options: { timeoutMs?: number } = {},
): Promise<{ [K in keyof Rows]: Rows[K][] }> {
  const connections = db.client as Connections
  const connection = await connections.acquireConnection()
  let isSent = false
  try {
    for (const [sql, bindings] of statements) {
      if (bindings.includes(undefined))
        throw new TypeError(`a binding of this statement is undefined: ${sql}`)
    }
    // In the turn in which it is sent: after its end the connection is somebody else's.
    if (db.isCompleted?.()) throw new Error('the transaction has ended')
    isSent = true
    const limit = options.timeoutMs === undefined ? {} : { query_timeout: options.timeoutMs }
    sendTogether(connection)
    const results = await Promise.all(
      statements.map(([sql, values]) => connection.query({ ...prepare(sql), values, ...limit })),
    )
    return results.map(({ rows }) => rows) as { [K in keyof Rows]: Rows[K][] }
  } catch (error) {
    db.spoil?.()
    // Where the server did not say it, pg may take for prepared what is not, or leave the connection busy after a deadline.
    if (isSent && !(error instanceof pg.DatabaseError)) connection.__knex__disposed = error
    throw error
  } finally {
    await connections.releaseConnection(connection)
  }
}

/**
 * Runs the work in a transaction. Unlike knex's, its BEGIN goes out with the work's first statements, and its COMMIT with the last
 * ones when the work calls `commit` right after them: two turns over the network are saved, and the connection is free earlier.
 * A statement that fails makes that COMMIT a ROLLBACK, also one that could not even be sent.
 */
export async function inTransaction<T>(db: Database, work: (trx: SqlTransaction) => Promise<T>): Promise<T> {
  const connections = db.client as Connections
  const connection = await connections.acquireConnection()
  const client: Connections = {
    acquireConnection: async () => connection,
    releaseConnection: async () => {},
  }
  let hasEnded = false
  let isSpoilt = false
  let ended: Promise<boolean> | undefined
  /** Resolves with whether it was committed. Rejects when nobody knows. */
  async function end(sql: 'commit' | 'rollback'): Promise<boolean> {
    // What was asked for before has then been sent, or has failed here and was never sent.
    await new Promise<void>((resolve) => process.nextTick(resolve))
    hasEnded = true
    const { command } = await connection.query({ text: isSpoilt ? 'rollback' : sql })
    return command === 'COMMIT'
  }
  const trx: SqlTransaction = {
    client,
    isCompleted: () => hasEnded,
    spoil() {
      isSpoilt = true
    },
    commit() {
      ended ??= end('commit')
      // Of a failure the statement that failed tells more: this one is heard once the work is over.
      ended.catch(() => {})
    },
  }
  try {
    sendTogether(connection)
    const [, result] = await Promise.all([connection.query({ text: 'begin' }), work(trx)])
    trx.commit()
    if (!(await ended)) throw new Error('the transaction was rolled back')
    return result
  } catch (error) {
    await (ended ?? end('rollback')).catch((fault: unknown) => {
      // It may be broken, or still be in the transaction.
      connection.__knex__disposed = fault
    })
    throw error
  } finally {
    await connections.releaseConnection(connection)
  }
}

/** One system call, and one waking of the server, for all statements of this turn in place of one for each. */
function sendTogether({ connection }: Connection): void {
  if (!connection) return
  connection.stream.cork()
  process.nextTick(() => connection.stream.uncork())
}

interface Statement {
  readonly text: string
  readonly name?: string
}

/** A server keeps prepared statements for the life of a connection, so texts built at run time must not pile up. */
const MAX_PREPARED = 200
const statements = new Map<string, Statement>()

function prepare(sql: string): Statement {
  const known = statements.get(sql)
  if (known) return known
  let count = 0
  const text = sql.replaceAll('?', () => {
    count += 1
    return `$${count}`
  })
  if (statements.size >= MAX_PREPARED) return { text }
  const statement = { text, name: `fb${statements.size}` }
  statements.set(sql, statement)
  return statement
}
