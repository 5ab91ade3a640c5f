import { createAuditSealer } from './audit/audit-sealer.js'
import { fanOutRepository } from './delivery/fan-out-repository.js'
import { parkedRepository } from './delivery/parked-repository.js'
import { createLatencyFolder } from './enforcement/latency-folder.js'
import { createLatencyHistogramRepository } from './enforcement/latency-histogram-repository.js'
import type { StageDeadlines } from './enforcement/stages.js'
import type { HubBase } from './hub-base.js'
import type { Worker } from './kernel/worker.js'
import { eraseContentKeys } from './keys/data-keys.js'
import type { LeaseSet } from './storage/leases.js'
import { createUpkeep } from './storage/partitions.js'

/** What one process of all does at a time: sealing, folding, partitions. Each after the lease it works under. */
export function upkeepWorkers(
  { config, pools, clock, logger }: HubBase,
  { lease, deadlines }: { lease(kind: string): LeaseSet; deadlines: StageDeadlines },
): Worker[] {
  const sealing = lease('audit-sealer')
  const folding = lease('latency-folder')
  const keeping = lease('upkeep')
  return [
    sealing,
    folding,
    keeping,
    createAuditSealer({ db: pools.system, lease: sealing, logger }),
    createLatencyFolder({
      repository: createLatencyHistogramRepository(pools.api, deadlines),
      isLeader: () => folding.get(0) !== undefined,
      clock,
      logger,
    }),
    createUpkeep({
      db: pools.api,
      lease: keeping,
      logger,
      dedupeWindowDays: config.dedupeWindowDays,
      retentionDays: config.retentionDays,
      eraseDaysBefore: async (trx, day) => {
        await eraseContentKeys(trx, day)
        await fanOutRepository.forgetOrders(trx, day)
        await parkedRepository.forgetSettled(trx, day)
      },
    }),
  ]
}
