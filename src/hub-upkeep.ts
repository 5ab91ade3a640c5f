import { alertRepository } from './alerts/alert-repository.js'
import { createAuditSealer } from './audit/audit-sealer.js'
import { trimAudit } from './audit/audit-trim.js'
import { conflictRepository } from './delivery/conflict-repository.js'
import type { Delivery } from './delivery/delivery-service.js'
import { erasureRepository } from './delivery/erasure-repository.js'
import { createErasureWorker } from './delivery/erasure-worker.js'
import { createExpiry } from './delivery/expiry.js'
import { fanOutRepository } from './delivery/fan-out-repository.js'
import { parkedRepository } from './delivery/parked-repository.js'
import { createAcknowledgementRepository } from './enforcement/acknowledgement-repository.js'
import { createLatencyFolder } from './enforcement/latency-folder.js'
import {
  createLatencyHistogramRepository,
  forgetFigures,
} from './enforcement/latency-histogram-repository.js'
import type { StageDeadlines } from './enforcement/stages.js'
import type { EventLog } from './eventlog/event-log.js'
import { eraseRelayed, isDrained } from './eventlog/log-erasure.js'
import type { HubBase } from './hub-base.js'
import type { Worker } from './kernel/worker.js'
import { eraseContentKeys } from './keys/data-keys.js'
import type { LeaseSet } from './storage/leases.js'
import { createUpkeep } from './storage/partitions.js'
import { createSubjectEraser } from './streams/subject-erasure.js'
import { forgetRemovedSubjects } from './streams/subject-upkeep.js'

const ERASURES_CHANNEL = 'erasures_requested'

export interface UpkeepParts {
  readonly deadlines: StageDeadlines
  readonly log: Pick<EventLog, 'lag'>
  readonly delivery: Pick<Delivery, 'streamChanged'>
  lease(kind: string): LeaseSet
}

/** What one process of all does at a time: sealing, folding, partitions. Each after the lease it works under. */
export function upkeepWorkers(base: HubBase, parts: UpkeepParts): Worker[] {
  const { config, pools, clock, logger } = base
  const { lease, deadlines } = parts
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
      contentRetentionDays: config.contentRetentionDays,
      expire: createExpiry({
        db: pools.api,
        logger,
        metrics: base.metrics,
        undeliveredRetentionDays: config.undeliveredRetentionDays,
        parkedRetentionDays: config.parkedRetentionDays,
      }),
      trim: async () => {
        await alertRepository.forget(pools.api, config.retentionDays)
        await conflictRepository.forgetQuiet(pools.api)
        await forgetFigures(pools.api, config.histogramRetentionDays)
        await forgetRemovedSubjects(pools.api, config.subjectRemovalGraceS)
        if (config.auditRetentionDays)
          await trimAudit(pools.api, { audit: base.audit, days: config.auditRetentionDays })
      },
      eraseContentBefore: (db, day) => fanOutRepository.forgetContent(db, day),
      eraseKeysBefore: eraseContentKeys,
      eraseDaysBefore: async (trx, day) => {
        await fanOutRepository.forgetOrders(trx, day)
        await parkedRepository.forgetSettled(trx, day)
        await erasureRepository.forgetDone(trx, day)
      },
    }),
    erasureWorker(base, parts, () => keeping.get(0) !== undefined),
  ]
}

/** Tells whoever keeps the `upkeep` lease that an erasure was asked for. */
export function erasuresRequested({ notifier }: Pick<HubBase, 'notifier'>): void {
  notifier.notify(ERASURES_CHANNEL)
}

function erasureWorker(base: HubBase, { log, delivery }: UpkeepParts, isLeader: () => boolean): Worker {
  const { keys, pools } = base
  const worker = createErasureWorker({
    ...base,
    db: pools.api,
    isLeader,
    isDrained: (sinceS) => isDrained(log, sinceS),
    eraseRecords: (person) => eraseRelayed(pools.api, person),
    eraseSubjects: createSubjectEraser((sealed, context) => keys.open(sealed, context)),
    eraseReports: (trx, events) => createAcknowledgementRepository(trx).eraseReasons(events),
    streamChanged: (streamId) => delivery.streamChanged(streamId),
  })
  base.notifier.on(ERASURES_CHANNEL, worker.ring)
  return worker
}
