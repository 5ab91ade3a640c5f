import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { describeError, StartupError } from '../kernel/errors.js'

/** Not ready yet: nobody listens, or the server is starting, recovering or shutting down (57P03). */
const NOT_YET = new Set(['ECONNREFUSED', 'ECONNRESET', '57P03'])

/** One try to log in. `false`: not yet. Throws on anything that waiting does not cure, e.g. a wrong password. */
export async function tryLogin(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    return true
  } catch (error) {
    if (
      NOT_YET.has((error as { code?: string }).code ?? '') ||
      /terminated|timeout/.test(describeError(error))
    )
      return false
    throw error
  } finally {
    await client.end().catch(() => {})
  }
}

/**
 * Waits until the server takes logins. Recovery after a crash can take minutes, so it lasts as long as the server lives.
 * @returns false when the server is gone
 */
export async function waitUntilReady(options: {
  url: string
  timeoutMs: number
  isAlive(): boolean
  say(text: string): void
}): Promise<boolean> {
  const start = performance.now()
  let told = start
  while (performance.now() - start < options.timeoutMs) {
    if (await tryLogin(options.url)) return true
    if (!options.isAlive()) return false
    if (performance.now() - told > 5_000) {
      told = performance.now()
      options.say(`PostgreSQL is recovering since ${Math.round((told - start) / 1000)} s`)
    }
    await delay(20)
  }
  throw new StartupError(
    `PostgreSQL did not get ready within ${options.timeoutMs / 1000} s: see its log file`,
  )
}

/** Makes the hub's database on the first start. */
export async function ensureDatabase(adminUrl: string, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  await client.connect()
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [name])
    if (!rowCount) await client.query(`create database ${client.escapeIdentifier(name)}`)
  } catch (error) {
    // 42P04, 23505: made by another hub that started at the same moment.
    if (!['42P04', '23505'].includes((error as { code?: string }).code ?? '')) throw error
  } finally {
    await client.end()
  }
}
