import { setTimeout as delay } from 'node:timers/promises'
import type { Consumer, EachBatchPayload, KafkaMessage } from 'kafkajs'
import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { LogUnavailable } from './event-log.js'
import type { KafkaBatcher } from './kafka-batcher.js'
import { createKafkaClient, type KafkaConnection, withDeadline } from './kafka-client.js'
import type { FoundRecord } from './log-batch.js'

export interface ConsumerTimings {
  /** A handler that takes longer lets its partitions pause, so that the group never waits for it. */
  slowHandlerMs: number
  /** A consumer that has not polled for so long is made again. */
  stallTimeoutMs: number
  sessionTimeoutMs: number
  /** How long an answer to one request may take. */
  requestTimeoutMs: number
}

export interface KafkaSessionOptions extends ConsumerTimings {
  connection: KafkaConnection
  topic: string
  groupId: string
  clientId: string
  batcher: KafkaBatcher
  clock: Clock
  logger: Logger
  /** Called after each poll that was answered. */
  onProgress(): void
}

/** One life of one consumer. */
export interface KafkaSession {
  /** Resolves after `end`; rejects when the consumer crashed or stalled. By then it is gone, sockets and all. */
  readonly ended: Promise<void>
  /** Finishes the batch under way, commits, leaves the group. */
  end(): void
}

const FETCH = { maxWaitTimeInMs: 150, maxBytesPerPartition: 256 * 1024, maxBytes: 4 * 1024 * 1024 }
const HEARTBEAT_MS = 500
const RETRY_PAUSE_MS = 250
const GOODBYE_MS = 3_000

export async function openKafkaSession(options: KafkaSessionOptions): Promise<KafkaSession> {
  const { topic, batcher, clock, logger } = options
  const { clientId, requestTimeoutMs } = options
  const client = createKafkaClient(options.connection, { clientId, requestTimeoutMs })
  const consumer = client.kafka.consumer({
    groupId: options.groupId,
    sessionTimeout: options.sessionTimeoutMs,
    rebalanceTimeout: options.sessionTimeoutMs,
    heartbeatInterval: HEARTBEAT_MS,
    allowAutoTopicCreation: false,
    retry: { retries: 2, initialRetryTime: 100, restartOnFailure: async () => false },
    ...FETCH,
  })
  const ending = new AbortController()
  const slow = new Map<number, Promise<void>>()
  let lastPollMs = clock.monotonicMs()
  let generation = 0
  let over = false

  function polled(): void {
    lastPollMs = clock.monotonicMs()
    options.onProgress()
  }

  async function onBatch(payload: EachBatchPayload): Promise<void> {
    const { batch } = payload
    const { partition } = batch
    if (over || payload.isStale()) return
    // Unresolved, so it comes again; paused, so it does not come again at once.
    if (ending.signal.aborted || slow.has(partition)) return void payload.pause()
    const own = generation
    const found = batch.messages.map(toFoundRecord)
    const settling = batcher.settle(found)
    const settled = await settledSoon(settling, payload)
    if (settled !== undefined) return finish(payload, settled, own)
    // Too slow: the position stays where it was, the partition pauses, and the consumer goes on polling.
    const resume = payload.pause()
    const finishing = settling
      .then((late) => finish(payload, late, own))
      .catch((error: unknown) =>
        logger.debug('log_offset.not_committed', { topic, error: describeError(error) }),
      )
      .finally(() => {
        slow.delete(partition)
        if (!over) resume()
      })
    slow.set(partition, finishing)
  }

  /** Heartbeats while the handler works. Undefined when it takes too long. */
  async function settledSoon(
    settling: Promise<number>,
    payload: EachBatchPayload,
  ): Promise<number | undefined> {
    const deadline = clock.monotonicMs() + options.slowHandlerMs
    for (;;) {
      const leftMs = Math.min(HEARTBEAT_MS, deadline - clock.monotonicMs())
      if (leftMs <= 0) return undefined
      const timer = new AbortController()
      const pause = delay(leftMs, undefined, { signal: timer.signal }).catch(() => undefined)
      const settled = await Promise.race([settling, pause])
      timer.abort()
      if (settled !== undefined) return settled
      // A rebalance must not cut short what will be done in a moment; the next fetch reports it again.
      await payload.heartbeat().catch(() => {})
    }
  }

  async function finish(payload: EachBatchPayload, settled: number, own: number): Promise<void> {
    const { messages, partition } = payload.batch
    const last: KafkaMessage | undefined = messages[settled - 1]
    // After a rebalance the partition may be another's: then nothing is committed, and repeats are dropped at fan-out.
    if (last && own === generation && !over) {
      payload.resolveOffset(last.offset)
      const next = String(BigInt(last.offset) + 1n)
      await payload.commitOffsetsIfNecessary({
        topics: [{ topic, partitions: [{ partition, offset: next }] }],
      })
    }
    if (settled < messages.length && !over) {
      const resume = payload.pause()
      void delay(RETRY_PAUSE_MS).then(() => over || resume())
    }
  }

  const failed = watch(consumer, {
    polled,
    joined() {
      generation += 1
    },
    sinceLastPollMs: () => clock.monotonicMs() - lastPollMs,
    stallTimeoutMs: options.stallTimeoutMs,
    signal: ending.signal,
  })

  async function live(): Promise<void> {
    try {
      const ended = new Promise<void>((resolve) => ending.signal.addEventListener('abort', () => resolve()))
      await Promise.race([failed, ended])
      // Slow handlers finish and commit before the goodbye; their time is the handler's own.
      await Promise.all(slow.values())
      await withDeadline(consumer.disconnect(), GOODBYE_MS + options.slowHandlerMs, 'leave').catch(() => {})
      await Promise.all(slow.values())
    } finally {
      over = true
      ending.abort()
      client.destroy()
    }
  }

  try {
    await withDeadline(begin(consumer, topic, onBatch), options.stallTimeoutMs, `subscribe ${topic}`)
  } catch (error) {
    over = true
    ending.abort()
    client.destroy()
    throw error
  }
  const ended = live()
  ended.catch(() => {})
  return { ended, end: () => ending.abort() }
}

