import type { ChildProcess } from 'node:child_process'
import { readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describeError, StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { ClusterPlace } from './cluster-place.js'
import type { PostgresBinaries } from './postgres-binaries.js'
import { waitUntilReady } from './postgres-ready.js'
import { clusterUrl, isFree, launchPostgres, pickFreePort } from './postgres-server.js'
import { isPostgresOn, isRunning, postgresProcessesOn } from './process-facts.js'

const READY_TIMEOUT_MS = 600_000
/** Children of a killed server end by themselves, normally within milliseconds. */
const ORPHANS_TIMEOUT_MS = 10_000
const WATCH_MS = 200
const FAST_STOP_MS = 8_000
const MAX_BACKOFF_MS = 5_000
/** How long a stop waits for a restart that is under way. */
const STOP_RESTART_MS = 1_000

/** An acknowledged event must be on disk: command-line settings stand above what ALTER SYSTEM could say. */
const SETTINGS = {
  fsync: 'on',
  synchronous_commit: 'on',
  timezone: 'UTC',
  log_timezone: 'UTC',
  full_page_writes: 'on',
  max_connections: '200',
  shared_buffers: '128MB',
  max_wal_size: '1GB',
  // Neither SQL nor row values: a constraint's DETAIL would hold identifiers.
  log_min_messages: 'error',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_line_prefix: '%m [%p] ',
}

export interface PostgresSupervisor {
  /** Starts the server, or adopts the one that runs on these data. */
  start(preferredPort: number | undefined): Promise<{ port: number; adopted: boolean }>
  /** From now on a server that dies is started again, on the same port, until `stop`. */
  watch(): void
  pid(): number | undefined
  stop(): Promise<void>
}

interface SupervisorOptions {
  binaries: PostgresBinaries
  place: ClusterPlace
  password: string
  logger: Logger
  say(text: string): void
}

export function createPostgresSupervisor(options: SupervisorOptions): PostgresSupervisor {
  const { place, logger } = options
  const { dataDir } = place.folder
  let current: { pid: number; port: number } | undefined
  let stopping = false
  let watcher: NodeJS.Timeout | undefined
  let restarting: Promise<void> | undefined

  async function bringUp(preferredPort: number | undefined, fixed: boolean): Promise<boolean> {
    for (let tries = 1; ; tries += 1) {
      const running = await runningServer(dataDir)
      if (running && (await ready(running))) {
        current = running
        return true
      }
      await clearDeadPidFile(dataDir)
      const port = await choosePort(preferredPort, fixed)
      const child = launchPostgres({
        ...options,
        folder: place.folder,
        user: place.user,
        port,
        settings: SETTINGS,
      })
      child.once('exit', check)
      // Known from here on, so that a stop during the wait ends it too.
      current = { pid: child.pid ?? 0, port }
      if (await ready(current, child)) return false
      if (tries >= 4)
        throw new StartupError(`PostgreSQL does not start: ${await lastLogLine(place.folder.logFile)}`)
    }
  }

  /** Pools know the port of a running hub, so after a crash it must be that one. */
  async function choosePort(preferred: number | undefined, fixed: boolean): Promise<number> {
    if (preferred !== undefined && (await isFree(preferred))) return preferred
    if (fixed) throw new StartupError(`port ${preferred} of PostgreSQL is taken by another program`)
    return await pickFreePort()
  }

  function ready(server: { pid: number; port: number }, child?: ChildProcess): Promise<boolean> {
    return waitUntilReady({
      url: clusterUrl(server.port, options.password, 'postgres'),
      timeoutMs: READY_TIMEOUT_MS,
      isAlive: () =>
        child ? child.exitCode === null && child.signalCode === null : isPostgresOn(server.pid, dataDir),
      say: options.say,
    })
  }

  function check(): void {
    if (!watcher || stopping || restarting || (current && isPostgresOn(current.pid, dataDir))) return
    logger.error('postgres.died', { pid: current?.pid, port: current?.port })
    restarting = restart().finally(() => {
      restarting = undefined
    })
  }

  async function restart(): Promise<void> {
    const start = performance.now()
    for (let wait = 100; !stopping; wait = Math.min(wait * 2, MAX_BACKOFF_MS)) {
      try {
        await bringUp(current?.port, true)
        logger.warn('postgres.restarted', {
          pid: current?.pid,
          duration_ms: Math.round(performance.now() - start),
        })
        return
      } catch (error) {
        logger.error('postgres.restart_failed', { reason: describeError(error) })
        await delay(wait, undefined, { ref: false })
      }
    }
  }

  return {
    async start(preferredPort) {
      const adopted = await bringUp(preferredPort, false)
      return { port: current?.port ?? 0, adopted }
    },
    watch() {
      // A child's exit is reported by node at once; one that we adopted is not our child.
      watcher = setInterval(check, WATCH_MS)
      watcher.unref()
      check()
    },
    pid: () => current?.pid,
    async stop() {
      stopping = true
      clearInterval(watcher)
      await Promise.race([restarting, delay(STOP_RESTART_MS, undefined, { ref: false })])
      if (current) await stopServer(current.pid, dataDir)
    },
  }
}

/** The server that postmaster.pid names, if it is one, lives, and serves these data. */
export async function runningServer(dataDir: string): Promise<{ pid: number; port: number } | undefined> {
  const lines = (await readPidFile(dataDir))?.split('\n')
  const pid = Number(lines?.[0])
  const port = Number(lines?.[3])
  return pid > 0 && port > 0 && isPostgresOn(pid, dataDir) ? { pid, port } : undefined
}

async function readPidFile(dataDir: string): Promise<string | undefined> {
  return await readFile(path.join(dataDir, 'postmaster.pid'), 'utf8').catch(() => undefined)
}

/**
 * PostgreSQL believes any process with the pid in the file, a zombie or a stranger too, and would refuse to start.
 * The file goes only when no living PostgreSQL process is left on the data, because removing it under a living one
 * would let two servers write the same files.
 */
async function clearDeadPidFile(dataDir: string): Promise<void> {
  const end = performance.now() + ORPHANS_TIMEOUT_MS
  for (let left = postgresProcessesOn(dataDir); left.length > 0; left = postgresProcessesOn(dataDir)) {
    const pid = Number((await readPidFile(dataDir))?.split('\n')[0])
    // A server that another hub has just started: the caller looks again.
    if (left.includes(pid)) return
    if (performance.now() > end) {
      throw new StartupError(
        `processes ${left.join(', ')} of a dead PostgreSQL still use ${dataDir}: end them and start again`,
      )
    }
    await delay(20)
  }
  const pid = Number((await readPidFile(dataDir))?.split('\n')[0])
  if (pid > 0 && !isPostgresOn(pid, dataDir)) await removePidFile(dataDir)
}

/** Moved away and looked at again, because another hub's server may have written a new one just now. */
async function removePidFile(dataDir: string): Promise<void> {
  const file = path.join(dataDir, 'postmaster.pid')
  const dead = `${file}.dead-${process.pid}`
  try {
    await rename(file, dead)
    const pid = Number((await readFile(dead, 'utf8')).split('\n')[0])
    if (isPostgresOn(pid, dataDir)) await rename(dead, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  await rm(dead, { force: true })
}

/** Fast shutdown, then immediate, then kill; the last two cost a recovery at the next start, no data. */
async function stopServer(pid: number, dataDir: string): Promise<void> {
  const steps: [NodeJS.Signals, number][] = [
    ['SIGINT', FAST_STOP_MS],
    ['SIGQUIT', 2_000],
    ['SIGKILL', 2_000],
  ]
  for (const [signal, waitMs] of steps) {
    // Asked each time: the number may belong to another process by now.
    if (!isPostgresOn(pid, dataDir)) return
    process.kill(pid, signal)
    const end = performance.now() + waitMs
    while (isRunning(pid) && performance.now() < end) await delay(20)
  }
}

async function lastLogLine(logFile: string): Promise<string> {
  const text = await readFile(logFile, 'utf8').catch(() => '')
  const line = text
    .trim()
    .split('\n')
    .filter((candidate) => /FATAL|PANIC|ERROR/.test(candidate))
    .at(-1)
  return `${line?.replace(/^.*?(FATAL|PANIC|ERROR):\s*/, '') ?? 'no reason given'} (see ${logFile})`
}
