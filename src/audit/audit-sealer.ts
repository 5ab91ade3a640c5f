import type { Logger } from '../kernel/logger.js'
import { createPeriodicWorker } from '../kernel/periodic-worker.js'
import type { Worker } from '../kernel/worker.js'
import { type Database, sqlRows } from '../storage/database.js'
import type { LeaseSet } from '../storage/leases.js'
import { AUDIT_COLUMNS, type AuditRow, FIRST_HASH, hashAuditRow } from './audit-chain.js'

const EVERY_MS = 500
const BATCH = 500
const SEAL_LOCK = 0x46426175

export interface AuditSealer extends Worker {
  /** Seals what is committed. @returns how many rows */
  sealOnce(): Promise<number>
}

/**
 * Numbers committed rows without gaps and chains them, within a second. One process at a time, by the lease
 * `audit-sealer`, which the caller starts before and stops after it; should two ever believe they hold it, the transaction lock lets them go one after the other.
 */
export function createAuditSealer(options: {
  db: Database
  lease: Pick<LeaseSet, 'get'>
  logger: Logger
}): AuditSealer {
  const { db, lease, logger } = options
  const worker = createPeriodicWorker({
    name: 'audit sealer',
    everyMs: EVERY_MS,
    async round() {
      while (lease.get(0) && (await sealBatch(db)) === BATCH);
    },
    failed: { event: 'audit.not_sealed', says: 'audit rows are not sealed' },
    // What the drain itself wrote.
    lastRound: true,
    logger,
  })
  return { ...worker, sealOnce: () => sealBatch(db) }
}

async function sealBatch(db: Database): Promise<number> {
  return await db.transaction(async (trx) => {
    await trx.raw('select pg_advisory_xact_lock(?)', [SEAL_LOCK])
    const rows = await sqlRows<AuditRow>(
      trx,
      `select ${AUDIT_COLUMNS} from audit_log a where seq is null order by a.at, a.id limit ?`,
      [BATCH],
    )
    if (rows.length === 0) return 0
    const [last] = await sqlRows<{ seq: number; hash: Buffer }>(
      trx,
      'select seq, hash from audit_log where seq is not null order by seq desc limit 1',
    )
    let seq = last?.seq ?? 0
    let previous = last?.hash ?? FIRST_HASH
    const sealed = rows.map((row) => {
      seq += 1
      const prev = previous
      previous = hashAuditRow(row, seq, prev)
      return { id: row.id, seq, prev, hash: previous }
    })
    await trx.raw(
      `update audit_log a set seq = s.seq, prev_hash = s.prev, hash = s.hash
       from unnest(?::uuid[], ?::bigint[], ?::bytea[], ?::bytea[]) as s(id, seq, prev, hash) where a.id = s.id`,
      [
        sealed.map((row) => row.id),
        sealed.map((row) => row.seq),
        sealed.map((row) => row.prev),
        sealed.map((row) => row.hash),
      ],
    )
    return rows.length
  })
}
