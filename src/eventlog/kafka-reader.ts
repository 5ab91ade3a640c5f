import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Health, Worker } from '../kernel/worker.js'
import type { Lane } from '../secevent/event.js'
import { type BatchHandler, LogUnavailable, type RecordCodec } from './event-log.js'
import { createKafkaBatcher } from './kafka-batcher.js'
import { explainKafkaError, type KafkaConnection } from './kafka-client.js'
import { type ConsumerTimings, openKafkaSession } from './kafka-session.js'
import { groupOf, type KafkaTopics, topicOf } from './kafka-topics.js'
import type { LogMetrics } from './log-metrics.js'

export interface KafkaReaderOptions extends ConsumerTimings {
  lane: Lane
  connection: KafkaConnection
  topics: KafkaTopics
  topicPrefix: string
  codec: RecordCodec
  handler: BatchHandler
  clock: Clock
  logger: Logger
  metrics: LogMetrics
  /** Called when a consumer is made again, with why. */
  onRestart?(lane: Lane, reason: string): void
}

const FIRST_BACKOFF_MS = 250
const MAX_BACKOFF_MS = 2_000

/**
 * Keeps one consumer of one lane alive: its own client, group and connection. When it crashes, or the watchdog sees
 * that it no longer polls (kafkajs #1466, #1011), it is thrown away with its sockets and made again.
 */
export function createKafkaReader(options: KafkaReaderOptions): Worker {
  const { lane, topics, clock, logger, connection } = options
  const stopping = new AbortController()
  const batcher = createKafkaBatcher(options)
  let failure: { reason: string; sinceMs: number } | undefined
  let running: Promise<void> | undefined

  async function runOnce(): Promise<void> {
    await topics.ensure()
    const opened = await openKafkaSession({
      ...options,
      batcher,
      topic: topicOf(options.topicPrefix, lane),
      groupId: groupOf(options.topicPrefix, lane),
      clientId: `${options.topicPrefix}-${lane}-reader`,
      onProgress() {
        failure = undefined
      },
    })
    const onStop = () => opened.end()
    stopping.signal.addEventListener('abort', onStop, { once: true })
    if (stopping.signal.aborted) onStop()
    try {
      await opened.ended
    } finally {
      stopping.signal.removeEventListener('abort', onStop)
    }
  }

  async function run(): Promise<void> {
    let backoffMs = FIRST_BACKOFF_MS
    while (!stopping.signal.aborted) {
      const startedMs = clock.monotonicMs()
      try {
        await runOnce()
      } catch (error) {
        if (stopping.signal.aborted) break
        const explained = explainKafkaError(error, connection.brokers)
        failure ??= { reason: explained.message, sinceMs: clock.monotonicMs() }
        const level = explained instanceof LogUnavailable ? 'warn' : 'error'
        logger[level]('log_reader.restarted', { log: 'kafka', lane, error: describeError(explained) })
        options.onRestart?.(lane, describeError(explained))
      }
      if (clock.monotonicMs() - startedMs > 30_000) backoffMs = FIRST_BACKOFF_MS
      await delay(backoffMs, undefined, { signal: stopping.signal }).catch(() => {})
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)
    }
  }

  function health(): Health {
    if (!failure) return { ok: true }
    const forS = (clock.monotonicMs() - failure.sinceMs) / 1000
    return {
      ok: forS < 10,
      reason: `reading ${lane} from Kafka fails for ${forS.toFixed(0)} s: ${failure.reason}`,
    }
  }

  return {
    name: `kafka log ${lane}`,
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
