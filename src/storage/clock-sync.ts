import type { AdjustableClock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { createWake } from '../kernel/wake.js'
import type { Worker } from '../kernel/worker.js'
import { type Database, sqlRows } from './database.js'

const EVERY_MS = 10_000
const SAMPLES = 5
/** A longer round trip says too little about when in it the clock was read. */
const MAX_ROUND_TRIP_MS = 1_000
const NOTABLE_STEP_MS = 250
const STALE_MS = 60_000

export interface ClockSync extends Worker {
  /** Measures and adjusts. @returns how far the shared clock moved and how wrong it may be, in ms */
  syncOnce(): Promise<{ movedMs: number; uncertaintyMs: number }>
}

/** Carries the database's clock into this process: of several short round trips the shortest tells most. */
export function createClockSync(options: {
  db: Database
  clock: AdjustableClock
  metrics: Metrics
  logger: Logger
}): ClockSync {
  const { db, clock, logger } = options
  const step = options.metrics.gauge('firebreak_clock_step_seconds', 'Last correction of the shared clock')
  const uncertainty = options.metrics.gauge(
    'firebreak_clock_uncertainty_seconds',
    'Half of the shortest round trip to the clock of the database',
  )
  const wake = createWake()
  let stopped = false
  let loop: Promise<void> | undefined
  let syncedAt: number | undefined

  async function sample(): Promise<{ databaseMs: number; middleMs: number; roundTripMs: number }> {
    const sentMs = clock.monotonicMs()
    const [row] = await sqlRows<{ ms: number }>(
      db,
      'select (extract(epoch from clock_timestamp()) * 1000)::float8 ms',
    )
    const roundTripMs = clock.monotonicMs() - sentMs
    return { databaseMs: row?.ms ?? 0, middleMs: sentMs + roundTripMs / 2, roundTripMs }
  }

  async function syncOnce(): Promise<{ movedMs: number; uncertaintyMs: number }> {
    let best = await sample()
    for (let taken = 1; taken < SAMPLES; taken += 1) {
      const next = await sample()
      if (next.roundTripMs < best.roundTripMs) best = next
    }
    const uncertaintyMs = best.roundTripMs / 2
    if (best.roundTripMs > MAX_ROUND_TRIP_MS && syncedAt !== undefined) return { movedMs: 0, uncertaintyMs }
    const isFirst = syncedAt === undefined
    const movedMs = clock.adjust(best.databaseMs, best.middleMs)
    syncedAt = clock.monotonicMs()
    step.set(movedMs / 1000)
    uncertainty.set(uncertaintyMs / 1000)
    if (!isFirst && Math.abs(movedMs) > NOTABLE_STEP_MS) {
      logger.warn('clock.stepped', {
        moved_ms: Math.round(movedMs),
        uncertainty_ms: Math.round(uncertaintyMs),
      })
    }
    return { movedMs, uncertaintyMs }
  }

  async function run(): Promise<void> {
    while (!stopped) {
      await wake.wait(EVERY_MS)
      if (stopped) return
      await syncOnce().catch((error: unknown) =>
        logger.debug('clock.sync_failed', { reason: describeError(error) }),
      )
    }
  }

  return {
    name: 'clock sync',
    syncOnce,
    async start() {
      await syncOnce()
      loop = run()
    },
    async stop() {
      stopped = true
      wake.ring()
      await loop
    },
    health: () =>
      syncedAt !== undefined && clock.monotonicMs() - syncedAt < STALE_MS
        ? { ok: true }
        : { ok: true, reason: 'the shared clock was not compared with the database for a minute' },
  }
}
