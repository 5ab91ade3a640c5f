import { probeWaitMs, withJitter } from './backoff.js'
import { type FailureClass, traitsOf } from './failure-class.js'

/** Without an attempt for this long nobody knows whether it failed all the time. */
const EPISODE_GAP_MS = 900_000

export interface FailedAttempt {
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
  readonly sinceMs: number
  /** Since when it has been of this class alone. */
  readonly failureSinceMs: number
  /** In a row. */
  readonly failures: number
  readonly lastFailedAtMs: number
  readonly nextProbeAtMs: number
}

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
  let failing: Omit<Failing, 'nextProbeAtMs'> | undefined
  let isDown = false
  let onRecord = false
  /** Of failures while it was down. */
  let rounds = 0
  let restUntilMs = 0
  let lastSuccessMs = 0
  let probeEveryMs: number | undefined

  function clear(): void {
    failing = undefined
    isDown = false
    onRecord = false
    rounds = 0
    restUntilMs = 0
    probeEveryMs = undefined
  }

  function note({ failure, reason, nowMs }: FailedAttempt): number {
    const before = failing && nowMs - failing.lastFailedAtMs <= EPISODE_GAP_MS ? failing : undefined
    const failures = (before?.failures ?? 0) + 1
    failing = {
      failure,
      reason,
      sinceMs: before?.sinceMs ?? nowMs,
      failureSinceMs: before?.failure === failure ? before.failureSinceMs : nowMs,
      failures,
      lastFailedAtMs: nowMs,
    }
    return failures
  }

  return {
    isDown: () => isDown,
    restUntilMs: () => restUntilMs,
    lastSuccessMs: () => lastSuccessMs,
    failing: () => failing && { ...failing, nextProbeAtMs: restUntilMs },
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
      const { nextProbeAtMs: _past, ...rest } = known
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
