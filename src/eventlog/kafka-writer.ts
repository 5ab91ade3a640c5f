import { setTimeout as delay } from 'node:timers/promises'
import type { Producer } from 'kafkajs'
import type { Clock } from '../kernel/clock.js'
import { describeError, type HubError } from '../kernel/errors.js'
import { createGroupCommit } from '../kernel/group-commit.js'
import type { Logger } from '../kernel/logger.js'
import type { Lane } from '../secevent/event.js'
import { type LogRecord, LogUnavailable, MAX_BATCH_RECORDS } from './event-log.js'
import {
  createKafkaClient,
  explainKafkaError,
  type KafkaClient,
  type KafkaConnection,
  kafkaErrorFacts,
  withDeadline,
} from './kafka-client.js'
import { type KafkaTopics, topicOf } from './kafka-topics.js'
import type { LogMetrics } from './log-metrics.js'

export interface KafkaWriterOptions {
  lane: Lane
  connection: KafkaConnection
  topics: KafkaTopics
  topicPrefix: string
  /** The whole time one flush may take, repeats included, ms. */
  answerTimeoutMs: number
  maxWaiting: number
  clock: Clock
  logger: Logger
  metrics: LogMetrics
}

export interface KafkaWriter {
  /** Resolves when the broker has confirmed the record (acks=all). Throws LogUnavailable. */
  add(record: LogRecord): Promise<void>
  /** Connects ahead of the first record; failure is no matter. */
  warm(): Promise<void>
  /** Refuses what waits and has not been sent. */
  refuseWaiting(): void
  failure(): string | undefined
  close(): Promise<void>
}

const RETRY_PAUSE_MS = 50
const MISSING = ['UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION']

/**
 * One lane's records to its topic. One request outstanding and not idempotent: kafkajs 2.2.4 reuses sequence
 * numbers after an error, and then reports success for records that the broker discarded as repeats.
 * A repeat is removed at fan-out; a loss could not be.
 */
export function createKafkaWriter(options: KafkaWriterOptions): KafkaWriter {
  const { lane, connection, topics, clock, logger, metrics } = options
  const topic = topicOf(options.topicPrefix, lane)
  let current: { client: KafkaClient; producer: Producer; connected: Promise<void> } | undefined
  let generation = 0
  let failure: string | undefined
  let closed = false

  function open() {
    if (!current) {
      const client = createKafkaClient(connection, {
        clientId: `${options.topicPrefix}-${lane}-writer`,
        requestTimeoutMs: options.answerTimeoutMs,
      })
      const producer = client.kafka.producer({ idempotent: false, allowAutoTopicCreation: false })
      current = { client, producer, connected: producer.connect() }
      current.connected.catch(() => {})
    }
    return current
  }

  /** After any failure: a connection that kept a request waiting may keep the next one waiting too. */
  function discard(): void {
    current?.client.destroy()
    current = undefined
  }

  async function sendOnce(records: readonly LogRecord[]): Promise<void> {
    const { producer, connected } = open()
    await connected
    const partitions = (topics.layout() ?? (await topics.ensure())).partitions[lane]
    // The shared clock, by which the lag is measured: this machine's may be wrong.
    const timestamp = String(Math.floor(clock.now()))
    const messages = records.map(({ slot, record }) => ({
      key: String(slot),
      value: record,
      partition: slot % partitions,
      timestamp,
    }))
    const answers = await producer.send({ topic, acks: -1, timeout: options.answerTimeoutMs, messages })
    const confirmed = new Set(
      answers.filter((answer) => answer.errorCode === 0).map((answer) => answer.partition),
    )
    if (messages.some(({ partition }) => !confirmed.has(partition))) {
      throw new LogUnavailable('Kafka confirmed only some of the records; try again.')
    }
  }

  /** Repeats while time is left: a closed connection or a moved leader is over with the next try. */
  async function send(records: readonly LogRecord[]): Promise<void> {
    const deadline = clock.monotonicMs() + options.answerTimeoutMs
    for (;;) {
      try {
        return await withDeadline(
          sendOnce(records),
          Math.max(1, deadline - clock.monotonicMs()),
          `append ${lane}`,
        )
      } catch (error) {
        discard()
        const explained: HubError = explainKafkaError(error, connection.brokers)
        const passing = explained instanceof LogUnavailable
        if (!passing || closed || clock.monotonicMs() + RETRY_PAUSE_MS >= deadline) throw explained
        if (kafkaErrorFacts(error).types.some((type) => MISSING.includes(type))) {
          await withDeadline(topics.ensure(), Math.max(1, deadline - clock.monotonicMs()), 'topics').catch(
            () => {},
          )
        }
        await delay(RETRY_PAUSE_MS)
      }
    }
  }

  const commit = createGroupCommit<{ record: LogRecord; generation: number }, void>({
    maxBatch: MAX_BATCH_RECORDS,
    async flush(entries) {
      if (closed || entries.some((entry) => entry.generation !== generation)) {
        throw new LogUnavailable('Kafka does not answer; try again.')
      }
      const startedMs = clock.monotonicMs()
      try {
        await send(entries.map((entry) => entry.record))
      } catch (error) {
        failure = describeError(error)
        metrics.appendFailed('kafka', lane)
        logger.warn('log_append.failed', { log: 'kafka', lane, records: entries.length, error: failure })
        throw error instanceof LogUnavailable
          ? error
          : new LogUnavailable('The event log cannot store events now; try again.', { cause: error })
      }
      failure = undefined
      metrics.appended('kafka', lane, entries.length, (clock.monotonicMs() - startedMs) / 1000)
      return entries.map(() => undefined)
    },
  })

  return {
    async add(record) {
      if (closed) throw new LogUnavailable('The event log is closed.')
      if (commit.waiting() >= options.maxWaiting) {
        throw new LogUnavailable('Too many events wait for the event log; try again.')
      }
      await commit.add({ record, generation })
    },
    warm: () => withDeadline(open().connected, options.answerTimeoutMs, `connect ${lane}`).catch(discard),
    refuseWaiting() {
      generation += 1
    },
    failure: () => failure,
    async close() {
      await commit.idle()
      closed = true
      const last = current
      current = undefined
      await withDeadline(last?.producer.disconnect() ?? Promise.resolve(), 1000, 'disconnect').catch(() => {})
      last?.client.destroy()
    },
  }
}
