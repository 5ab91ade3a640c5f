import { CAEP, RISC } from '../../src/secevent/event-types.js'
import { type Database, openPool, sqlRows } from '../../src/storage/database.js'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { createHubProcess, type HubProcess } from '../../test/support/hub-process.js'
import { type PostgresServer, startPostgresServer } from '../../test/support/postgres-server.js'
import type { Cleanups } from '../kit.js'
import { parentOf } from '../process-usage.js'
import { type Endpoints, openEndpoints } from './endpoints.js'
import { createSource, type Source } from './source.js'

/** An event type per measurement, so that each finds its own streams and no other measurement's. */
export const TYPES = {
  /** Every stream without a filter. */
  all: CAEP.sessionRevoked,
  /** One stream. */
  one: RISC.accountPurged,
  /** Every stream with a filter. */
  filtered: RISC.accountCredentialChangeRequired,
  /** Streams whose sender is killed. */
  takeover: RISC.accountDisabled,
  /** Streams that take nothing. */
  backlog: CAEP.sessionPresented,
} as const

/** What is shared by all sizes: a database, two hubs that use it, endpoints, a source. */
export interface World {
  readonly postgres: PostgresServer
  readonly db: Database
  readonly hub: HubProcess
  readonly second: HubProcess
  readonly endpoints: Endpoints
  readonly source: Source
  /** Ingest path at either hub. */
  ingestPath: string
  /** Postgres's main process. */
  readonly postgresPid: number | undefined
}

/** Durable, as in production; `pg_stat_statements` says what each statement of the hubs cost. */
const POSTGRES_SETTINGS = {
  shared_buffers: '256MB',
  max_wal_size: '4GB',
  shared_preload_libraries: 'pg_stat_statements',
  'pg_stat_statements.track': 'all',
}
const DATABASE = 'scale'

/** What it starts it puts into `cleanups`, at once. */
export async function openWorld(heapMb: number, cleanups: Cleanups): Promise<World> {
  const postgres = await startPostgresServer({ settings: POSTGRES_SETTINGS })
  cleanups.push(() => postgres.remove())
  const admin = openPool(postgres.url, { name: 'bench', max: 1 })
  await admin.raw(`create database ${DATABASE}`)
  await admin.destroy()
  const db = openPool(postgres.urlOf(DATABASE), { name: 'bench', max: 4, statementTimeoutMs: 600_000 })
  cleanups.push(() => db.destroy())
  await db.raw('create extension pg_stat_statements')
  const endpoints = await openEndpoints()
  cleanups.push(() => endpoints.close())
  const port = await pickFreePort()
  const env = {
    DATABASE_URL: postgres.urlOf(DATABASE),
    ISSUER: `http://127.0.0.1:${port}`,
    NODE_OPTIONS: `--max-old-space-size=${heapMb}`,
    LOG_LEVEL: 'error',
  }
  const hub = await createHubProcess({ env, port })
  cleanups.push(() => hub.remove())
  const second = await createHubProcess({ env })
  cleanups.push(() => second.remove())
  const [row] = await sqlRows<{ pid: number }>(
    db,
    "select pid from pg_stat_activity where backend_type = 'checkpointer'",
  )
  return {
    postgres,
    db,
    hub,
    second,
    endpoints,
    source: createSource(),
    ingestPath: '',
    postgresPid: row && parentOf(row.pid),
  }
}
