import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Wake } from '../kernel/wake.js'
import type { Health, Worker } from '../kernel/worker.js'
import type { Lane } from '../secevent/event.js'
import type { Database, Transaction } from '../storage/database.js'
import {
  type BatchHandler,
  BatchTaken,
  type LogItem,
  MAX_BATCH_RECORDS,
  type RecordCodec,
  type SlotOwnership,
} from './event-log.js'
import { eventLogRepository as repository } from './event-log-repository.js'
import { deliver, readRecords } from './log-batch.js'
import type { LogMetrics } from './log-metrics.js'

export interface PostgresReaderOptions {
  lane: Lane
  db: Database
  slots: SlotOwnership
  codec: RecordCodec
  handler: BatchHandler
  /** Rung when a row may have come. */
  wake: Wake
  /** How often to look without being woken, ms. */
  pollMs: number
  /** Closed rows stay for the relay instead of being deleted. */
  keepForRelay: boolean
  clock: Clock
  logger: Logger
  metrics: LogMetrics
}

const READ_TIMEOUT_MS = 5_000
const FIRST_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 5_000

/** Takes open rows of its slots in id order, one batch at a time. Goes on after every failure, ever more slowly. */
export function createPostgresReader(options: PostgresReaderOptions): Worker {
  const { lane, db, slots, handler, logger } = options
  const stopping = new AbortController()
  let failure: { reason: string; sinceMs: number } | undefined
  let running: Promise<void> | undefined

  /** Answers how many records it settled. */
  async function takeBatch(): Promise<number> {
    const owned = [...slots.owned().keys()]
    if (owned.length === 0) return 0
    const query = { lane, slots: owned, limit: MAX_BATCH_RECORDS, timeoutMs: READ_TIMEOUT_MS }
    const rows = await repository.findOpen(db, query)
    if (rows.length === 0) return 0
    const items = await readRecords(options.codec, lane, rows)
    const ids = new Map(items.map((item, index) => [item, rows[index]?.id as number]))
    const closeIn = (trx: Transaction, some: readonly LogItem[]) => closeRows(trx, some, ids)
    options.metrics.read('postgres', lane, items)
    await deliver({ lane, from: 'postgres', items, closeIn }, handler)
    return rows.length
  }

  async function closeRows(
    trx: Transaction,
    items: readonly LogItem[],
    ids: Map<LogItem, number>,
  ): Promise<void> {
    const idsOf = (some: readonly LogItem[]) => some.map((item) => ids.get(item) as number)
    // What was not believed must not be passed on to Kafka's readers either.
    const kept = options.keepForRelay ? items.filter((item) => item.event) : []
    const gone = options.keepForRelay ? items.filter((item) => !item.event) : items
    let closed = 0
    if (kept.length > 0) closed += await repository.keepForRelay(trx, idsOf(kept))
    if (gone.length > 0) closed += await repository.remove(trx, idsOf(gone))
    if (closed !== items.length) {
      throw new BatchTaken('Another process has settled this batch.', {
        detail: `${closed} of ${items.length}`,
      })
    }
  }

  async function run(): Promise<void> {
    let backoffMs = FIRST_BACKOFF_MS
    while (!stopping.signal.aborted) {
      try {
        const count = await takeBatch()
        failure = undefined
        backoffMs = FIRST_BACKOFF_MS
        if (count < MAX_BATCH_RECORDS && !stopping.signal.aborted) await options.wake.wait(options.pollMs)
      } catch (error) {
        note(error)
        // Not cut short by new rows, or a steady flow of them would make this a busy loop.
        await delay(backoffMs * (0.75 + Math.random() / 2), undefined, { signal: stopping.signal }).catch(
          () => {},
        )
        backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)
      }
    }
  }

  function note(error: unknown): void {
    failure ??= { reason: describeError(error), sinceMs: options.clock.monotonicMs() }
    options.metrics.handlerFailed('postgres', lane)
    if (error instanceof BatchTaken) logger.debug('log_batch.taken', { log: 'postgres', lane })
    else logger.warn('log_batch.failed', { log: 'postgres', lane, error: describeError(error) })
  }

  function health(): Health {
    if (!failure) return { ok: true }
    const forS = (options.clock.monotonicMs() - failure.sinceMs) / 1000
    return {
      ok: forS < 5,
      reason: `reading ${lane} from Postgres fails for ${forS.toFixed(0)} s: ${failure.reason}`,
    }
  }

  return {
    name: `postgres log ${lane}`,
    async start() {
      slots.onChange(() => options.wake.ring())
      running = run()
    },
    async stop() {
      stopping.abort()
      options.wake.ring()
      await running
    },
    health,
  }
}
