import { type ChildProcess, spawn } from 'node:child_process'
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

/** A PostgreSQL that a test may stop and kill: durable (fsync on), with an empty database. */
export interface PostgresServer {
  readonly url: string
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
const DATABASE = 'postgres'

export async function startPostgresServer(): Promise<PostgresServer> {
  const parent = await mkdtemp(path.join(tmpdir(), 'firebreak-postgres-'))
  const user = pickPostgresUser()
  if (user) await chmod(parent, 0o711)
  const binaries = await findPostgresBinaries({ user })
  const folder = clusterFolder(path.join(parent, 'cluster'))
  await initCluster({ binaries, folder, password: PASSWORD, user })
  const port = await pickFreePort()
  const url = clusterUrl(port, PASSWORD, DATABASE)
  const watchdog = startWatchdog(parent)
  let child: ChildProcess

  async function start(): Promise<void> {
    child = launchPostgres({ binaries, folder, port, user, settings: { max_connections: '200' } })
    watchdog.stdin.write(`${child.pid}\n`)
    await waitUntil('Postgres takes logins', () => tryLogin(url))
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
    start,
    stop: () => end('SIGINT'),
    kill: () => end('SIGKILL'),
    async remove() {
      await end('SIGQUIT')
      await rm(parent, { recursive: true, force: true, maxRetries: 5 })
      watchdog.stdin.end()
    },
  }
}

/** However this process ends, its end of the pipe closes: then the shell ends the last server it was told of. */
function startWatchdog(folder: string) {
  const script = [
    'while read -r pid; do last=$pid; done',
    '[ -d "$1" ] || exit 0',
    'case "$(ps -o args= -p "$last" 2>/dev/null)" in *"$1"*) kill -QUIT "$last";; esac',
    'sleep 1; rm -rf "$1"',
  ].join('\n')
  const watchdog = spawn('/bin/sh', ['-c', script, 'sh', folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watchdog.unref()
  ;(watchdog.stdin as unknown as { unref(): void }).unref()
  return watchdog
}
