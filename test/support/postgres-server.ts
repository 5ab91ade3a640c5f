import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pickPostgresUser } from '../../src/storage/os-user.js'
import { findPostgresBinaries } from '../../src/storage/postgres-binaries.js'
import { tryLogin } from '../../src/storage/postgres-ready.js'
import {
  clusterFolder,
  clusterUrl,
  initCluster,
  launchPostgres,
  pickFreePort,
} from '../../src/storage/postgres-server.js'
import { waitUntil } from './wait.js'
import { startWatchdog } from './watchdog.js'

/** A PostgreSQL of the tests' own, with an empty database; a test may stop and kill it. */
export interface PostgresServer {
  /** Of the empty database. */
  readonly url: string
  urlOf(database: string): string
  /** Starts it, again after `stop` or `kill`, on the same port and data; resolves when it takes logins. */
  start(): Promise<void>
  /** Fast shutdown (SIGINT), and waits for the end. */
  stop(): Promise<void>
  /** SIGKILL of the postmaster, and waits for the end. */
  kill(): Promise<void>
  /** Ends it and removes its data. */
  remove(): Promise<void>
}

const PASSWORD = 'loopback-test-only'

/**
 * @param options.settings default: PostgreSQL's own, so durable
 * @param options.parent folder for its folder; default: that for temporary files
 */
export async function startPostgresServer(
  options: { settings?: Record<string, string>; initArgs?: string[]; parent?: string } = {},
): Promise<PostgresServer> {
  const parent = await mkdtemp(path.join(options.parent ?? tmpdir(), 'firebreak-postgres-'))
  const user = pickPostgresUser()
  if (user) await chmod(parent, 0o711)
  const binaries = await findPostgresBinaries({ user })
  const folder = clusterFolder(path.join(parent, 'cluster'))
  await initCluster({
    binaries,
    folder,
    password: PASSWORD,
    user,
    ...(options.initArgs && { extraArgs: options.initArgs }),
  })
  const port = await pickFreePort()
  const urlOf = (database: string): string => clusterUrl(port, PASSWORD, database)
  const url = urlOf('postgres')
  const settings = { max_connections: '200', ...options.settings }
  const watchdog = startWatchdog(parent)
  let child: ChildProcess

  async function start(): Promise<void> {
    child = launchPostgres({ binaries, folder, port, user, settings })
    await waitUntil('Postgres takes logins', () => tryLogin(url), { detail: () => folder.logFile })
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.ref()
    child.kill(signal)
    await ended
  }

  await start()
  return {
    url,
    urlOf,
    start,
    stop: () => end('SIGINT'),
    kill: () => end('SIGKILL'),
    async remove() {
      await end('SIGQUIT')
      await rm(parent, { recursive: true, force: true, maxRetries: 5 })
      await watchdog.dismiss()
    },
  }
}
