import type { Logger } from '../kernel/logger.js'
import { createPeriodicWorker } from '../kernel/periodic-worker.js'
import type { Worker } from '../kernel/worker.js'
import type { Database } from '../storage/database.js'
import type { AlertKind, Condition, Probe } from './alert.js'
import { reportRepository } from './report-repository.js'

const EVERY_MS = 5_000
/** A process that did not repeat itself for so long has ended. */
const REPORT_LASTS_MS = 20_000
const FORGET_AFTER_MS = 3_600_000

/** What a process sees of itself: conditions, or nothing. */
export type OwnCondition = () => Condition | readonly Condition[] | undefined

/** Runs in every process: keeps what holds here where the one that watches can read it. */
export function createAlertReporter(options: {
  db: Database
  processId: string
  conditions: readonly OwnCondition[]
  logger: Pick<Logger, 'warn'>
  everyMs?: number
}): Worker {
  const { db, processId } = options
  let hasReported = false
  return createPeriodicWorker({
    name: 'alert reporter',
    everyMs: options.everyMs ?? EVERY_MS,
    async round() {
      const found = options.conditions.flatMap((condition) => condition() ?? [])
      if (found.length === 0 && !hasReported) return
      await reportRepository.replace(db, processId, found)
      hasReported = found.length > 0
    },
    failed: { event: 'alert.report_failed', says: 'what this process sees of itself is not told' },
    logger: options.logger,
  })
}

/** Reads what processes say of themselves. */
export function createReportsProbe(db: Database, kinds: readonly AlertKind[]): Probe {
  return {
    kinds,
    async look() {
      await reportRepository.forget(db, FORGET_AFTER_MS)
      return reportRepository.current(db, REPORT_LASTS_MS)
    },
  }
}
