import type { LoadResult } from './load.js'

/** What is still owed this long after the last event was due is a backlog. */
const MAX_DRAIN_MS = 2_000
/** Falling behind by this share of the time is growth; below the floor it is noise. */
const MAX_GROWTH = 0.02
const GROWTH_FLOOR_MS = 60

/** Why a rate was not sustained: empty when it was. Every event accepted, delivered in time, no backlog growth. */
export function findFaults(run: LoadResult): string[] {
  const faults: string[] = []
  if (run.aborted) faults.push('the senders fell behind')
  if (run.refused > 0) faults.push(`${run.refused} refused`)
  if (run.failed > 0) faults.push(`${run.failed} without an answer`)
  if (run.missing > 0) faults.push(`${run.missing} not delivered`)
  if (run.drainMs > MAX_DRAIN_MS) faults.push(`the last arrived ${Math.round(run.drainMs)} ms late`)
  // Between the middles of the first and the last third lie two thirds of the time.
  const spanMs = ((run.sent / run.ratePerS) * 1000 * 2) / 3
  // One event more under way than at first is no growth: with 1,000 streams an event takes a while.
  const intervalMs = 1000 / run.ratePerS
  if (run.growthMs > Math.max(GROWTH_FLOOR_MS, intervalMs, spanMs * MAX_GROWTH)) {
    faults.push(`the backlog grew by ${Math.round(run.growthMs)} ms`)
  }
  return faults
}
