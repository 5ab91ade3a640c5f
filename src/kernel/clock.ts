import { performance } from 'node:perf_hooks'

/** The shared clock: the database's time, carried by this process's monotonic clock. */
export interface Clock {
  /** Milliseconds since the epoch, with fraction. */
  now(): number
  /** Monotonic milliseconds, for deadlines inside this process. */
  monotonicMs(): number
}

export interface AdjustableClock extends Clock {
  /**
   * Takes a measurement of the database's clock.
   * @param databaseMs what the database said, in ms since the epoch
   * @param atMonotonicMs the middle of the round trip on the monotonic clock
   * @returns how far the shared clock moved, in ms
   */
  adjust(databaseMs: number, atMonotonicMs: number): number
}

/** Before the first `adjust` the machine's own clock is used. */
export function createClock(): AdjustableClock {
  let baseMs = Date.now() - performance.now()
  return {
    now: () => baseMs + performance.now(),
    monotonicMs: () => performance.now(),
    adjust(databaseMs, atMonotonicMs) {
      const next = databaseMs - atMonotonicMs
      const moved = next - baseMs
      baseMs = next
      return moved
    },
  }
}

/** RFC 3339, UTC, milliseconds. */
export function toTimestamp(ms: number): string {
  return new Date(Math.floor(ms)).toISOString()
}

/** `YYYY-MM-DD` in UTC: the day an event belongs to. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
