import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { type Database, openPool } from '../../src/storage/database.js'
import { migrate } from '../../src/storage/migrator.js'
import { pickPostgresUser } from '../../src/storage/os-user.js'
import { findPostgresBinaries } from '../../src/storage/postgres-binaries.js'
import {
  clusterFolder,
  clusterUrl,
  initCluster,
  launchPostgres,
  pickFreePort,
} from '../../src/storage/postgres-server.js'

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
const PASSWORD = 'loopback-test-only'
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

/** A migrated database of its own, on the one Postgres that this process starts at the first call. */
export async function createTestDatabase(): Promise<TestDatabase> {
  server ??= startServer()
  const { run, urlOf } = await server
  clones += 1
  const name = `test_${clones}`
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

async function startServer(): Promise<TestServer> {
  const parent = await mkdtemp(path.join(tmpdir(), 'firebreak-test-'))
  const user = pickPostgresUser()
  if (user) await chmod(parent, 0o711)
  const binaries = await findPostgresBinaries({ user })
  const folder = clusterFolder(path.join(parent, 'cluster'))
  await initCluster({ binaries, folder, password: PASSWORD, user, extraArgs: ['--no-sync'] })
  const port = await pickFreePort()
  const child = launchPostgres({ binaries, folder, port, user, settings: FAST })
  const pid = child.pid ?? 0
  const watchdog = startWatchdog(pid, parent)
  const exited = once(child, 'exit')
  if (!(await waitForPort(port, 30_000, () => child.exitCode !== null))) {
    throw new Error(`the test Postgres did not start, see ${folder.logFile}`)
  }
  const urlOf = (database: string): string => clusterUrl(port, PASSWORD, database)
  const admin = await connectAdmin(urlOf('postgres'))
  await admin.query(`create database ${TEMPLATE}`)
  const template = openPool(urlOf(TEMPLATE), { name: 'template', max: 1 })
  await migrate(template)
  await template.destroy()
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
    child.ref()
    process.kill(pid, 'SIGQUIT')
    await exited
    watchdog.ref()
    watchdog.stdin.end()
    await once(watchdog, 'exit')
  }
  return { urlOf, run, stop }
}

async function connectAdmin(url: string): Promise<pg.Client> {
  for (;;) {
    const client = new pg.Client({ connectionString: url })
    // The watchdog's signal ends this connection; that is no failure of a test.
    client.on('error', () => {})
    try {
      await client.connect()
      return client
    } catch (error) {
      await client.end().catch(() => {})
      // 57P03: accepts connections, but is still starting.
      if ((error as { code?: string }).code !== '57P03') throw error
    }
  }
}

/**
 * However this process ends, SIGKILL included, its end of the pipe closes: then the shell stops Postgres and
 * removes its folder. It runs in a session of its own, so a Ctrl-C does not take it along.
 */
function startWatchdog(pid: number, folder: string) {
  const script =
    'cat >/dev/null; kill -QUIT "$1" 2>/dev/null && sleep 0.3; rm -rf "$2"; sleep 0.2; rm -rf "$2"'
  const watchdog = spawn('/bin/sh', ['-c', script, 'sh', String(pid), folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watchdog.unref()
  ;(watchdog.stdin as unknown as { unref(): void }).unref()
  return watchdog
}

// At the root of mocha's suites when a test file imports this; a plain script relies on the watchdog.
if (typeof after === 'function') {
  after(async () => {
    const started = server
    server = undefined
    if (started) await (await started).stop()
  })
}

/** Waits until something accepts connections on the port; false when `gaveUp` says so or the time is over. */
async function waitForPort(port: number, timeoutMs: number, gaveUp: () => boolean): Promise<boolean> {
  const end = performance.now() + timeoutMs
  while (performance.now() < end && !gaveUp()) {
    if (await accepts(port)) return true
    await delay(20)
  }
  return false
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
