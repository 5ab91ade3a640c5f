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
  const { attempts } = item
  return outcome === 'unreadable'
    ? resultOf(item, lease, { outcome: 'park', attempts, code: UNREADABLE, failure: UNREADABLE_REASON })
    : resultOf(item, lease, { outcome, attempts, ...(outcome === 'discarded' ? { failure } : {}) })
}

/** The endpoint took it, or refused this one SET. */
export function answeredResult(
  { item, lease, sentAtMs, nowMs }: EndedAttempt,
  outcome: Extract<AttemptOutcome, { class: 'received' | 'rejected' }>,
): DeliveryResult {
  const attempts = item.attempts + 1
  if (outcome.class === 'received') {
    return resultOf(item, lease, {
      outcome: 'received',
      attempts,
      deliveredAtMs: sentAtMs,
      receivedAtMs: nowMs,
    })
  }
  const { code, reason: failure } = outcome
  return resultOf(item, lease, { outcome: 'park', attempts, deliveredAtMs: sentAtMs, code, failure })
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
  const failure = describeFailure(outcome)
  if (isHopeless)
    return resultOf(item, lease, { outcome: 'park', attempts, deliveredAtMs, code: 'keeps_failing', failure })
  const waitMs = Math.max(retryWaitMs(attempts, item.lane !== 'routine'), outcome.retryAfterMs ?? 0)
  const nextAttemptAtMs = nowMs + waitMs
  return resultOf(item, lease, { outcome: 'retry', attempts, deliveredAtMs, failure, nextAttemptAtMs })
}

/** `dns: ENOTFOUND`: as it stands with the SET, and where people and alerts read of it. */
function describeFailure({ failure, reason }: { failure: FailureClass; reason: string }): string {
  return `${failure}: ${reason}`
}

type Found = Pick<DeliveryResult, 'outcome' | 'attempts'> &
  Partial<Pick<DeliveryResult, 'deliveredAtMs' | 'receivedAtMs' | 'nextAttemptAtMs' | 'code' | 'failure'>>

/** All of them have one shape, member by member: there is one for each attempt, and the engine reads such fastest. */
function resultOf(item: OpenDelivery, lease: Lease, found: Found): DeliveryResult {
  return {
    streamId: item.streamId,
    lane: item.lane,
    eventId: item.eventId,
    shard: item.shard,
    epoch: lease.epoch,
    outcome: found.outcome,
    attempts: found.attempts,
    deliveredAtMs: found.deliveredAtMs ?? null,
    receivedAtMs: found.receivedAtMs ?? null,
    nextAttemptAtMs: found.nextAttemptAtMs,
    code: found.code,
    failure: found.failure,
  }
}
