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
