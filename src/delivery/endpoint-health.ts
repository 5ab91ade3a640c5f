import { probeWaitMs, withJitter } from './backoff.js'
import { type FailureClass, traitsOf } from './failure-class.js'

/** Without an attempt for this long nobody knows whether it failed all the time. */
const EPISODE_GAP_MS = 900_000

/** One SET alone may be the trouble; so many say something about the endpoint. */
const AGREEING_SETS = 2
/** An endpoint that took something this lately is there. */
const QUIET_MS = 60_000

export interface FailedAttempt {
  readonly eventId: string
  /** Shared clock, ms. */
  readonly sentAtMs: number
  readonly nowMs: number
  readonly failure: FailureClass
  readonly reason: string
  /** From the answer, ms; 0: it did not ask for any. */
  readonly retryAfterMs: number
}

/** An endpoint that does nothing but fail. Shared clock, ms. */
export interface Failing {
  /** Class and text of the last failure. */
  readonly failure: FailureClass
  readonly reason: string
  /** Since when it fails, without the time in which nothing was known of it. */
  readonly sinceMs: number
  /** Since when it has been of this class alone. */
  readonly failureSinceMs: number
  /** In a row. */
  readonly failures: number
  readonly lastFailedAtMs: number
  readonly nextProbeAtMs: number
  /** More than one SET met this class, and none was taken in the last minute. Known only to the process that saw it. */
  readonly isAgreed: boolean
}

type Noted = Omit<Failing, 'nextProbeAtMs' | 'isAgreed'>

export interface EndpointHealth {
  isDown(): boolean
  /** No probe before this, ms. */
  restUntilMs(): number
  lastSuccessMs(): number
  /** Answers whether the endpoint was down until now, or stands on record as failing. */
  succeed(nowMs: number): boolean
  /** Answers whether this failure told anything new. */
  fail(attempt: FailedAttempt): boolean
  /** Undefined: the last attempt succeeded, or there was none. */
  failing(): Failing | undefined
  /** Goes on where this or another process left off, with a probe. @param probeEveryMs instead of what the class has */
  resume(failing: Failing, probeEveryMs: number | undefined): void
  /** Something stands on record that is not to be gone on with: the next success is news. */
  expectClearing(): void
  reset(): void
}

/** The breaker of one stream's endpoint: opens fast, and lets a probe through every few seconds. */
export function createEndpointHealth(): EndpointHealth {
  let failing: Noted | undefined
  let isDown = false
  let onRecord = false
  /** Of failures while it was down. */
  let rounds = 0
  let restUntilMs = 0
  let lastSuccessMs = 0
  let probeEveryMs: number | undefined
  /** SETs that failed with the class of now: the first ones. */
  const failedSets = new Set<string>()

  function clear(): void {
    failing = undefined
    failedSets.clear()
    isDown = false
    onRecord = false
    rounds = 0
    restUntilMs = 0
    probeEveryMs = undefined
  }

  function isAgreed({ lastFailedAtMs }: Noted): boolean {
    return failedSets.size >= AGREEING_SETS && lastFailedAtMs - lastSuccessMs >= QUIET_MS
  }

  /** Also of what is no news: of two probes the second is none. */
  function noteSet({ eventId, failure }: FailedAttempt): void {
    if (failing?.failure !== failure) failedSets.clear()
    if (failedSets.size < AGREEING_SETS) failedSets.add(eventId)
  }

  function note({ failure, reason, nowMs }: FailedAttempt): number {
    const before = failing && nowMs - failing.lastFailedAtMs <= EPISODE_GAP_MS ? failing : undefined
    const failures = (before?.failures ?? 0) + 1
    const isSame = before?.failure === failure
    failing = {
      failure,
      reason,
      sinceMs: before ? sinceOf(before, { failure, nowMs }) : nowMs,
      failureSinceMs: isSame ? before.failureSinceMs : nowMs,
      failures,
      lastFailedAtMs: nowMs,
    }
    return failures
  }

  return {
    isDown: () => isDown,
    restUntilMs: () => restUntilMs,
    lastSuccessMs: () => lastSuccessMs,
    failing: () => failing && { ...failing, nextProbeAtMs: restUntilMs, isAgreed: isAgreed(failing) },
    succeed(nowMs) {
      lastSuccessMs = nowMs
      if (!failing && !onRecord) return false
      const isNews = isDown || onRecord
      clear()
      return isNews
    },
    fail(attempt) {
      const { sentAtMs, nowMs, failure, retryAfterMs } = attempt
      const { restsAfter, restMs } = traitsOf(failure)
      // What was under way when the endpoint was seen to be down says nothing new: a burst is one round of failures.
      const isNews = !isDown || !failing || sentAtMs >= failing.lastFailedAtMs
      if (isNews || failing?.failure === failure) noteSet(attempt)
      const failures = isNews ? note(attempt) : 0
      if (failures >= restsAfter || retryAfterMs > 0) isDown = true
      if (!isDown) return isNews
      let waitMs = retryAfterMs
      if (isNews) {
        rounds += 1
        const ownMs = probeEveryMs === undefined ? probeWaitMs(rounds, restMs) : withJitter(probeEveryMs)
        waitMs = Math.max(waitMs, ownMs)
      }
      restUntilMs = Math.max(restUntilMs, nowMs + waitMs)
      return isNews
    },
    resume(known, everyMs) {
      const { nextProbeAtMs: _past, isAgreed: _others, ...rest } = known
      failing = rest
      isDown = true
      onRecord = true
      rounds = known.failures
      probeEveryMs = everyMs
      restUntilMs = everyMs === undefined ? 0 : known.lastFailedAtMs + withJitter(everyMs)
    },
    expectClearing() {
      onRecord = true
    },
    reset: clear,
  }
}

/** A class that says nothing about the endpoint neither begins the time in which it fails nor adds to it, nor ends it. */
function sinceOf(before: Noted, now: { failure: FailureClass; nowMs: number }): number {
  const saysNothing = (failure: FailureClass) => traitsOf(failure).pauses === 'never'
  if (before.failure === now.failure || !saysNothing(before.failure)) return before.sinceMs
  const untilMs = saysNothing(now.failure) ? now.nowMs : before.lastFailedAtMs
  return before.sinceMs + untilMs - before.failureSinceMs
}
