import type { Clock } from '../kernel/clock.js'
import { type Database, sqlRows } from '../storage/database.js'

/**
 * Whether a SET that was first sent or handed out before that moment is still open: a receiver may hold it and verify
 * it yet. Whatever is sent again is signed again, by the key of that time. Reads the queue through when there is none.
 */
export async function isOutstanding(db: Database, beforeMs: number): Promise<boolean> {
  const [row] = await sqlRows<{ found: boolean }>(
    db,
    'select exists (select from delivery_queue where delivered_at < to_timestamp(?::float8 / 1000)) found',
    [beforeMs],
  )
  return row?.found ?? false
}

const REMEMBERED_MS = 60_000

/** `isOutstanding` for those who ask every few seconds: what was outstanding is taken to be so for a minute. */
export function createOutstandingReader(
  db: Database,
  clock: Pick<Clock, 'monotonicMs'>,
): (beforeMs: number) => Promise<boolean> {
  let known: { beforeMs: number; atMs: number } | undefined
  return async (beforeMs) => {
    const atMs = clock.monotonicMs()
    // What is open since before one moment is so since before any later one.
    if (known && beforeMs >= known.beforeMs && atMs - known.atMs < REMEMBERED_MS) return true
    const found = await isOutstanding(db, beforeMs)
    if (found) known = { beforeMs, atMs }
    return found
  }
}
