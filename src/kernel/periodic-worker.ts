import { describeError } from './errors.js'
import type { Logger } from './logger.js'
import { createWake } from './wake.js'
import type { Worker } from './worker.js'

export interface PeriodicWorkerOptions {
  readonly name: string
  /** Between two rounds. */
  readonly everyMs: number
  /** What it throws is logged and told by `health`, which stays ok; the next round comes all the same. */
  round(): Promise<unknown>
  /** Of a round that failed: the name of its log line, and what readiness says before the reason. */
  readonly failed: { readonly event: string; readonly says: string }
  /** A last round at the stop, for what ended before it. */
  readonly lastRound?: boolean
  readonly logger: Pick<Logger, 'warn'>
}

export interface PeriodicWorker extends Worker {
  /** Begins the next round at once. */
  ring(): void
}

/** Does the same again and again, the first time at its start. */
export function createPeriodicWorker(options: PeriodicWorkerOptions): PeriodicWorker {
  const { name, failed } = options
  const wake = createWake()
  let stopped = false
  let loop: Promise<void> | undefined
  let failure: string | undefined

  async function doRound(): Promise<void> {
    try {
      await options.round()
      failure = undefined
    } catch (error) {
      failure = describeError(error)
      options.logger.warn(failed.event, { reason: failure })
    }
  }

  async function run(): Promise<void> {
    while (!stopped) {
      await doRound()
      await wake.wait(options.everyMs)
    }
    if (options.lastRound) await doRound()
  }

  return {
    name,
    ring: wake.ring,
    async start() {
      loop = run()
    },
    async stop() {
      stopped = true
      wake.ring()
      await loop
    },
    health: () => (failure ? { ok: true, reason: `${failed.says}: ${failure}` } : { ok: true }),
  }
}
