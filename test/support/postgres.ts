import pg from 'pg'
import { type Database, openPool } from '../../src/storage/database.js'
import { migrate } from '../../src/storage/migrator.js'
import { isMutationRun } from './mutation.js'
import { startPostgresServer } from './postgres-server.js'

export interface TestDatabase {
  /** For further connections: pools, LISTEN. */
  readonly url: string
  readonly db: Database
  /** Closes the pool and drops the database. */
  close(): Promise<void>
}

interface TestServer {
  urlOf(database: string): string
  /** Runs SQL on the server's own database. */
  run(sql: string): Promise<unknown>
  stop(): Promise<void>
}

const TEMPLATE = 'firebreak_template'
/** Of a mutation run, whose processes come and go. */
const MUTATION_POSTGRES = process.env.MUTATION_POSTGRES
/** Nothing here must survive a crash, so nothing waits for the disk. */
const FAST = {
  fsync: 'off',
  full_page_writes: 'off',
  max_connections: '300',
  shared_buffers: '64MB',
  autovacuum_naptime: '10s',
  log_min_messages: 'fatal',
}

let server: Promise<TestServer> | undefined
let clones = 0
/** A template can be copied only while nobody is connected to it, so copies go one after another. */
let cloning: Promise<unknown> = Promise.resolve()

/** What several suites share on this server, and nobody else closes. */
const closing: (() => Promise<void>)[] = []

/** Runs at the end of all tests, while the server still answers. */
export function closeBeforeServer(close: () => Promise<void>): void {
  closing.push(close)
}

/** A migrated database of its own, on the one Postgres that this process starts at the first call. */
export async function createTestDatabase(): Promise<TestDatabase> {
  server ??= startServer()
  const { run, urlOf } = await server
  clones += 1
  const name = `test_${process.pid}_${clones}`
  const cloned = cloning.then(() => run(`create database ${name} template ${TEMPLATE} strategy file_copy`))
  cloning = cloned.catch(() => {})
  await cloned
  const db = openPool(urlOf(name), { name: 'test', max: 10 })
  return {
    url: urlOf(name),
    db,
    async close() {
      await db.destroy()
      await run(`drop database ${name} with (force)`)
    },
  }
}

/** A server with the template, for this process and those that it tells of it. @returns its own database's URL */
export async function startTemplateServer(): Promise<{ url: string; remove(): Promise<void> }> {
  const { url, urlOf, remove } = await startPostgresServer({ settings: FAST, initArgs: ['--no-sync'] })
  const admin = new pg.Client({ connectionString: url })
  await admin.connect()
  await admin.query(`create database ${TEMPLATE}`)
  await admin.end()
  const template = openPool(urlOf(TEMPLATE), { name: 'template', max: 1 })
  await migrate(template)
  await template.destroy()
  return { url, remove }
}

async function startServer(): Promise<TestServer> {
  const { url, remove } = MUTATION_POSTGRES
    ? { url: MUTATION_POSTGRES, remove: async () => {} }
    : await startTemplateServer()
  const urlOf = (database: string): string => Object.assign(new URL(url), { pathname: `/${database}` }).href
  const admin = new pg.Client({ connectionString: url })
  // The watchdog's signal ends this connection; that is no failure of a test.
  admin.on('error', () => {})
  await admin.connect()
  const { stream } = (admin as unknown as { connection: { stream: { ref(): void; unref(): void } } })
    .connection
  let running = 0
  // An idle connection must not keep a finished process alive; one that runs something must.
  async function run(sql: string): Promise<unknown> {
    running += 1
    stream.ref()
    try {
      return await admin.query(sql)
    } finally {
      running -= 1
      if (running === 0) stream.unref()
    }
  }
  stream.unref()
  async function stop(): Promise<void> {
    await admin.end()
    await remove()
  }
  return { urlOf, run, stop }
}

// At the root of mocha's suites when a test file imports this; a plain script relies on the watchdog, and so does a
// mutation run, which would start a server for each mutant.
if (typeof after === 'function' && !isMutationRun) {
  after(async () => {
    for (const close of closing.splice(0)) await close()
    const started = server
    server = undefined
    if (started) await (await started).stop()
  })
}
