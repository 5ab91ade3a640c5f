import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { ensureCluster, placeCluster } from './cluster-place.js'
import { findPostgresBinaries } from './postgres-binaries.js'
import { ensureDatabase, tryLogin } from './postgres-ready.js'
import { clusterUrl } from './postgres-server.js'
import { createPostgresSupervisor, runningServer } from './postgres-supervisor.js'
import { holdSessionLock, type SessionLock } from './session-lock.js'

export interface EmbeddedPostgresOptions {
  /** DATA_DIR of the hub. */
  dataDir: string
  logger: Logger
  /** What takes more than a moment, for a person at a terminal. */
  onProgress?(text: string): void
  /** Another hub took our place while Postgres was away: this process must end. */
  onLost?(error: StartupError): void
  /** Where the programs and the data go that cannot stay in the package and in DATA_DIR. */
  cacheDir?: string
  varLib?: string
  nativeDir?: string
}

export interface EmbeddedPostgres {
  readonly url: string
  /** Where the data really are. */
  readonly folder: string
  pid(): number | undefined
  describe(): string
  /** Fast shutdown; forced after 8 s. Drain first: open connections are cut. Always resolves within 12 s. */
  stop(): Promise<void>
}

const DATABASE = 'firebreak'

/**
 * Starts the hub's own PostgreSQL on the data in DATA_DIR, or adopts the one that a killed hub left, takes the session
 * lock, and from then on restarts the server at once when it dies. The server outlives this process unless `stop` is called.
 * @throws StartupError: another hub holds the data (names its process), another major version, unreachable folders
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { logger } = options
  const place = await placeCluster(options.dataDir, options.varLib)
  const say = (text: string): void => options.onProgress?.(text)
  const binaries = await findPostgresBinaries({
    user: place.user,
    onProgress: say,
    ...(options.nativeDir && { nativeDir: options.nativeDir }),
    ...(options.cacheDir && { cacheDir: options.cacheDir }),
  })
  if (place.moved || binaries.copiedTo) {
    const text = `user ${place.user?.name ?? ''} cannot reach every folder: PostgreSQL keeps its data in ${place.folder.root}${binaries.copiedTo ? ` and its programs in ${binaries.copiedTo}` : ''}`
    logger.warn('postgres.moved', { data: place.folder.root, programs: binaries.copiedTo, reason: text })
    say(text)
  }
  if (!place.exists) say(`making a new PostgreSQL ${binaries.major} data folder in ${place.folder.root}`)
  await ensureCluster(place, binaries)
  const password = await readFile(place.folder.passwordFile, 'utf8')
  const portFile = path.join(place.folder.root, 'port')
  const supervisor = createPostgresSupervisor({ binaries, place, password, logger, say })
  const { port, adopted } = await supervisor.start(await recordedPort(portFile))
  await writeFile(portFile, `${port}\n`)
  const url = clusterUrl(port, password, DATABASE)
  const lock = await openDatabase().catch(async (error: unknown) => {
    // A server that another hub uses stays; one that nobody needs must not be left behind.
    if (!adopted && !(error instanceof StartupError)) await supervisor.stop()
    throw error
  })
  supervisor.watch()
  logger.info(adopted ? 'postgres.adopted' : 'postgres.started', {
    port,
    pid: supervisor.pid(),
    data: place.folder.root,
  })

  async function openDatabase(): Promise<SessionLock> {
    await ensureDatabase(clusterUrl(port, password, 'postgres'), DATABASE)
    return await holdSessionLock({
      url,
      guarded: place.folder.root,
      logger,
      onLost: (error) => options.onLost?.(error),
    })
  }

  return {
    url,
    folder: place.folder.root,
    pid: supervisor.pid,
    describe: () =>
      `embedded PostgreSQL ${binaries.major} (process ${supervisor.pid() ?? 'none'}) on 127.0.0.1:${port}, data in ${place.folder.root}`,
    async stop() {
      await lock.release()
      await supervisor.stop()
    },
  }
}

/**
 * The embedded PostgreSQL of a DATA_DIR as it stands, for reading beside a hub that lives: nothing is started or locked.
 * @returns its URL; `stopped` when nothing runs on the data, `none` when there are none
 */
export async function findEmbeddedPostgres(dataDir: string): Promise<{ url: string } | 'stopped' | 'none'> {
  if (!existsSync(dataDir)) return 'none'
  const { folder, exists } = await placeCluster(dataDir)
  if (!exists) return 'none'
  const running = await runningServer(folder.dataDir)
  if (!running) return 'stopped'
  const url = clusterUrl(running.port, await readFile(folder.passwordFile, 'utf8'), DATABASE)
  return (await tryLogin(url)) ? { url } : 'stopped'
}

async function recordedPort(portFile: string): Promise<number | undefined> {
  const text = await readFile(portFile, 'utf8').catch(() => '')
  return Number(text.trim()) || undefined
}
