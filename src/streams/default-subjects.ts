import type { Clock } from '../kernel/clock.js'
import { type Database, sqlRows } from '../storage/database.js'

/** What metadata may say to every receiver of `default_subjects` (SSF 1.0 §7.1); undefined: nothing. Never rejects. */
export type DefaultSubjects = () => Promise<'ALL' | undefined>

/** Anybody may read metadata as often as they like; the database is asked this often at most, ms. */
const KEPT_MS = 1_000
const TIMEOUT_MS = 1_000

/**
 * `ALL`, as long as that is true of every enabled receiver. Left out as soon as one has `NONE`: that tells strangers that
 * receivers differ, of none which, and a setting for the whole hub would be untrue of whoever differs from it.
 */
export function createDefaultSubjects(db: Database, clock: Pick<Clock, 'monotonicMs'>): DefaultSubjects {
  let asked: { atMs: number; answer: Promise<'ALL' | undefined> } | undefined

  async function ask(): Promise<'ALL' | undefined> {
    try {
      const sql = `select 1 from receivers where enabled and default_subjects = 'NONE' limit 1`
      const others = await sqlRows(db, sql, [], { timeoutMs: TIMEOUT_MS })
      return others.length === 0 ? 'ALL' : undefined
    } catch {
      // The member is optional: metadata does not go away with the database.
      return undefined
    }
  }

  return () => {
    const now = clock.monotonicMs()
    if (!asked || now - asked.atMs >= KEPT_MS) asked = { atMs: now, answer: ask() }
    return asked.answer
  }
}
