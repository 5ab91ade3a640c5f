import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import type { Database } from '../storage/database.js'
import { parkedRepository } from './parked-repository.js'
import { resultRepository } from './result-repository.js'

/** Gives up SETs and parked items after so many days. Somebody was not told, so a person must know. */
export function createExpiry(options: {
  readonly db: Database
  readonly undeliveredRetentionDays: number
  readonly parkedRetentionDays: number
  readonly logger: Logger
  readonly metrics: Metrics
}): () => Promise<void> {
  const { db, logger } = options
  const expired = options.metrics.counter(
    'firebreak_deliveries_expired_total',
    'SETs given up after their retention.',
  )
  return async () => {
    const unsent = await resultRepository.expireOpen(db, options.undeliveredRetentionDays)
    const parked = await parkedRepository.expireOpen(db, options.parkedRetentionDays)
    if (unsent + parked === 0) return
    expired.add({}, unsent + parked)
    logger.error('delivery.expired', { unsent, parked })
  }
}
