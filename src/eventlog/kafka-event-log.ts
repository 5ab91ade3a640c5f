import type { Clock } from '../kernel/clock.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import type { Worker } from '../kernel/worker.js'
import { LANES, type Lane } from '../secevent/event.js'
import {
  type EventLog,
  type LogHealth,
  type LogLag,
  type LogRecord,
  LogUnavailable,
  type RecordCodec,
} from './event-log.js'
import type { KafkaConnection } from './kafka-client.js'
import { createKafkaReader } from './kafka-reader.js'
import type { ConsumerTimings } from './kafka-session.js'
import { createKafkaTopics } from './kafka-topics.js'
import { createKafkaWriter, type KafkaWriter } from './kafka-writer.js'
import { logMetricsOf } from './log-metrics.js'

export interface KafkaEventLogOptions extends Omit<KafkaConnection, 'logger'>, Partial<ConsumerTimings> {
  /** Topics are `<prefix>.control`, `.urgent` and `.routine`; groups `<prefix>.fanout.<lane>`. */
  topicPrefix: string
  /** For topics that have to be made; topics that exist keep theirs. */
  partitions: number
  replication: number
  /** For topics that have to be made, ms. Default 7 days. */
  retentionMs?: number
  codec: RecordCodec
  clock: Clock
  logger: Logger
  metrics: Metrics
  /** Gives up on one flush after this long, ms. */
  answerTimeoutMs?: number
  /** Records that may wait in memory per lane before appends are refused. */
  maxWaiting?: number
}

export interface KafkaEventLog extends EventLog {
  /** Like `append`, with records that are signed already. */
  appendRecords(records: readonly LogRecord[]): Promise<void>
  /** Refuses at once what waits in memory and was not sent. */
  refuseWaiting(): void
  /** Resolves when the broker answers; throws LogUnavailable or StartupError. */
  probe(timeoutMs: number): Promise<void>
}

const DAY_MS = 86_400_000
const LAG_TIMEOUT_MS = 3_000
const TIMINGS: ConsumerTimings = {
  slowHandlerMs: 2_000,
  stallTimeoutMs: 10_000,
  sessionTimeoutMs: 6_000,
  requestTimeoutMs: 5_000,
}

/** The log on Kafka: a topic per lane, key = slot, acks=all, offsets committed after the handler. */
export function createKafkaEventLog(options: KafkaEventLogOptions): KafkaEventLog {
  const { topicPrefix, codec, clock, logger, partitions, replication, retentionMs = 7 * DAY_MS } = options
  const metrics = logMetricsOf(options.metrics)
  const connection: KafkaConnection = options
  const topics = createKafkaTopics(connection, { prefix: topicPrefix, partitions, replication, retentionMs })
  const restarts = options.metrics.counter(
    'firebreak_log_consumer_restarts_total',
    'Kafka consumers thrown away and made again, after a crash or a stall.',
    ['lane'],
  )
  const shared = { connection, topics, topicPrefix, clock, logger, metrics }
  const limits = {
    answerTimeoutMs: options.answerTimeoutMs ?? 1_000,
    maxWaiting: options.maxWaiting ?? 20_000,
  }
  const writers = Object.fromEntries(
    LANES.map((lane) => [lane, createKafkaWriter({ lane, ...shared, ...limits })]),
  ) as Record<Lane, KafkaWriter>
  const readers: Worker[] = []

  async function appendRecords(records: readonly LogRecord[]): Promise<void> {
    await Promise.all(records.map((record) => writers[record.lane].add(record)))
  }

  function health(): LogHealth {
    const failing = LANES.map((lane) => writers[lane].failure()).find((failure) => failure !== undefined)
    if (failing !== undefined) return { ok: false, reason: `storing events in Kafka fails: ${failing}` }
    const sick = readers.map((reader) => reader.health()).find((state) => !state.ok)
    if (sick?.reason !== undefined) return { ok: false, reason: sick.reason }
    const layout = topics.layout()
    if (!layout) return { ok: false, reason: 'Kafka has not answered yet' }
    return layout.warning === undefined ? { ok: true } : { ok: true, reason: layout.warning }
  }

  return {
    async start() {
      await topics.ensure()
      await Promise.all(LANES.map((lane) => writers[lane].warm()))
    },
    append: (events) => appendRecords(events.map((event) => codec.encode(event))),
    appendRecords,
    refuseWaiting: () => LANES.forEach((lane) => void writers[lane].refuseWaiting()),
    probe: (timeoutMs) => topics.probe(timeoutMs),
    subscribe(lane, handler) {
      const onRestart = () => restarts.add({ lane })
      const reader = createKafkaReader({
        ...TIMINGS,
        ...definedTimings(options),
        ...shared,
        lane,
        codec,
        handler,
        onRestart,
      })
      readers.push(reader)
      return reader
    },
    health,
    async lag(): Promise<LogLag[]> {
      if (!topics.layout()) throw new LogUnavailable('Kafka has not answered yet.')
      return topics.lag(clock.now(), LAG_TIMEOUT_MS)
    },
    async close() {
      await Promise.all(LANES.map((lane) => writers[lane].close()))
      topics.close()
    },
  }
}

function definedTimings(options: Partial<ConsumerTimings>): Partial<ConsumerTimings> {
  const names = Object.keys(TIMINGS) as (keyof ConsumerTimings)[]
  return Object.fromEntries(
    names.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
  )
}
