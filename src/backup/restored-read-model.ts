import { type Database, sqlRows } from '../storage/database.js'
import type { LanePosition } from './archive-manifest.js'
import { RESTORED } from './restore-service.js'

/** The last restore of this database, as its audit row tells. */
export interface LastRestore {
  readonly madeAt: Date
  readonly logPositions: readonly LanePosition[] | null
}

export async function findLastRestore(db: Database): Promise<LastRestore | undefined> {
  const [row] = await sqlRows<{ made_at: string; log_positions: LanePosition[] | null }>(
    db,
    `select detail ->> 'made_at' as made_at, detail -> 'log_positions' as log_positions
     from audit_log where action = ? order by at desc, id desc limit 1`,
    [RESTORED],
  )
  return row && { madeAt: new Date(row.made_at), logPositions: row.log_positions ?? null }
}
