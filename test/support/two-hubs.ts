import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createKeyService, type KeyService } from '../../src/keys/key-service.js'
import type { Database } from '../../src/storage/database.js'
import { openAlternatingDoor } from './alternating-door.js'
import { createHubProcess, type HubProcess } from './hub-process.js'
import { closeBeforeServer, createTestDatabase } from './postgres.js'

/** Two hub processes on one database, behind one address that sends each request to the other of them. */
export interface TwoHubs {
  /** The issuer. */
  readonly url: string
  /** Of each process, past the door. */
  readonly directUrls: readonly [string, string]
  readonly processes: readonly [HubProcess, HubProcess]
  readonly adminToken: string
  readonly db: Database
  /** The keys that both have in the database. */
  readonly keys: KeyService
  close(): Promise<void>
}

export interface TwoHubsOptions {
  /** Settings of both, before those below. */
  readonly env?: Readonly<Record<string, string>>
  /** What the hubs are told of where their database is; default: where it is. */
  readonly reach?: (databaseUrl: string) => string
}

/** No limit is in the way of suites that share the two. */
const SETTINGS = {
  MAX_STREAMS_PER_RECEIVER: '1000',
  MAX_SUBJECTS_PER_STREAM: '1000',
  MIN_VERIFICATION_INTERVAL_S: '0',
  POLL_HOLD_MS: '3000',
  TRUSTED_PROXIES: '127.0.0.1/32',
}

export async function startTwoHubs({ env: own = {}, reach }: TwoHubsOptions = {}): Promise<TwoHubs> {
  const database = await createTestDatabase()
  const ports: number[] = []
  const door = await openAlternatingDoor(() => ports)
  const where = reach?.(database.url) ?? database.url
  const env = { ...SETTINGS, ...own, DATABASE_URL: where, ISSUER: door.url }
  const hubs = [await createHubProcess({ env }), await createHubProcess({ env })] as const
  const [first, second] = hubs
  async function close(): Promise<void> {
    await door.close()
    await Promise.all(hubs.map((hub) => hub.remove()))
    await database.close()
  }
  try {
    for (const hub of hubs) hub.start()
    await Promise.all(hubs.map((hub) => hub.ready()))
  } catch (error) {
    await close()
    throw error
  }
  ports.push(...hubs.map((hub) => hub.port))
  return {
    url: door.url,
    directUrls: [first.url, second.url],
    processes: hubs,
    adminToken: first.adminToken,
    db: database.db,
    keys: await createKeyService({
      db: database.db,
      clock: createClock(),
      leadMs: 3_600_000,
      logger: silentLogger,
    }),
    close,
  }
}

let shared: Promise<TwoHubs> | undefined

/** The same two for every suite of this process that asks; they end with the last test. */
export function sharedTwoHubs(): Promise<TwoHubs> {
  if (!shared) {
    const starting = startTwoHubs()
    shared = starting
    closeBeforeServer(async () => (await starting).close())
  }
  return shared
}
