import type { Lease } from '../storage/leases.js'
import type { AttemptOutcome, FailedOutcome } from './attempt-outcome.js'
import { retryWaitMs } from './backoff.js'
import { type FailureClass, traitsOf } from './failure-class.js'
import type { OpenDelivery } from './open-delivery.js'
import type { DeliveryResult } from './queue-repository.js'

export const NOT_GRANTED = 'the receiver is no longer granted this event'
/** Code of a parked SET whose event's stored content does not open. */
export const UNREADABLE = 'unreadable'
export const UNREADABLE_REASON =
  'the stored content of the event does not open: it was changed, or sealed under a key that is gone'

/** One attempt that has ended. Shared clock, ms. */
export interface EndedAttempt {
  readonly item: OpenDelivery
  readonly lease: Lease
  readonly sentAtMs: number
  readonly nowMs: number
}

/** A row that does not go out, and why when it is discarded. */
interface Unsent {
  readonly item: OpenDelivery
  readonly lease: Lease
  readonly outcome: 'superseded' | 'discarded' | 'unreadable'
  readonly failure?: string
}

/** For a row that must not go out any more, or cannot. */
export function unsentResult({ item, lease, outcome, failure = NOT_GRANTED }: Unsent): DeliveryResult {
  const base = { ...frameOf(item, lease), attempts: item.attempts, deliveredAtMs: null }
  if (outcome === 'unreadable')
    return { ...base, outcome: 'park', code: UNREADABLE, failure: UNREADABLE_REASON }
  return { ...base, outcome, ...(outcome === 'discarded' ? { failure } : {}) }
}

/** The endpoint took it, or refused this one SET. */
export function answeredResult(
  { item, lease, sentAtMs, nowMs }: EndedAttempt,
  outcome: Extract<AttemptOutcome, { class: 'received' | 'rejected' }>,
): DeliveryResult {
  const base = { ...frameOf(item, lease), attempts: item.attempts + 1, deliveredAtMs: sentAtMs }
  return outcome.class === 'received'
    ? { ...base, outcome: 'received', receivedAtMs: nowMs }
    : { ...base, outcome: 'park', code: outcome.code, failure: outcome.reason }
}

/**
 * Tried again later, or parked.
 * @param isHopeless others get through at the same endpoint and this one does not
 */
export function failedResult(
  { item, lease, sentAtMs, nowMs }: EndedAttempt,
  outcome: FailedOutcome,
  isHopeless: boolean,
): DeliveryResult {
  const attempts = item.attempts + 1
  // Without an answer nobody knows whether it left, so it does not count as delivered.
  const deliveredAtMs = traitsOf(outcome.failure).answered ? sentAtMs : null
  const base = { ...frameOf(item, lease), attempts, deliveredAtMs, failure: describeFailure(outcome) }
  if (isHopeless) return { ...base, outcome: 'park', code: 'keeps_failing' }
  const waitMs = Math.max(retryWaitMs(attempts, item.lane !== 'routine'), outcome.retryAfterMs ?? 0)
  return { ...base, outcome: 'retry', nextAttemptAtMs: nowMs + waitMs }
}

/** `dns: ENOTFOUND`: as it stands with the SET, and where people and alerts read of it. */
function describeFailure({ failure, reason }: { failure: FailureClass; reason: string }): string {
  return `${failure}: ${reason}`
}

function frameOf({ streamId, lane, eventId, shard }: OpenDelivery, { epoch }: Lease) {
  return { streamId, lane, eventId, shard, epoch, receivedAtMs: null }
}
