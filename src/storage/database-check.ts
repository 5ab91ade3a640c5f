import { describeError } from '../kernel/errors.js'
import { type Database, sqlRows } from './database.js'

export interface DatabaseCheck {
  ok: boolean
  /** A plain sentence for readiness, when not ok. */
  reason?: string
}

const TIMEOUT_MS = 2_000

/** Whether the database answers within 2 s and takes writes. Never rejects. */
export async function checkDatabase(db: Database): Promise<DatabaseCheck> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS)
  })
  try {
    const asked = sqlRows<{ recovering: boolean; read_only: string }>(
      db,
      "select pg_is_in_recovery() recovering, current_setting('transaction_read_only') read_only",
    )
    const [row] = await Promise.race([asked, late])
    if (row?.recovering) return { ok: false, reason: 'the database is a standby and takes no writes' }
    if (row?.read_only === 'on') return { ok: false, reason: 'the database is read-only' }
    return { ok: true }
  } catch (error) {
    return { ok: false, reason: `the database cannot be reached: ${describeError(error)}` }
  } finally {
    clearTimeout(timer)
  }
}
