import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { createWake } from '../kernel/wake.js'
import type { Health, Worker } from '../kernel/worker.js'
import type { LatencyHistogramRepository } from './latency-histogram-repository.js'
import { HOUR_MS, hourOf } from './latency-hours.js'

export interface LatencyFolder extends Worker {
  /** One round: marks what changed late, folds new hours, folds marked hours again, sums what is not summed. Answers how many it folded. */
  fold(): Promise<number>
  /** Folds every closed hour that touches [fromMs, toMs) again from raw rows. Safe beside the worker. */
  rebuildHistograms(fromMs: number, toMs: number): Promise<number>
}

export interface LatencyFolderOptions {
  repository: LatencyHistogramRepository
  /** Only the holder of the lease folds by itself. */
  isLeader(): boolean
  clock: Clock
  logger: Logger
  /** Default one minute. */
  intervalMs?: number
}

/** A result may be committed this long after its time stamp: longer than any statement may take. */
const COMMIT_SLACK_MS = 120_000
/** Of a round: after an upgrade there are months of them, and answers are right without. */
const ROLLED_AT_ONCE = 200

/** Merges raw rows into hourly histograms, which can be rebuilt from them at any time. */
export function createLatencyFolder(options: LatencyFolderOptions): LatencyFolder {
  const { repository, clock, logger } = options
  const wake = createWake()
  let running: Promise<void> | undefined
  let stopping = false
  let checkedMs: number | undefined
  let failure: string | undefined

  async function fold(): Promise<number> {
    const nowMs = clock.now()
    const closedMs = repository.closedUntil(nowMs)
    const sinceMs = checkedMs ?? (await repository.lastFoldedAt()) ?? 0
    if (sinceMs > 0) await repository.markLateHours(sinceMs - COMMIT_SLACK_MS, closedMs)
    checkedMs = nowMs
    let folded = 0
    for (const hourMs of await hoursDue(closedMs)) {
      if (stopping) break
      await foldOne(hourMs, nowMs)
      folded += 1
    }
    await repository.rollUpLeft(ROLLED_AT_ONCE)
    return folded
  }

  async function hoursDue(closedMs: number): Promise<number[]> {
    const due = new Set(await repository.dirtyHours(closedMs))
    const nextMs = await repository.nextHour()
    for (let hourMs = nextMs ?? closedMs; hourMs < closedMs; hourMs += HOUR_MS) due.add(hourMs)
    // In order, so that the last folded hour never stands after one that was missed.
    return [...due].sort((a, b) => a - b)
  }

  async function foldOne(hourMs: number, nowMs: number): Promise<void> {
    const startedMs = clock.monotonicMs()
    const present = await repository.foldHour(hourMs, nowMs)
    logger.debug('latency.folded', {
      hour: new Date(hourMs).toISOString(),
      raw_rows_kept: present,
      duration_ms: Math.round(clock.monotonicMs() - startedMs),
    })
  }

  async function run(): Promise<void> {
    while (!stopping) {
      try {
        if (options.isLeader()) await fold()
        // Whoever takes over looks back to where the last holder certainly was.
        else checkedMs = undefined
        failure = undefined
      } catch (error) {
        checkedMs = undefined
        failure = describeError(error)
        logger.warn('latency.fold_failed', { error: failure })
      }
      if (!stopping) await wake.wait(options.intervalMs ?? 60_000)
    }
  }

  return {
    name: 'latency-folder',
    fold,
    async rebuildHistograms(fromMs, toMs) {
      // First what was never folded: the last folded hour must not stand after one that was missed.
      await fold()
      const nowMs = clock.now()
      const endMs = Math.min(toMs, repository.closedUntil(nowMs))
      let folded = 0
      for (let hourMs = hourOf(fromMs); hourMs < endMs; hourMs += HOUR_MS) {
        await foldOne(hourMs, nowMs)
        folded += 1
      }
      return folded
    },
    async start() {
      stopping = false
      running ??= run()
    },
    async stop() {
      stopping = true
      wake.ring()
      await running
      running = undefined
    },
    health: (): Health =>
      failure === undefined
        ? { ok: true }
        : { ok: true, reason: `time-to-revoke histograms are behind: ${failure}` },
  }
}
