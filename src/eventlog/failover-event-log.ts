import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../kernel/clock.js'
import { describeError, StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import type { Worker } from '../kernel/worker.js'
import type { Lane } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import {
  type BatchHandler,
  type EventLog,
  type LogHealth,
  type LogLag,
  type LogRecord,
  LogUnavailable,
  type RecordCodec,
} from './event-log.js'
import { eventLogRepository as repository } from './event-log-repository.js'
import type { KafkaEventLog } from './kafka-event-log.js'
import { createLogBreaker, type Place } from './log-breaker.js'
import type { PostgresEventLog } from './postgres-event-log.js'

export interface FailoverEventLogOptions {
  kafka: KafkaEventLog
  /** Made with `keepForRelay: true`. */
  postgres: PostgresEventLog
  /** To see which rows are still open. */
  db: Database
  codec: RecordCodec
  clock: Clock
  logger: Logger
  metrics: Metrics
  /** How long the broker must have answered before appends return to it, ms. */
  returnAfterMs?: number
  /** How often to ask while it is away, ms. */
  probeIntervalMs?: number
}

const PROBE_TIMEOUT_MS = 1_000

/** Since when appends go around Kafka, on the monotonic clock, and why. */
export interface Detour {
  readonly sinceMonotonicMs: number
  readonly reason: string
}

export interface FailoverEventLog extends EventLog {
  /** Undefined while all appends go to Kafka. */
  detour(): Detour | undefined
}

/** Kafka while it answers, else Postgres at once; fan-out reads both always. Nothing waits for a broker that is away. */
export function createFailoverEventLog(options: FailoverEventLogOptions): FailoverEventLog {
  const { kafka, postgres, db, codec, clock, logger } = options
  const { returnAfterMs = 5_000, probeIntervalMs = 250 } = options
  const breaker = createLogBreaker({ clock, returnAfterMs })
  const stopping = new AbortController()
  const active = options.metrics.gauge(
    'firebreak_log_failover_active',
    'Whether appends go around Kafka now.',
  )
  let reason = ''
  let sinceMonotonicMs = 0
  let refused: string | undefined
  let minding: Promise<void> | undefined
  let known: { lags: LogLag[]; atMonotonicMs: number } | undefined
  active.set(0)

  function trip(error: unknown): void {
    reason = describeError(error)
    const first = breaker.state() !== 'open'
    breaker.trip()
    if (!first) return
    active.set(1)
    logger.warn('log_failover.started', { error: reason })
    // Their own appends have them written to Postgres, in the order in which they waited.
    kafka.refuseWaiting()
    startMinding()
  }

  function startMinding(): void {
    minding ??= mind().finally(() => {
      minding = undefined
      // A trip between the last look and here found the old loop still standing.
      if (breaker.state() !== 'closed' && !stopping.signal.aborted) startMinding()
    })
  }

  /** Asks the broker until all slots are back. */
  async function mind(): Promise<void> {
    sinceMonotonicMs = clock.monotonicMs()
    while (breaker.state() !== 'closed' && !stopping.signal.aborted) {
      await delay(probeIntervalMs, undefined, { signal: stopping.signal }).catch(() => {})
      try {
        await kafka.probe(PROBE_TIMEOUT_MS)
        breaker.probed(true)
        refused = undefined
      } catch (error) {
        breaker.probed(false)
        reason = describeError(error)
        if (error instanceof StartupError) refused = error.message
      }
      if (breaker.state() === 'returning') await settle().catch(() => {})
    }
    if (breaker.state() !== 'closed') return
    active.set(0)
    logger.info('log_failover.ended', { duration_ms: Math.round(clock.monotonicMs() - sinceMonotonicMs) })
  }

  async function settle(): Promise<void> {
    // Nothing written yet is a range too: slots whose appends failed have no row to wait for.
    const range = breaker.detourRange() ?? { from: 0, to: 0 }
    breaker.settle(range, await repository.findOpenPlaces(db, range.from, range.to))
  }

  async function viaPostgres(records: readonly LogRecord[]): Promise<void> {
    for (const record of records) breaker.beginDetour(record)
    let ids: number[] = []
    try {
      ids = await postgres.appendRecords(records)
    } finally {
      records.forEach((record, index) => {
        breaker.endDetour(record, ids[index] === undefined ? [] : [ids[index]])
      })
    }
  }

  async function viaKafka(records: readonly LogRecord[]): Promise<void> {
    try {
      await kafka.appendRecords(records)
    } catch (error) {
      trip(error)
      await orUnavailable(viaPostgres(records))
    }
  }

  /** Postgres is away too: a broker that answers may still take the records; safe order does not rest on the log. */
  async function viaDetour(records: readonly LogRecord[]): Promise<void> {
    try {
      await viaPostgres(records)
    } catch (error) {
      if (!breaker.answering()) throw error
      await orUnavailable(kafka.appendRecords(records))
    }
  }

  async function orUnavailable(append: Promise<void>): Promise<void> {
    await append.catch((cause: unknown) => {
      throw new LogUnavailable('Neither Kafka nor Postgres can store events now; try again.', { cause })
    })
  }

  /** What was last known stands in while Kafka does not answer, and gets older: what it holds is not fanned out. */
  async function lagInKafka(): Promise<LogLag[] | undefined> {
    const asked = breaker.state() === 'open' ? undefined : await kafka.lag().catch(() => undefined)
    if (asked) known = { lags: asked, atMonotonicMs: clock.monotonicMs() }
    if (!known || asked) return asked
    const sinceS = (clock.monotonicMs() - known.atMonotonicMs) / 1000
    return known.lags.map((lag) => ({
      ...lag,
      oldestAgeS: lag.records === 0 ? 0 : lag.oldestAgeS + sinceS,
    }))
  }

  function subscribe(lane: Lane, handler: BatchHandler): Worker {
    // Both logs may hold records of a slot; the contract is one batch at a time.
    let last: Promise<unknown> = Promise.resolve()
    const inTurn: BatchHandler = (batch) => {
      const turn = last.then(() => handler(batch))
      last = turn.catch(() => {})
      return turn
    }
    const readers = [kafka.subscribe(lane, inTurn), postgres.subscribe(lane, inTurn)]
    return {
      name: `failover log ${lane}`,
      start: async () => void (await Promise.all(readers.map((reader) => reader.start()))),
      stop: async () => void (await Promise.all(readers.map((reader) => reader.stop()))),
      health: () => readers.map((reader) => reader.health()).find((health) => !health.ok) ?? { ok: true },
    }
  }

  function health(): LogHealth {
    const inPostgres = postgres.health()
    const inKafka = kafka.health()
    if (breaker.state() === 'closed' && inKafka.ok) {
      const text = inPostgres.ok ? inKafka.reason : inPostgres.reason
      return text === undefined ? { ok: true } : { ok: true, reason: text }
    }
    const why = refused ?? inKafka.reason ?? reason
    if (!inPostgres.ok) return { ok: false, reason: `${inPostgres.reason}; and Kafka: ${why}` }
    return { ok: true, reason: `events go through Postgres, because of Kafka: ${why}` }
  }

  return {
    async start() {
      await postgres.start()
      try {
        await kafka.start()
      } catch (error) {
        // A broker that is away does not keep the hub from starting; wrong credentials do.
        if (!(error instanceof LogUnavailable)) throw error
        trip(error)
      }
    },
    async append(events) {
      const records = events.map((event) => codec.encode(event))
      const detour = (place: Place) => breaker.takesDetour(place)
      const around = records.filter(detour)
      const direct = around.length === 0 ? records : records.filter((record) => !detour(record))
      await Promise.all([
        around.length > 0 ? viaDetour(around) : undefined,
        direct.length > 0 ? viaKafka(direct) : undefined,
      ])
    },
    subscribe,
    health,
    detour: () =>
      breaker.state() === 'closed' ? undefined : { sinceMonotonicMs, reason: refused ?? reason },
    async lag() {
      const [inPostgres, inKafka] = await Promise.all([postgres.lag(), lagInKafka()])
      if (!inKafka) return inPostgres.map((own) => ({ ...own, isPartial: true }))
      return inPostgres.map((own) => {
        const other = inKafka.find((lag) => lag.lane === own.lane)
        const oldestAgeS = Math.max(own.oldestAgeS, other?.oldestAgeS ?? 0)
        return { lane: own.lane, records: own.records + (other?.records ?? 0), oldestAgeS }
      })
    },
    async close() {
      stopping.abort()
      await minding
      await Promise.all([kafka.close(), postgres.close()])
    },
  }
}
