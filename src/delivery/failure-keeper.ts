import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import type { Database } from '../storage/database.js'
import type { Lease } from '../storage/leases.js'
import type { Failing } from './endpoint-health.js'
import { FAILURE_CLASSES, type FailureClass } from './failure-class.js'
import { failureRepository } from './failure-repository.js'

export interface FailureKeeperOptions {
  readonly db: Database
  readonly lease: (shard: number) => Lease | undefined
  readonly logger: Pick<Logger, 'warn'>
  readonly metrics: Metrics
  /** Between two writes about a stream whose failures stay the same, ms. */
  readonly everyMs?: number
}

/** What the process that sends for a stream knows of an endpoint that fails, kept where its successor finds it. */
export interface FailureKeeper {
  /** Answers whether it is news: the endpoint did not fail before, or in another way. */
  note(stream: { streamId: string; shard: number; version: number }, failing: Failing): boolean
  /** The endpoint has answered, or is not asked any more. */
  clear(streamId: string, shard: number): void
  /** Another process has these streams now. */
  forget(streamIds: readonly string[]): void
  /** Resolves when all that was noted before is written, or could not be. */
  flush(): Promise<void>
  start(): void
  /** Writes what is not written. */
  stop(): Promise<void>
}

const EVERY_MS = 15_000

interface Entry {
  readonly shard: number
  readonly version: number
  /** Undefined: to be cleared. */
  readonly failing: Failing | undefined
}

/** Beginnings, changes and ends are written at once, the count of failures now and then: never one write per attempt. */
export function createFailureKeeper(options: FailureKeeperOptions): FailureKeeper {
  const { db, logger } = options
  const failing = new Map<string, FailureClass>()
  const dirty = new Map<string, Entry>()
  let writing: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  const gauge = options.metrics.gauge(
    'firebreak_failing_endpoints',
    'Endpoints of streams that do nothing but fail, as the process that sends for them sees it.',
    ['failure'],
  )
  options.metrics.beforeScrape(async () => {
    const counts = new Map<FailureClass, number>()
    for (const failure of failing.values()) counts.set(failure, (counts.get(failure) ?? 0) + 1)
    for (const failure of FAILURE_CLASSES) gauge.set(counts.get(failure) ?? 0, { failure })
  })

  async function write(): Promise<void> {
    const batch = [...dirty].flatMap(([streamId, entry]) => {
      const lease = options.lease(entry.shard)
      // Without the lease it is another's to say.
      return lease ? [{ streamId, ...entry, epoch: lease.epoch }] : []
    })
    dirty.clear()
    try {
      await failureRepository.save(
        db,
        batch.flatMap(({ failing: state, ...rest }) => (state ? [{ ...state, ...rest }] : [])),
      )
      await failureRepository.clear(
        db,
        batch.filter((entry) => !entry.failing),
      )
    } catch (error) {
      for (const { streamId, ...entry } of batch) if (!dirty.has(streamId)) dirty.set(streamId, entry)
      logger.warn('failures.unwritten', { streams: batch.length, reason: describeError(error) })
    }
  }

  /** One write at a time, so that the last word stands. */
  async function flush(): Promise<void> {
    while (writing) await writing
    if (dirty.size === 0) return
    writing = write().finally(() => {
      writing = undefined
    })
    await writing
  }

  return {
    note({ streamId, shard, version }, state) {
      const isNews = failing.get(streamId) !== state.failure
      failing.set(streamId, state.failure)
      dirty.set(streamId, { shard, version, failing: state })
      if (isNews) void flush()
      return isNews
    },
    clear(streamId, shard) {
      failing.delete(streamId)
      dirty.set(streamId, { shard, version: 0, failing: undefined })
      void flush()
    },
    forget(streamIds) {
      for (const streamId of streamIds) {
        failing.delete(streamId)
        dirty.delete(streamId)
      }
    },
    flush,
    start() {
      timer = setInterval(() => {
        void flush()
      }, options.everyMs ?? EVERY_MS)
    },
    async stop() {
      clearInterval(timer)
      await flush()
    },
  }
}
