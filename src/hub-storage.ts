import { resolve } from 'node:path'
import type { Config } from './config/config.js'
import type { StartupError } from './kernel/errors.js'
import type { Logger } from './kernel/logger.js'
import { LANES, type Lane } from './secevent/event.js'
import { type Database, openPool } from './storage/database.js'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './storage/embedded-postgres.js'

export interface HubStorage {
  /** One for the API, one per lane: a flood of one takes no connection of another. */
  readonly pools: Readonly<Record<Lane | 'api', Database>>
  /** Direct, for LISTEN and NOTIFY. */
  readonly listenUrl: string
  /** Where the data are, for a person. */
  readonly described: string
  readonly embedded: EmbeddedPostgres | undefined
  close(): Promise<void>
}

export interface OpenStorageOptions {
  readonly config: Config
  readonly logger: Logger
  onProgress(text: string): void
  /** The embedded Postgres is another hub's now: this process must end. */
  onLost(error: StartupError): void
}

/** Opens the configured PostgreSQL, or starts the embedded one. Nothing is migrated yet. */
export async function openStorage(options: OpenStorageOptions): Promise<HubStorage> {
  const { config } = options
  const embedded = config.databaseUrl ? undefined : await startEmbedded(options)
  const url = config.databaseUrl ?? (embedded as EmbeddedPostgres).url
  const pools = {} as Record<Lane | 'api', Database>
  for (const name of [...LANES, 'api'] as const) {
    pools[name] = openPool(url, { name, max: config.databasePoolSize })
  }
  return {
    pools,
    listenUrl: config.databaseListenUrl ?? url,
    described: embedded ? embedded.describe() : `PostgreSQL at ${new URL(url).host}`,
    embedded,
    async close() {
      await Promise.all(Object.values(pools).map((pool) => pool.destroy()))
      await embedded?.stop()
    },
  }
}

function startEmbedded({
  config,
  logger,
  onProgress,
  onLost,
}: OpenStorageOptions): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir: resolve(config.dataDir), logger, onProgress, onLost })
}
