import { type Database, sqlRows } from '../storage/database.js'
import type { AuditLog } from './audit-log.js'

/** What a trim writes about itself; the chain is whole when it begins where the newest of these says. */
export const TRIMMED = 'audit.trimmed'

/**
 * Drops sealed rows older than so many days, but never the newest one, and says so in a row of the log itself: the number
 * and the hash of the last row that went. So the chain goes on from a hash that it holds.
 */
export async function trimAudit(
  db: Database,
  { audit, days }: { audit: Pick<AuditLog, 'record'>; days: number },
): Promise<number> {
  return await db.transaction(async (trx) => {
    const [last] = await sqlRows<{ seq: number; hash: Buffer }>(
      trx,
      `select seq, hash from audit_log
       where seq < (select max(seq) from audit_log) and at < now() - make_interval(days => ?) order by seq desc limit 1`,
      [days],
    )
    if (!last) return 0
    const gone = await sqlRows(trx, 'delete from audit_log where seq <= ? returning 1', [last.seq])
    const detail = { seq: last.seq, hash: last.hash.toString('hex') }
    await audit.record(trx, { actor: 'hub', action: TRIMMED, detail })
    return gone.length
  })
}
