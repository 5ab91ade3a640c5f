import type { TimeRange } from './sample-sql.js'

export const HOUR_MS = 3_600_000
/** How long after its end an hour is first folded: by then its stages' deadlines have passed. */
export const FOLD_DELAY_MS = 600_000

export const hourOf = (ms: number): number => Math.floor(ms / HOUR_MS) * HOUR_MS

/** The end of the last hour that may be folded. */
export const closedUntil = (nowMs: number): number => hourOf(nowMs - FOLD_DELAY_MS)

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