async function begin(
  consumer: Consumer,
  topic: string,
  eachBatch: (payload: EachBatchPayload) => Promise<void>,
): Promise<void> {
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  // A worker per partition: all partitions of one fetch are in hand together and share batches.
  const partitionsConsumedConcurrently = 64
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently,
    eachBatch,
  })
}

interface Watched {
  polled(): void
  joined(): void
  sinceLastPollMs(): number
  stallTimeoutMs: number
  signal: AbortSignal
}

/** Rejects when the consumer crashes or stalls. */
function watch(consumer: Consumer, watched: Watched): Promise<never> {
  const failed = new Promise<never>((_, reject) => {
    const { CRASH, FETCH: FETCHED, HEARTBEAT, GROUP_JOIN } = consumer.events
    consumer.on(CRASH, ({ payload }) => reject(payload.error))
    consumer.on(FETCHED, () => watched.polled())
    consumer.on(HEARTBEAT, () => watched.polled())
    consumer.on(GROUP_JOIN, () => {
      watched.joined()
      watched.polled()
    })
    const timer = setInterval(
      () => {
        const ms = watched.sinceLastPollMs()
        if (ms > watched.stallTimeoutMs) {
          reject(new LogUnavailable(`The consumer has not polled for ${(ms / 1000).toFixed(1)} s.`))
        }
      },
      Math.min(1000, watched.stallTimeoutMs / 4),
    )
    watched.signal.addEventListener('abort', () => clearInterval(timer))
  })
  failed.catch(() => {})
  return failed
}

/** The key is the slot; a record whose key was changed does not match what was signed. */
function toFoundRecord(message: KafkaMessage): FoundRecord {
  const key = message.key?.toString('latin1') ?? ''
  return { record: message.value, slot: /^\d{1,2}$/.test(key) ? Number(key) : undefined }
}
