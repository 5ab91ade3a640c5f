import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Lane } from '../secevent/event.js'
import { type BatchHandler, MAX_BATCH_RECORDS, type RecordCodec } from './event-log.js'
import { deliver, type FoundRecord, readRecords } from './log-batch.js'
import type { LogMetrics } from './log-metrics.js'

export interface KafkaBatcherOptions {
  lane: Lane
  codec: RecordCodec
  handler: BatchHandler
  logger: Logger
  metrics: LogMetrics
}

export interface KafkaBatcher {
  /**
   * Hands the records of one partition to the handler, in order, in batches shared with other partitions.
   * Answers how many, counted from the first, are settled: fewer than all when a batch failed.
   */
  settle(records: readonly FoundRecord[]): Promise<number>
}

interface Entry {
  readonly records: readonly FoundRecord[]
  settled: number
  resolve(settled: number): void
}

/**
 * kafkajs hands out one partition at a time; one transaction for each would be twelve small ones where one
 * does. So what the partitions bring while a batch is under way goes together into the next.
 */
export function createKafkaBatcher(options: KafkaBatcherOptions): KafkaBatcher {
  const { lane, codec, handler, logger, metrics } = options
  let queue: Entry[] = []
  let running = false

  /** Takes from the entries in turn until the batch is full. */
  function nextBatch(): { parts: { entry: Entry; count: number }[]; records: FoundRecord[] } {
    const parts: { entry: Entry; count: number }[] = []
    const records: FoundRecord[] = []
    for (const entry of queue) {
      const room = MAX_BATCH_RECORDS - records.length
      if (room === 0) break
      const taken = entry.records.slice(entry.settled, entry.settled + room)
      parts.push({ entry, count: taken.length })
      records.push(...taken)
    }
    return { parts, records }
  }

  async function drain(): Promise<void> {
    while (queue.length > 0) {
      const { parts, records } = nextBatch()
      const done = new Set<Entry>()
      try {
        const items = await readRecords(codec, lane, records)
        metrics.read('kafka', lane, items)
        await deliver({ lane, from: 'kafka', items }, handler)
        for (const { entry, count } of parts) {
          entry.settled += count
          if (entry.settled === entry.records.length) done.add(entry)
        }
      } catch (error) {
        metrics.handlerFailed('kafka', lane)
        logger.warn('log_batch.failed', { log: 'kafka', lane, error: describeError(error) })
        // The rest of these partitions must not overtake what failed.
        for (const { entry } of parts) done.add(entry)
      }
      queue = queue.filter((entry) => !done.has(entry))
      for (const entry of done) entry.resolve(entry.settled)
    }
    running = false
  }

  return {
    settle(records) {
      return new Promise((resolve) => {
        queue.push({ records, settled: 0, resolve })
        if (!running) {
          running = true
          // The next turn, so that all partitions of one fetch share the first batch.
          setImmediate(() => void drain())
        }
      })
    },
  }
}
