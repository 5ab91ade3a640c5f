import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Failing } from './endpoint-health.js'
import { createFailureKeeper, type FailureKeeper, type FailureKeeperOptions } from './failure-keeper.js'
import { pauseReason } from './pause-rule.js'
import type { StreamTarget } from './stream-target-repository.js'

/** What follows when an endpoint does nothing but fail. */
export interface FailingStreams {
  /** Of nothing but failures, until the hub pauses the stream. */
  readonly pauseAfterMs: number
  /** How often the endpoint of such a stream is asked, ms. */
  readonly probeEveryMs?: number
  /** Pauses it, if its version still is this one. */
  pause(streamId: string, version: number, reason: string): Promise<void>
  /** Enables it, if it still is paused for failing; resolves once that is durable. */
  enable(streamId: string): Promise<void>
  /**
   * Sees to streams that were paused for failing and whose endpoint nobody asks any more.
   * @param failed told of a stream that could not be seen to
   */
  revive(failed: (streamId: string, error: unknown) => void): Promise<unknown>
  /** Between two looks for such streams, ms. */
  readonly reviveEveryMs?: number
}

const REVIVE_EVERY_MS = 60_000

export interface FailingWatchOptions extends Omit<FailureKeeperOptions, 'logger'> {
  readonly clock: Pick<Clock, 'now'>
  readonly logger: Pick<Logger, 'info' | 'warn'>
  /** Absent: no stream is paused. */
  readonly failing: FailingStreams | undefined
}

/** Notes which endpoints fail, and pauses their streams when it is time. */
export interface FailingWatch extends Pick<FailureKeeper, 'forget' | 'start' | 'stop'> {
  note(failing: Failing, target: StreamTarget): void
  recovered(streamId: string, shard: number): void
  /** Nobody asks it any more: whether it fails is not known. */
  unasked(streamId: string, shard: number): void
}

export function createFailingWatch(options: FailingWatchOptions): FailingWatch {
  const { clock, logger, failing: streams } = options
  const keeper = createFailureKeeper(options)
  const pausing = new Set<string>()

  async function pause({ streamId, version }: StreamTarget, reason: string): Promise<void> {
    // Whoever sends for it afterwards goes on from what is on record.
    await keeper.flush()
    await streams?.pause(streamId, version, reason)
  }

  let timer: NodeJS.Timeout | undefined

  function revive(): void {
    const failed = (stream_id: string, error: unknown) =>
      logger.warn('stream.revive_failed', { stream_id, reason: describeError(error) })
    streams?.revive(failed).catch((error: unknown) => {
      logger.warn('stream.revive_failed', { reason: describeError(error) })
    })
  }

  return {
    note(failing, target) {
      const { streamId } = target
      if (keeper.note(target, failing)) {
        const { failure, reason, failures } = failing
        logger.warn('endpoint.failing', { stream_id: streamId, failure, reason, failures })
      }
      const reason = streams && target.sending && pauseReason(failing, clock.now(), streams.pauseAfterMs)
      if (!reason || pausing.has(streamId)) return
      pausing.add(streamId)
      pause(target, reason)
        .catch((error: unknown) => {
          // The next failure asks for it again.
          logger.warn('stream.pause_failed', { stream_id: streamId, reason: describeError(error) })
        })
        .finally(() => pausing.delete(streamId))
    },
    recovered(streamId, shard) {
      keeper.clear(streamId, shard)
      logger.info('endpoint.recovered', { stream_id: streamId })
    },
    unasked: keeper.clear,
    forget: keeper.forget,
    start() {
      keeper.start()
      if (streams) timer = setInterval(revive, streams.reviveEveryMs ?? REVIVE_EVERY_MS)
    },
    async stop() {
      clearInterval(timer)
      await keeper.stop()
    },
  }
}
