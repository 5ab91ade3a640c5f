import { setTimeout as delay } from 'node:timers/promises'
import { crashpoint } from '../kernel/crashpoint.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import type { Health, Worker } from '../kernel/worker.js'
import type { Database } from '../storage/database.js'
import { LogUnavailable, MAX_BATCH_RECORDS, type SlotOwnership } from './event-log.js'
import { eventLogRepository as repository } from './event-log-repository.js'
import type { KafkaEventLog } from './kafka-event-log.js'

export interface LogRelayOptions {
  db: Database
  kafka: Pick<KafkaEventLog, 'appendRecords'>
  /** The lease `log-relay`, unit 0: one process copies. */
  lease: SlotOwnership
  logger: Logger
  metrics: Metrics
  /** Older rows are dropped instead: Kafka would not keep them, and readers would refuse them. Default 7 days. */
  maxAgeMs?: number
  pollMs?: number
}

const FIRST_BACKOFF_MS = 500
const MAX_BACKOFF_MS = 10_000

/**
 * Copies to Kafka what went through Postgres, after fan-out, for Kafka's other readers. A crash between the copy and
 * the delete copies again; readers know a record by its `jti`.
 */
export function createLogRelay(options: LogRelayOptions): Worker {
  const { db, kafka, lease, logger, maxAgeMs = 7 * 86_400_000, pollMs = 1_000 } = options
  const stopping = new AbortController()
  const relayed = options.metrics.counter(
    'firebreak_log_relayed_records_total',
    'Records of the Postgres log copied to Kafka, or dropped for their age.',
    ['result'],
  )
  let running: Promise<void> | undefined
  let failure: string | undefined

  async function copyBatch(): Promise<number> {
    if (!lease.owned().has(0)) return 0
    const rows = await repository.findForRelay(db, MAX_BATCH_RECORDS)
    if (rows.length === 0) return 0
    const fresh = rows.filter((row) => row.ageS * 1000 <= maxAgeMs)
    await kafka.appendRecords(fresh)
    crashpoint('relay.copied')
    await repository.removeRelayed(
      db,
      rows.map((row) => row.id),
    )
    relayed.add({ result: 'copied' }, fresh.length)
    relayed.add({ result: 'dropped' }, rows.length - fresh.length)
    return rows.length
  }

  async function run(): Promise<void> {
    let backoffMs = FIRST_BACKOFF_MS
    while (!stopping.signal.aborted) {
      let pauseMs = pollMs
      try {
        if ((await copyBatch()) === MAX_BATCH_RECORDS) pauseMs = 0
        failure = undefined
        backoffMs = FIRST_BACKOFF_MS
      } catch (error) {
        failure = describeError(error)
        const level = error instanceof LogUnavailable ? 'debug' : 'warn'
        logger[level]('log_relay.failed', { error: failure })
        pauseMs = backoffMs
        backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)
      }
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  // The hub's own work does not depend on the copies, so a failing relay is told but makes nobody unready.
  const health = (): Health =>
    failure === undefined ? { ok: true } : { ok: true, reason: `copying to Kafka fails: ${failure}` }

  return {
    name: 'log relay',
    async start() {
      running = run()
    },
    async stop() {
      stopping.abort()
      await running
    },
    health,
  }
}
