import { hashSecret } from '../auth/secrets.js'
import { newSecret } from '../kernel/ids.js'
import { backoffMs } from './backoff.js'
import type { ManagementClient, Outcome } from './management-client.js'
import { UpstreamFailed } from './upstream-errors.js'
import type { ErrorOf, UpstreamStream } from './upstream-stream.js'

/** One thing that is done for a stream again and again, and ever more seldom while it fails. */
export interface Duty {
  readonly of: ErrorOf
  /** On the monotonic clock. */
  dueAtMs: number
  failures: number
  /** False: the transmitter does not offer it (404 is another matter). */
  isOffered: boolean
}

const newDuty = (of: ErrorOf): Duty => ({
  of,
  dueAtMs: Number.NEGATIVE_INFINITY,
  failures: 0,
  isOffered: true,
})

/** Of one stream, none of them done yet. */
export function newDuties() {
  return {
    setup: newDuty('setup'),
    status: newDuty('status'),
    verification: newDuty('verification'),
    /** Verifications asked for in a row without an answer, and when last, on the monotonic clock. */
    asked: 0,
    askedAtMs: Number.NEGATIVE_INFINITY,
  }
}

export const MAX_WAIT_MS = 300_000

/** When it is done next after a failure: as the transmitter asks, and not before its time. */
export function postpone(duty: Duty, error: unknown, nowMs: number): void {
  duty.failures += 1
  const askedMs = error instanceof UpstreamFailed ? (error.retryAfterS ?? 0) * 1000 : 0
  duty.dueAtMs = nowMs + Math.max(askedMs, backoffMs(duty.failures, MAX_WAIT_MS))
}

/** How long an answer to a verification may take before the hub asks again; longer each time. */
const VERIFICATION_WAIT_MS = 30_000
const MAX_VERIFICATION_WAIT_MS = 3_600_000

export interface VerificationOptions {
  client: ManagementClient
  /** Before the request leaves. */
  remember(stateHash: Buffer): Promise<void>
}

/** SSF 1.0 §8.1.4.2, with a state that nobody can guess. @returns `later` counts as done: the event comes or not */
export async function requestVerification(
  streamId: string,
  { client, remember }: VerificationOptions,
): Promise<Outcome<undefined>> {
  const state = newSecret('fbk_state')
  await remember(hashSecret(state))
  return await client.verify(streamId, state)
}

/**
 * When to ask (again), in ms from now; undefined when there is nothing to ask.
 * @param asked how often this process asked already
 */
export function verificationDueMs(stream: UpstreamStream, nowMs: number, asked: number): number | undefined {
  if (stream.verifiedAt) return undefined
  if (!stream.verificationRequestedAt) return 0
  const minMs = (stream.minVerificationIntervalS ?? 0) * 1000
  const waitMs = Math.min(VERIFICATION_WAIT_MS * 2 ** Math.max(0, asked - 1), MAX_VERIFICATION_WAIT_MS)
  return stream.verificationRequestedAt.getTime() + Math.max(minMs, waitMs) - nowMs
}

const STATUS_EVERY_MS = 60_000

/** Reading the status also tells the transmitter that we are here (SSF 1.0 §8.1.1 `inactivity_timeout`). */
export function statusEveryMs({ inactivityTimeoutS }: UpstreamStream): number {
  return Math.min(STATUS_EVERY_MS, ((inactivityTimeoutS ?? Number.POSITIVE_INFINITY) * 1000) / 3)
}
