import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { createWake } from '../kernel/wake.js'
import type { Worker } from '../kernel/worker.js'
import type { Database } from '../storage/database.js'
import { createIdleStreamReadModel } from './idle-stream-read-model.js'
import { StreamNotFound } from './stream-errors.js'
import type { StreamStatusService } from './stream-status-service.js'

export interface InactivityWatchOptions {
  db: Database
  statuses: Pick<StreamStatusService, 'setStatusByHub'>
  /** `inactivity_timeout` where the receiver has none of its own, seconds; 0: none. */
  inactivityTimeoutS: number
  /** Between two looks, ms. */
  everyMs: number
  logger: Logger
}

export interface InactivityWatch extends Worker {
  /** Pauses the streams whose receivers are silent for too long. Answers how many. */
  sweep(): Promise<number>
}

/**
 * SSF 1.0 §8.1.1 `inactivity_timeout`. Pauses and does not disable, so that nothing is lost on a receiver that only
 * slept; stream-updated says so. Several processes may watch: the second finds the stream paused.
 */
export function createInactivityWatch(options: InactivityWatchOptions): InactivityWatch {
  const { db, statuses, inactivityTimeoutS, logger } = options
  const wake = createWake()
  let running: Promise<void> | undefined
  let stopping = false
  let failure: string | undefined

  async function sweep(): Promise<number> {
    let paused = 0
    for (const { streamId, timeoutS } of await createIdleStreamReadModel(db).find(inactivityTimeoutS)) {
      try {
        const reason = `No activity of the receiver for ${timeoutS} s.`
        const { changed } = await statuses.setStatusByHub(streamId, 'paused', reason, { cause: 'inactive' })
        if (changed) paused += 1
      } catch (error) {
        // Deleted since it was found.
        if (!(error instanceof StreamNotFound)) throw error
      }
    }
    if (paused > 0) logger.warn('stream.inactive', { paused })
    return paused
  }

  async function watch(): Promise<void> {
    while (!stopping) {
      try {
        await sweep()
        failure = undefined
      } catch (error) {
        failure = describeError(error)
        logger.warn('stream.watch_failed', { error: failure })
      }
      await wake.wait(options.everyMs)
    }
  }

  return {
    name: 'stream-inactivity',
    sweep,
    async start() {
      running = watch()
    },
    async stop() {
      stopping = true
      wake.ring()
      await running
    },
    health: () =>
      failure ? { ok: false, reason: `Inactive streams are not found: ${failure}` } : { ok: true },
  }
}
