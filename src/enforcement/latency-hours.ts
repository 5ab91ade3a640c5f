import type { TimeRange } from './sample-sql.js'
import type { StageDeadlines } from './stages.js'

export const HOUR_MS = 3_600_000
const LEAST_FOLD_DELAY_MS = 600_000

export const hourOf = (ms: number): number => Math.floor(ms / HOUR_MS) * HOUR_MS

/**
 * The end of the last hour that may be folded: ten minutes must have gone by, and every deadline, so that nothing
 * of it is pending.
 */
export function closedUntil(nowMs: number, deadlines: StageDeadlines): number {
  return hourOf(nowMs - Math.max(LEAST_FOLD_DELAY_MS, ...Object.values<number>(deadlines)))
}

/**
 * What of a window its folded hours leave over.
 * @param folded starts of whole hours inside the window, ascending
 * @returns at least one range, which may be empty
 */
export function uncoveredRanges(window: TimeRange, folded: readonly number[]): TimeRange[] {
  const ranges: TimeRange[] = []
  let fromMs = window.fromMs
  for (const hourMs of folded) {
    if (hourMs > fromMs) ranges.push({ fromMs, toMs: hourMs })
    fromMs = hourMs + HOUR_MS
  }
  if (fromMs < window.toMs || ranges.length === 0)
    ranges.push({ fromMs, toMs: Math.max(fromMs, window.toMs) })
  return ranges
}
