import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { describeError, StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'

/** Two numbers that name this lock among advisory locks: "FBrk", hub. */
const LOCK_KEY = [0x46427262, 1] as const
/** The connection of a hub that was killed a moment ago may still be closing. */
const GRACE_MS = 2_000

export interface SessionLockOptions {
  url: string
  /** What the lock guards, for the refusal: a data folder. */
  guarded: string
  logger: Logger
  /** Another hub took the lock while our connection was away: this process must end. */
  onLost(error: StartupError): void
}

export interface SessionLock {
  held(): boolean
  release(): Promise<void>
}

/**
 * Takes the lock that says "a hub lives here" on a connection of its own and keeps it: it is free the moment its holder
 * dies, whatever files that leaves. Taken again after the server restarted.
 * @throws StartupError naming the process id of the hub that holds it
 */
export async function holdSessionLock(options: SessionLockOptions): Promise<SessionLock> {
  let client: pg.Client | undefined
  let released = false

  async function take(): Promise<void> {
    const next = await connect(options.url)
    const holder = await tryTake(next)
    if (holder !== undefined) {
      await next.end()
      throw new StartupError(
        `another firebreak hub (process ${holder}) is using ${options.guarded}: stop it, or set DATA_DIR to another folder`,
      )
    }
    client = next
    next.once('end', () => {
      client = undefined
      if (!released) void retake()
    })
  }

  async function retake(): Promise<void> {
    while (!released && client === undefined) {
      try {
        await take()
      } catch (error) {
        if (error instanceof StartupError) {
          options.onLost(error)
          return
        }
        options.logger.debug('session_lock.retrying', { reason: describeError(error) })
        await delay(200)
      }
    }
    if (released) await client?.end()
  }

  await take()
  return {
    held: () => client !== undefined,
    async release() {
      released = true
      await client?.end()
    },
  }
}

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString,
    application_name: `firebreak hub ${process.pid}`,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
  })
  // A lost connection is told by 'end'; without this handler it would stop the process.
  client.on('error', () => {})
  await client.connect()
  return client
}

/** Undefined when taken; else who holds it. */
async function tryTake(client: pg.Client): Promise<string | undefined> {
  const end = performance.now() + GRACE_MS
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>('select pg_try_advisory_lock($1, $2) taken', [
      ...LOCK_KEY,
    ])
    if (rows[0]?.taken) return undefined
    if (performance.now() > end) return await describeHolder(client)
    await delay(50)
  }
}

async function describeHolder(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ application_name: string }>(
    `select a.application_name from pg_locks l join pg_stat_activity a using (pid)
     where l.locktype = 'advisory' and l.granted and l.classid::bigint = $1 and l.objid::bigint = $2`,
    [...LOCK_KEY],
  )
  return /(\d+)$/.exec(rows[0]?.application_name ?? '')?.[1] ?? 'unknown'
}
