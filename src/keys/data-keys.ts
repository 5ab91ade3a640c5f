import { randomBytes } from 'node:crypto'
import type { Database } from '../storage/database.js'
import { sqlRows } from '../storage/database.js'
import { decrypt, encrypt, SealBroken } from './aead.js'
import type { KeyRing } from './key-ring.js'

/** For keys that belong to no day. */
export const NO_DAY = '1970-01-01'
/** Days in use at once are the retention and a little; the rest is read again when asked for. */
const MAX_CACHED_DAYS = 120

export interface ContentCipher {
  seal(plain: Buffer): Buffer
  /** @throws SealBroken, also once the day's key was erased */
  open(sealed: Buffer): Buffer
}

/** Sole writer of `data_keys`: random keys of 32 bytes, sealed under the ring, made at first use by whoever comes first. */
export async function ensureDataKey(
  db: Database,
  ring: KeyRing,
  id: { purpose: string; day: string },
): Promise<Buffer> {
  const context = `data-key ${id.purpose} ${id.day}`
  const find = async (): Promise<Buffer | undefined> => {
    const rows = await sqlRows<{ wrapped: Buffer }>(
      db,
      'select wrapped from data_keys where purpose = ? and day = ?',
      [id.purpose, id.day],
    )
    return rows[0] && ring.open(rows[0].wrapped, context)
  }
  const found = await find()
  if (found) return found
  const wrapped = ring.seal(randomBytes(32), context)
  await db('data_keys')
    .insert({ ...id, wrapped })
    .onConflict()
    .ignore()
  // Read back: of two processes that made one, the first row counts.
  const stored = await find()
  if (!stored) throw new Error(`data key ${id.purpose} ${id.day} was erased while it was made`)
  return stored
}

/** Seals keys again that an older key of the ring sealed: at most so many at once. @returns how many */
export async function resealDataKeys(trx: Database, ring: KeyRing, most = 100): Promise<number> {
  const rows = await sqlRows<{ purpose: string; day: string; wrapped: Buffer }>(
    trx,
    'select purpose, day::text, wrapped from data_keys',
  )
  const stale = rows.filter(({ wrapped }) => !ring.isCurrent(wrapped)).slice(0, most)
  for (const { purpose, day, wrapped } of stale) {
    const context = `data-key ${purpose} ${day}`
    // An erased key must not come back.
    await trx('data_keys')
      .where({ purpose, day, wrapped })
      .update({ wrapped: ring.seal(ring.open(wrapped, context), context) })
  }
  return stale.length
}

/** Erases the keys of all days before this one: what they encrypted is gone for good. Runs in the caller's transaction. */
export async function eraseContentKeys(trx: Database, beforeDay: string): Promise<number> {
  return await trx('data_keys').where({ purpose: 'content' }).andWhere('day', '<', beforeDay).delete()
}

/** One cipher per day, cached; a failed look-up is not kept. */
export function createContentCiphers(db: Database, ring: KeyRing): (day: string) => Promise<ContentCipher> {
  const cache = new Map<string, Promise<ContentCipher>>()

  const ensureContentKey = (day: string) => ensureDataKey(db, ring, { purpose: 'content', day })

  async function load(day: string): Promise<ContentCipher> {
    const key = await ensureContentKey(day).catch(async (error: unknown) => {
      if (!(error instanceof SealBroken)) throw error
      // Another process may have sealed it under a key of the ring that was not read here yet.
      await ring.refresh()
      return await ensureContentKey(day)
    })
    const context = `content ${day}`
    return {
      seal: (plain) => encrypt(key, plain, context),
      open: (sealed) => decrypt(key, sealed, context),
    }
  }

  return (day) => {
    const cached = cache.get(day)
    if (cached) return cached
    const loading = load(day)
    cache.set(day, loading)
    loading.catch(() => cache.delete(day))
    const oldest = cache.keys().next().value
    if (cache.size > MAX_CACHED_DAYS && oldest !== undefined) cache.delete(oldest)
    return loading
  }
}
