import type { Database } from '../storage/database.js'

/** What this room needs of the audit log: one row, in the transaction of the change it tells of. */
export interface AuditTrail {
  record(
    trx: Database,
    entry: { actor: string; action: string; target?: string; detail?: object },
  ): Promise<void>
}
