import { toTimestamp } from '../kernel/clock.js'
import type { Failing } from './endpoint-health.js'
import { PAUSE_SOON_MS, traitsOf } from './failure-class.js'

/**
 * Whether the hub pauses a stream whose endpoint fails so. Answers what its receiver is told, or undefined: not yet.
 * What the hub saw on the way to the endpoint is left out: it would tell a stranger what stands in our network.
 * @param pauseAfterMs of nothing but failures, whatever their class
 */
export function pauseReason(failing: Failing, nowMs: number, pauseAfterMs: number): string | undefined {
  const { answered, pauses } = traitsOf(failing.failure)
  if (pauses === 'never') return undefined
  const goesOn =
    'The hub keeps the events, goes on trying and enables the stream when the endpoint takes this.'
  if (pauses === 'at_once' && failing.isAgreed)
    return `The endpoint says that it is gone (${failing.reason}). ${goesOn}`
  if (pauses === 'soon' && nowMs - failing.failureSinceMs >= PAUSE_SOON_MS) {
    const since = toTimestamp(failing.failureSinceMs)
    return `The endpoint has refused the stream's authorization_header since ${since} (${failing.reason}). ${goesOn}`
  }
  if (nowMs - failing.sinceMs < pauseAfterMs) return undefined
  const last = answered ? `, and last ${failing.reason}` : ''
  return `The endpoint has taken no event since ${toTimestamp(failing.sinceMs)}${last}. ${goesOn}`
}
