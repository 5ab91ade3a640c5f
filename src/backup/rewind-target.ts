import { InvalidRequest } from '../kernel/errors.js'
import type { LanePosition } from './archive-manifest.js'
import type { LastRestore } from './restored-read-model.js'

/** How far a log goes back, for the log and for a person. */
export interface RewindTarget {
  readonly target: { readonly timeMs: number } | { readonly positions: readonly LanePosition[] }
  readonly told: { readonly to: string } | { readonly positions_of: string }
}

export interface RewindBounds {
  readonly nowMs: number
  /** What is older would not be believed. */
  readonly oldestMs: number
}

/** @throws InvalidRequest when the time is not between the two */
export function rewindToTime(to: string, { nowMs, oldestMs }: RewindBounds): RewindTarget {
  const timeMs = Date.parse(to)
  if (timeMs > nowMs) throw new InvalidRequest('A log goes back only: name a time in the past.')
  if (timeMs < oldestMs) {
    throw new InvalidRequest(
      `Records from before ${new Date(oldestMs).toISOString()} would not be believed (DEDUPE_WINDOW_DAYS): name a later time.`,
    )
  }
  return { target: { timeMs }, told: { to } }
}

/** @throws InvalidRequest when the database was not restored */
export function rewindToBackup(
  last: LastRestore | undefined,
  { oldestMs }: Pick<RewindBounds, 'oldestMs'>,
): RewindTarget {
  if (!last) {
    throw new InvalidRequest(
      'This database was not restored by firebreak restore: name a time from before its backup with --to.',
    )
  }
  if (last.logPositions) {
    return { target: { positions: last.logPositions }, told: { positions_of: last.madeAt.toISOString() } }
  }
  // How far fan-out was behind is not known, for days perhaps; what is read twice does no harm.
  return { target: { timeMs: oldestMs }, told: { to: new Date(oldestMs).toISOString() } }
}
