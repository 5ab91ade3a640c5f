import { resolve } from 'node:path'
import type { Config } from './config/config.js'
import { describeError, StartupError } from './kernel/errors.js'
import { type Logger, silentLogger } from './kernel/logger.js'
import { LANES, type Lane } from './secevent/event.js'
import { type Database, openPool, sqlRows } from './storage/database.js'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './storage/embedded-postgres.js'

/** One for the API, one per lane, one for what keeps the hub going: a flood of one takes no connection of another. */
export type HubPools = Readonly<Record<Lane | 'polls' | 'api' | 'system', Database>>

export interface HubStorage {
  readonly pools: HubPools
  /** Direct, for LISTEN and NOTIFY. */
  readonly listenUrl: string
  /** Every address by which PostgreSQL is reached: the pools' and `listenUrl`. */
  readonly urls: readonly string[]
  /** Where the data are, for a person. */
  readonly described: string
  close(): Promise<void>
}

export interface OpenStorageOptions {
  readonly config: Config
  readonly logger: Logger
  onProgress(text: string): void
  /** The embedded Postgres is another hub's now: this process must end. */
  onLost(error: StartupError): void
}

/**
 * Leases, clock, audit sealer and readiness: a lease that waits behind a busy API ends, and with it the delivery. They ask
 * little and often, so few connections do.
 */
const SYSTEM_CONNECTIONS = 3

/**
 * Opens the configured PostgreSQL, or starts the embedded one. Nothing is migrated yet.
 * @throws StartupError when it cannot be reached
 */
export async function openStorage(options: OpenStorageOptions): Promise<HubStorage> {
  const { config } = options
  const embedded = config.databaseUrl ? undefined : await startEmbedded(options)
  const url = config.databaseUrl ?? (embedded as EmbeddedPostgres).url
  const pools = {
    system: openPool(url, { name: 'system', max: SYSTEM_CONNECTIONS }),
  } as Record<keyof HubPools, Database>
  pools.api = openPool(url, { name: 'api', max: config.databasePoolSize })
  for (const name of [...LANES, 'polls'] as const) {
    pools[name] = openPool(url, { name, max: config.databasePoolSize, lookupsOnly: true })
  }
  const close = async (): Promise<void> => {
    await Promise.all(Object.values(pools).map((pool) => pool.destroy()))
    await embedded?.stop()
  }
  try {
    await sqlRows(pools.system, 'select 1')
  } catch (error) {
    await close()
    throw embedded ? error : unreachable(url, error)
  }
  const listenUrl = config.databaseListenUrl ?? url
  return {
    pools,
    listenUrl,
    urls: [url, listenUrl],
    described: embedded ? embedded.describe() : `PostgreSQL at ${new URL(url).host}`,
    close,
  }
}

/** Runs something that needs the database alone, and leaves it as it was. */
export async function withDatabase<T>(config: Config, use: (storage: HubStorage) => Promise<T>): Promise<T> {
  const storage = await openStorage({
    config,
    logger: silentLogger,
    onProgress: (text) => void process.stderr.write(`… ${text}\n`),
    onLost: () => {},
  })
  try {
    return await use(storage)
  } finally {
    await storage.close()
  }
}

/** The ports of the hub's own stores and of its management: no registered URL may lead there. */
export function ownPorts(
  config: Pick<Config, 'kafkaBrokers'>,
  managementPort: number,
  databaseUrls: readonly string[],
): number[] {
  const databases = databaseUrls.map((url) => Number(new URL(url).port || 5432))
  const brokers = config.kafkaBrokers.map((broker) => Number(broker.split(':').at(-1)))
  return [...new Set([...databases, managementPort, ...brokers])]
}

/** What whoever runs the hub can do about it. */
export function unreachable(url: string, cause: unknown): StartupError {
  const reason = describeError(cause).replace(/\s+/g, ' ')
  return new StartupError(
    `DATABASE_URL: cannot use PostgreSQL at ${new URL(url).host || 'its socket'} (${reason}); check the address, the user and that it runs.`,
    { cause },
  )
}

function startEmbedded({
  config,
  logger,
  onProgress,
  onLost,
}: OpenStorageOptions): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir: resolve(config.dataDir), logger, onProgress, onLost })
}
