import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { closeSync, openSync, statSync } from 'node:fs'
import { chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import { describeError, StartupError } from '../kernel/errors.js'
import { asUser, type OsUser } from './os-user.js'
import type { PostgresBinaries } from './postgres-binaries.js'

const run = promisify(execFile)
/** The superuser of our own cluster, and the name of its database. */
const CLUSTER_USER = 'firebreak'
/** The server's log starts anew at the first start past this size. */
const MAX_LOG_BYTES = 10_000_000

/** A cluster's folder: `data` (PGDATA), `password` (0600), `log`. */
export interface ClusterFolder {
  readonly root: string
  readonly dataDir: string
  readonly passwordFile: string
  readonly logFile: string
}

export function clusterFolder(root: string): ClusterFolder {
  return {
    root,
    dataDir: path.join(root, 'data'),
    passwordFile: path.join(root, 'password'),
    logFile: path.join(root, 'log'),
  }
}

/** Makes a new cluster in a folder that does not exist yet, owned by that user. About 0.8 s. */
export async function initCluster(options: {
  binaries: PostgresBinaries
  folder: ClusterFolder
  password: string
  user: OsUser | undefined
  extraArgs?: string[]
}): Promise<void> {
  const { folder, user } = options
  await mkdir(folder.root, { mode: 0o700 })
  await writeFile(folder.passwordFile, options.password, { mode: 0o600 })
  await writeFile(folder.logFile, '', { mode: 0o600 })
  if (user) {
    for (const file of [folder.root, folder.passwordFile]) await chown(file, user.uid, user.gid)
  }
  const args = [`--pgdata=${folder.dataDir}`, `--username=${CLUSTER_USER}`, `--pwfile=${folder.passwordFile}`]
  // The built-in provider sorts and folds case the same on every machine: no index breaks with a libc update.
  args.push(
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
  )
  args.push('--locale=C', '--data-checksums', ...(options.extraArgs ?? []))
  try {
    await run(options.binaries.initdb, args, { ...asUser(user), timeout: 120_000 })
  } catch (cause) {
    await rm(folder.root, { recursive: true, force: true })
    const text = (cause as { stderr?: string }).stderr ?? ''
    throw new StartupError(
      `PostgreSQL could not make its data folder in ${folder.root}: ${text.trim().split('\n').at(-1) || describeError(cause)}`,
      { cause, detail: text },
    )
  }
}

/**
 * Starts the postmaster: in its own session, so that a Ctrl-C in the hub's terminal does not reach it, on loopback only,
 * without a Unix socket (its folder could be out of the user's reach). Does not wait until it is ready.
 */
export function launchPostgres(options: {
  binaries: PostgresBinaries
  folder: ClusterFolder
  port: number
  user: OsUser | undefined
  settings?: Record<string, string>
}): ChildProcess {
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(options.port),
    unix_socket_directories: '',
    ...options.settings,
  }
  const args = ['-D', options.folder.dataDir]
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`)
  const log = openSync(
    options.folder.logFile,
    sizeOf(options.folder.logFile) > MAX_LOG_BYTES ? 'w' : 'a',
    0o600,
  )
  try {
    const child = spawn(options.binaries.postgres, args, {
      ...asUser(options.user),
      detached: true,
      stdio: ['ignore', log, log],
    })
    // Postgres must not keep the hub's process alive; whoever wants it stopped calls stop.
    child.unref()
    child.on('error', () => {})
    return child
  } finally {
    closeSync(log)
  }
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}

/** A loopback port that is free now, below the range from which the kernel takes ports for outgoing connections. */
export async function pickFreePort(): Promise<number> {
  for (let tries = 0; tries < 50; tries += 1) {
    const port = randomInt(15_000, 32_000)
    if (await isFree(port)) return port
  }
  throw new StartupError('no free loopback port between 15000 and 32000 for PostgreSQL')
}

/** Nobody listens on that loopback port. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1' }, () => server.close(() => resolve(true)))
  })
}

export function clusterUrl(port: number, password: string, database: string): string {
  return `postgres://${CLUSTER_USER}:${password}@127.0.0.1:${port}/${database}`
}
