import type { Clock } from '../kernel/clock.js'
import { describeError, StartupError } from '../kernel/errors.js'
import { createGroupCommit, type GroupCommit } from '../kernel/group-commit.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { LANES, type Lane, type SecurityEvent } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import {
  type EventLog,
  type LogHealth,
  type LogNotifier,
  type LogRecord,
  LogUnavailable,
  MAX_BATCH_RECORDS,
  type RecordCodec,
  type SlotOwnership,
  type TransactionalLog,
} from './event-log.js'
import { eventLogRepository as repository } from './event-log-repository.js'
import { logMetricsOf } from './log-metrics.js'
import { createPostgresReader, type PostgresReader } from './postgres-reader.js'

export interface PostgresEventLogOptions {
  /** A pool per lane, so that a flood of one lane takes no connection of another. */
  pools: Readonly<Record<Lane, Database>>
  slots: SlotOwnership
  notifier?: LogNotifier
  codec: RecordCodec
  clock: Clock
  logger: Logger
  metrics: Metrics
  /** True when Kafka is configured: closed rows wait for the relay. */
  keepForRelay?: boolean
  /** Gives up on one flush after this long, ms. */
  appendTimeoutMs?: number
  /** Records that may wait in memory per lane before appends are refused. */
  maxWaiting?: number
  /** How often readers look without being woken, ms. */
  pollMs?: number
}

export interface PostgresEventLog extends EventLog, TransactionalLog {
  /** Like `append`, with records that are signed already. Answers their ids. */
  appendRecords(records: readonly LogRecord[]): Promise<number[]>
}

const CHANNEL = 'event_log'
const placeOf = ({ lane, slot }: SecurityEvent) => `${lane} ${slot}`

/**
 * The log as a table: a queue whose rows are closed in the transaction that stores their effect. An event that the same process would
 * read at once is not made a row at all: it is durable with its effect (docs/adr/0033).
 */
export function createPostgresEventLog(options: PostgresEventLogOptions): PostgresEventLog {
  const { pools, slots, notifier, codec, clock, logger } = options
  const { keepForRelay = false, appendTimeoutMs = 5_000, maxWaiting = 20_000, pollMs = 500 } = options
  const metrics = logMetricsOf(options.metrics)
  const readers = new Map<Lane, PostgresReader[]>()
  let failure: string | undefined
  let closed = false
  const writers = Object.fromEntries(LANES.map((lane) => [lane, createWriter(lane)])) as Record<
    Lane,
    GroupCommit<LogRecord, number>
  >
  const unsubscribe = notifier?.on(CHANNEL, (lane) => ringLocal([lane as Lane]))

  function createWriter(lane: Lane): GroupCommit<LogRecord, number> {
    return createGroupCommit({
      maxBatch: MAX_BATCH_RECORDS,
      async flush(records: LogRecord[]) {
        const startedMs = clock.monotonicMs()
        try {
          const ids = await repository.insert(pools[lane], records, appendTimeoutMs)
          failure = undefined
          metrics.appended('postgres', lane, records.length, (clock.monotonicMs() - startedMs) / 1000)
          wakeFor(lane, records)
          return ids
        } catch (error) {
          failure = describeError(error)
          metrics.appendFailed('postgres', lane)
          logger.warn('log_append.failed', { log: 'postgres', lane, records: records.length, error: failure })
          throw new LogUnavailable('The event log cannot store events now; try again.', { cause: error })
        }
      },
    })
  }

  function ringLocal(lanes: readonly Lane[]): void {
    for (const lane of lanes) for (const reader of readers.get(lane) ?? []) reader.look()
  }

  function wakeFor(lane: Lane, records: readonly LogRecord[]): void {
    ringLocal([lane])
    const owned = slots.owned()
    const reads = readers.has(lane)
    // A process that reads all these slots itself need tell nobody.
    if (!reads || records.some((record) => !owned.has(record.slot))) notifier?.notify(CHANNEL, lane)
  }

  async function appendRecords(records: readonly LogRecord[]): Promise<number[]> {
    if (closed) throw new LogUnavailable('The event log is closed.')
    if (records.some((record) => writers[record.lane].waiting() >= maxWaiting)) {
      throw new LogUnavailable('Too many events wait for the event log; try again.')
    }
    return Promise.all(records.map((record) => writers[record.lane].add(record)))
  }

  /** Rows that are being stored, by lane and slot. */
  const underWay = new Map<string, number>()

  async function appendRow(event: SecurityEvent): Promise<void> {
    const place = placeOf(event)
    underWay.set(place, (underWay.get(place) ?? 0) + 1)
    try {
      await appendRecords([codec.encode(event)])
    } finally {
      const left = (underWay.get(place) ?? 1) - 1
      if (left > 0) underWay.set(place, left)
      else underWay.delete(place)
    }
  }

  async function appendOne(event: SecurityEvent): Promise<void> {
    // Behind a row of its slot it would be ahead of one that came before it, and its subject may be the same.
    const offer = underWay.has(placeOf(event)) ? undefined : readers.get(event.lane)?.[0]?.offer(event)
    // Not awaited when there is nothing to wait for: the next event must find the row under way.
    if (offer && (await offer)) {
      failure = undefined
      return
    }
    await appendRow(event)
  }

  function health(): LogHealth {
    const states = [...readers.values()].flatMap((some) => some.map((reader) => reader.health()))
    const sick = states.find((state) => !state.ok)
    const reason = failure === undefined ? sick?.reason : `storing events in Postgres fails: ${failure}`
    return reason === undefined ? { ok: true } : { ok: false, reason }
  }

  return {
    async start() {
      const setting = await repository
        .readSetting(pools.control, 'synchronous_commit')
        .catch((cause: unknown) => {
          throw new LogUnavailable('Postgres does not answer; try again.', { cause })
        })
      if (setting === 'off') {
        throw new StartupError(
          'Postgres runs with synchronous_commit = off, which loses acknowledged events: set it to on.',
        )
      }
    },
    async append(events) {
      if (closed) throw new LogUnavailable('The event log is closed.')
      await Promise.all(events.map(appendOne))
    },
    appendRecords,
    async appendIn(trx, events) {
      if (events.length > 0)
        await repository.insert(
          trx,
          events.map((event) => codec.encode(event)),
        )
    },
    wake(lanes) {
      ringLocal(lanes)
      for (const lane of lanes) notifier?.notify(CHANNEL, lane)
    },
    subscribe(lane, handler) {
      const db = pools[lane]
      const common = { lane, db, slots, codec, handler, pollMs, keepForRelay, clock, logger, metrics }
      const reader = createPostgresReader(common)
      readers.set(lane, [...(readers.get(lane) ?? []), reader])
      return reader
    },
    health,
    lag: () =>
      Promise.all(LANES.map(async (lane) => ({ lane, ...(await repository.measure(pools[lane], lane)) }))),
    async close() {
      closed = true
      unsubscribe?.()
      await Promise.all(LANES.map((lane) => writers[lane].idle()))
    },
  }
}
